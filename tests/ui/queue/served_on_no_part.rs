use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, router};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:mails:<region>", bound)]
struct SendMail {
    region: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("news:<topic>")]
struct News {
    topic: String,
}

struct Mailer;

#[router]
impl Mailer {
    #[handler(idempotent, timeout = "30s")]
    async fn send(&self, _mail: SendMail) {}
}

async fn serve(bus: Bus) {
    let _ = bus.serve(Mailer).on("eu").await;
    let _ = bus.serve(Mailer).on(SendMail::any()).await;
    let _ = bus.serve(Mailer).on([SendMail::channel("eu"), SendMail::channel("us")]).await;
    let _ = bus.serve(Mailer).on(SendMail::channel(7_u64)).await;
    let _ = bus.serve(Mailer).on(SendMail::channel()).await;
    let _ = bus.serve(Mailer).on(News::channel("weather")).await;
}

fn main() {}
