use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("mails", lease = "30s" results = "1h")]
#[reply(u64)]
struct SendMail {
    to: String,
}

#[handler(concurrency = 16 timeout = "30s")]
async fn placed(_order: OrderPlaced) {}

#[handler(idempotent timeout = "30s")]
async fn send(_mail: SendMail) -> u64 {
    1
}

fn main() {}
