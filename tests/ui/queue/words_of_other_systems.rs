use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

// What other systems call it, or have.
#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images", unique = "1h", cron = "0 * * * *", workers = 4, rate_limit = 10, max_len = 1000, exactly_once, at = "12:00")]
struct ResizeImage {
    path: String,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:mails")]
struct SendMail {
    to: String,
}

#[handler(idempotent, timeout = "2m", queue = "mails", dead_letter = true, every = "1h", threads = 4, rate = 10)]
async fn mail(_: SendMail) {}

#[handler(queue = "mails", idempotent, timeout = "2m")]
async fn resize(_: ResizeImage) {}

fn main() {}
