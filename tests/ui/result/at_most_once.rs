use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images", at_most_once, results = "1h", results_count = 5, completed = Done, failed = Done)]
#[reply(u64)]
struct ResizeImage {
    path: String,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:mails", at_most_once)]
#[reply(u64)]
struct SendMail {
    to: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("done")]
struct Done;

#[handler(timeout = "2m")]
async fn resize(_: ResizeImage) -> u64 {
    1
}

fn main() {}
