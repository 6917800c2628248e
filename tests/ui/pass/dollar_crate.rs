//! Handlers that a macro of a library writes: what they name is in that library.

#![deny(warnings)]

pub use tidings as again;

use serde::{Deserialize, Serialize};
use tidings::{Bus, Delivery, Message, State};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
pub struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("invoices:<id>")]
pub struct Invoice<'a> {
    id: u64,
    text: &'a str,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:mails")]
pub struct SendMail {
    to: String,
}

pub struct Shop;

macro_rules! handlers {
    ($placed:ident, $invoice:ident, $mail:ident) => {
        #[tidings::handler(crate = $crate::again, filter = order.id > 7)]
        async fn $placed(order: $crate::OrderPlaced, _: &$crate::again::Delivery, _: $crate::State<u64>) {
            let _ = order;
        }

        #[tidings::handler(crate = $crate::again)]
        async fn $invoice(invoice: $crate::Invoice<'_>, _: &$crate::Delivery) {
            let _ = (invoice.id, invoice.text);
        }

        #[tidings::router(crate = $crate::again)]
        impl $crate::Shop {
            #[handler(once = to, timeout = "2m")]
            async fn $mail(&self, mail: $crate::SendMail, _: &$crate::Delivery) {
                let _ = mail;
            }
        }
    };
}

handlers!(placed, invoice, mail);

async fn serve(bus: Bus) {
    let _ = bus.serve(tidings::routes![placed, invoice].with_state(7_u64)).await;
}

fn main() {
    let _ = serve;
}
