use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
#[message(name = 7, version = "two", format = "xml")]
struct OrderPlaced {
    id: u64,
}

fn main() {}
