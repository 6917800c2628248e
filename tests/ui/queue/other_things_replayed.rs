use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[queue("mails")]
struct SendMail {
    to: String,
}

async fn mends(bus: Bus) {
    let mails = bus.queue::<SendMail>();
    let mut letters = mails.dead_letters().await.unwrap();
    mails.replay(&letters[0].id).await.unwrap();
    let letter = letters.remove(0);
    mails.replay([letter]).await.unwrap();
    mails.delete(letters).await.unwrap();
}

fn main() {}
