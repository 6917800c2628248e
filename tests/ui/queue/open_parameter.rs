use serde::{Deserialize, Serialize};
use tidings::{Message};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:mail:<region>")]
struct SendMail {
    region: String,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:orders:<id: u64>", lease = "1m")]
struct Ship {
    to: String,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:files:<path..>")]
struct Index {
    path: Vec<String>,
}

fn main() {}
