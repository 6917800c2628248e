use serde::{Deserialize, Serialize};
use tidings::{Enqueue, Message, Outcome, handler};

#[derive(Serialize, Deserialize)]
struct Resized;

#[derive(Debug, Serialize, Deserialize, Outcome, thiserror::Error)]
#[error("no image")]
#[outcome(dead_letter)]
struct ResizeError;

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images", results = "1h")]
#[reply(Resized, error = ResizeError)]
struct ResizeImage {
    path: String,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:mails", results = "1h")]
#[reply(u64)]
struct SendMail {
    to: String,
}

#[handler(idempotent, timeout = "2m")]
async fn another_reply(_: ResizeImage) -> Result<u64, ResizeError> {
    Ok(1)
}

#[handler(idempotent, timeout = "2m")]
async fn another_error(_: ResizeImage) -> Result<Resized, String> {
    Ok(Resized)
}

#[handler(idempotent, timeout = "2m")]
async fn nothing(_: ResizeImage) {}

#[handler(idempotent, timeout = "2m")]
async fn no_reply(_: SendMail) -> Enqueue<SendMail> {
    Enqueue::new(SendMail { to: String::new() })
}

#[handler(idempotent, timeout = "2m")]
async fn reply_behind(_: SendMail) -> (Enqueue<SendMail>, u64) {
    (Enqueue::new(SendMail { to: String::new() }), 7)
}

fn main() {}
