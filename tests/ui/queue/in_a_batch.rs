use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images:<size: u32>", bound)]
struct ResizeImage {
    path: String,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:mails")]
struct SendMail {
    to: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("news")]
struct News {
    text: String,
}

async fn send(mail: SendMail, news: News, bus: Bus) {
    bus.batch().push(&mail).await;
    bus.batch().enqueue(&news).await;
}

fn main() {}
