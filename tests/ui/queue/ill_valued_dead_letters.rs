use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images", dead_letters = 10, dead_letters_count = 0, dead_letters_bytes = "64m")]
struct ResizeImage {
    path: String,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:mails", dead_letters, dead_letter_count = 5)]
struct SendMail {
    to: String,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:calls", at_most_once, dead_letters = "1d", dead_letters_count = 5)]
struct Call {
    to: String,
}

fn main() {}
