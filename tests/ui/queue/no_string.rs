use serde::{Deserialize, Serialize};
use tidings::{Message};

#[derive(Message, Serialize, Deserialize)]
#[queue(strict = priority)]
struct NoTemplate {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[queue = "tasks:images"]
struct WithoutParentheses {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[queue]
struct Nothing {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images" lease = "1m")]
struct NoComma {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[queue(name = "tasks:mails", lease = "1m")]
struct Named {
    id: u64,
}

fn main() {}
