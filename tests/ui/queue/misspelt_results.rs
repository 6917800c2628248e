use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[queue("mails", lease = "30s", resuls = "1h")]
#[reply(u64)]
struct SendMail {
    to: String,
}

async fn send(bus: &Bus) -> u64 {
    SendMail { to: "Ada".into() }.enqueue(bus).await.unwrap().result(bus).await.unwrap()
}

fn main() {}
