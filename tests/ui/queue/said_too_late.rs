use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, handler, routes};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:mails:<region>", bound)]
struct SendMail {
    region: String,
}

#[handler(idempotent, timeout = "30s")]
async fn send(_mail: SendMail) {}

async fn enqueue(bus: Bus, mail: SendMail) {
    let _ = mail.enqueue(&bus).await.unwrap().delay(Duration::from_secs(60));
    let _ = mail.enqueue(&bus).await.unwrap().header("tenant", "acme");
}

async fn serve(bus: Bus) {
    bus.serve(routes![send]).await.unwrap().on(SendMail::channel("eu"));
}

fn main() {}
