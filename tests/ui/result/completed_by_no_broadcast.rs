use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images", completed = SendMail, failed = NoMessage)]
struct ResizeImage {
    path: String,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:mails")]
struct SendMail {
    to: String,
}

struct NoMessage;

#[handler(idempotent, timeout = "2m")]
async fn resize(_: ResizeImage) {}

fn main() {}
