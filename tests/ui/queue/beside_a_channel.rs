use serde::{Deserialize, Serialize};
use tidings::{Message};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images")]
#[channel("images")]
struct ResizeImage {
    path: String,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:mail")]
#[queue("tasks:mails")]
struct SendMail {
    to: String,
}

fn main() {}
