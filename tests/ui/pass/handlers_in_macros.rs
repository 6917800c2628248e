//! Handlers and their options, out of fragments of `macro_rules!`.

#![deny(warnings)]

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::{Bus, Delivery, Message, Router, State, handler, router, routers, routes};
use tower::limit::ConcurrencyLimitLayer;

macro_rules! message {
    ($name:ident, $channel:literal) => {
        #[derive(Message, Serialize, Deserialize)]
        #[channel($channel)]
        pub struct $name {
            id: u64,
        }
    };
}

message!(OrderPlaced, "orders:<id>");
message!(Paid, "payments:<id>");

#[derive(Message, Serialize, Deserialize)]
#[channel("invoices:<id>")]
pub struct Invoice<'a> {
    id: u64,
    text: &'a str,
}

macro_rules! whole {
    ($visibility:vis $name:ident($message:ident: $type:ty, $($extra:ident: $extractor:ty),*) -> $result:ty, $concurrency:literal, $order:ident, $timeout:literal, $body:block) => {
        #[handler(concurrency = $concurrency, order = $order, timeout = $timeout)]
        $visibility async fn $name($message: $type, $($extra: $extractor),*) -> $result $body
    };
}

whole!(pub(crate) placed(order: OrderPlaced, delivery: &Delivery, state: State<u64>) -> Result<(), String>, 16, id, "1s", {
    let _ = (order.id, delivery, state.0);
    Ok(())
});

macro_rules! with_expressions {
    ($name:ident, $message:ident, $type:path, $concurrency:expr, $order:expr, $timeout:expr, $filter:expr, $layer:expr) => {
        #[handler(concurrency = $concurrency, order = $order, timeout = $timeout, filter = $filter, layer = $layer)]
        async fn $name($message: $type) {
            let _ = $message.id;
        }
    };
}

with_expressions!(paid, payment, Paid, 3, channel, "250ms", payment.id > 7, ConcurrencyLimitLayer::new(4));
with_expressions!(also_paid, payment, crate::Paid, 0x10, "id", "250ms", { payment.id } == 7, ConcurrencyLimitLayer::new(4));

macro_rules! with_tokens {
    ($(#[$attribute:meta])* $name:ident, $pattern:pat, $type:ty, $($option:tt)*) => {
        $(#[$attribute])*
        #[handler($($option)*)]
        async fn $name($pattern: $type) {}
    };
}

with_tokens!(#[allow(dead_code)] none, OrderPlaced { id: _id }, OrderPlaced, order = none, spawn, filter = *_id > 7);
with_tokens!(placed_again, _, OrderPlaced, run_to_end, concurrency = 2);

macro_rules! with_lifetime {
    ($name:ident, $message:ident, $lifetime:lifetime) => {
        #[handler(filter = invoice.text.is_empty())]
        async fn $name(invoice: $message<$lifetime>) {
            let _ = invoice.id;
        }
    };
}

with_lifetime!(invoice, Invoice, '_);

macro_rules! at_a_path {
    ($name:ident, $root:path) => {
        #[handler(crate = $root)]
        async fn $name(_: OrderPlaced) {}
    };
}

at_a_path!(at_path, ::tidings);

macro_rules! router {
    ($type:ty, $root:path, $($name:ident: $message:ty = $body:block),*) => {
        #[router(crate = $root)]
        impl $type {
            $(
                #[handler(filter = Self::WANTED)]
                async fn $name(&self, _message: $message) -> Result<(), &'static str> $body
            )*

            const WANTED: bool = true;
        }
    };
}

struct Shop;

router!(Shop, ::tidings, placed: OrderPlaced = { Ok(()) }, paid: Paid = { Err("unpaid") });

macro_rules! generic_router {
    ($name:ident<$parameter:ident>, $message:ty, $concurrency:expr) => {
        struct $name<$parameter>($parameter);

        #[router]
        impl<$parameter: Clone> $name<$parameter> {
            #[handler(concurrency = $concurrency)]
            async fn placed(&self, _order: $message) {
                let _ = self.0.clone();
            }
        }
    };
}

generic_router!(Generic<T>, Paid, 7);

macro_rules! served {
    ($bus:expr, $($handler:path),*) => {
        $bus.serve(routes![$($handler),*])
    };
}

macro_rules! served_idents {
    ($root:path, $($handler:ident)*) => {
        routes![crate = $root; $($handler),*]
    };
}

macro_rules! served_expressions {
    ($($handler:expr),*; $($router:expr),*) => {
        routers![routes![$($handler),*], $($router),*]
    };
}

macro_rules! served_types {
    ($($handler:ty),*) => {
        routes![$($handler),*]
    };
}

fn options() {
    let (shop, generic) = (Shop::ROUTES, Generic::<u8>::ROUTES);
    assert_eq!((shop.len(), generic[0].options().concurrency), (2, 7));
    assert_eq!(shop[0].options().timeout, None::<Duration>);
}

async fn serve(bus: Bus) {
    let _service = served!(bus, crate::paid, placed_again).await.unwrap();
    let _service = bus.serve(served_idents!(::tidings, placed invoice).with_state(7)).await.unwrap();
    let _service = bus.serve(served_expressions!(also_paid; Generic2, routes![at_path])).await.unwrap();
    let _service = bus.serve(served_types!(at_path)).await.unwrap();
    let _service = bus.serve(Shop).await.unwrap();
}

struct Generic2;

router!(Generic2, ::tidings, invoiced: Invoiced = { Ok(()) });

message!(Invoiced, "invoiced:<id>");

fn main() {
    options();
    let _ = (serve, Generic(7));
}
