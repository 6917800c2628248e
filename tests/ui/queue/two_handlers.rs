use serde::{Deserialize, Serialize};
use tidings::{Message, router, routers};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images")]
struct ResizeImage {
    path: String,
}

struct Images;

#[router]
impl Images {
    #[handler(idempotent, timeout = "2m")]
    async fn resize(&self, _: ResizeImage) {}

    #[handler(idempotent, timeout = "2m")]
    async fn shrink(&self, _: ResizeImage) {}
}

struct Others;

#[router]
impl Others {
    #[handler(idempotent, timeout = "2m")]
    async fn resize(&self, _: ResizeImage) {}
}

async fn serve(bus: tidings::Bus) {
    bus.serve(routers![Images, Others]).await.unwrap();
}

fn main() {}
