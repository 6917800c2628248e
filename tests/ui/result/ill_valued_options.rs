use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images", results = "0s", results_count = 0, results_bytes = "64m", completed = "Done", failed)]
#[reply(u64)]
struct ResizeImage {
    path: String,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:mails", results, result_count = 5)]
#[reply(u64)]
#[reply(u8)]
struct SendMail {
    to: String,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:calls", results = "1h")]
#[reply(u64, err = u8)]
struct Call {
    to: String,
}

fn main() {}
