use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("mails")]
struct SendMail {
    to: String,
}

#[handler(group = "shop", buffer = 1000, overflow = drop_oldest)]
async fn grouped(_order: OrderPlaced) {}

#[handler(unordered, blocking)]
async fn unordered(_order: OrderPlaced) {}

#[handler(ack = manual)]
async fn acknowledged(_order: OrderPlaced) {}

#[handler(idempotent, timeout = none)]
async fn send(_mail: SendMail) {}

#[handler(idempotent, timeout = "never")]
async fn send_later(_mail: SendMail) {}

fn main() {}
