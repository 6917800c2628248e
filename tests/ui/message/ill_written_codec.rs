use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
#[message(codec = "cbor")]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
#[message(format = "plain", codec = tidings::Json)]
struct OrderShipped {
    id: u64,
}

fn main() {}
