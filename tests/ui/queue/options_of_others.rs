use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

// What other systems say of a queue, and tidings of its handler, its message or each task.
#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images", attempts = 3, concurrency = 8, backoff = "1s..10m", priority = 1, delay = "1m", version = 2)]
struct ResizeImage {
    path: String,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:mails")]
#[message(lease = "1m", retries = 3)]
struct SendMail {
    to: String,
}

#[handler(idempotent, timeout = "2m", max_retries = 5, lease = "1m", deduplicate = "key", version = 2)]
async fn mail(_: SendMail) {}

fn main() {}
