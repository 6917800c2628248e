use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
#[message(format = "messagepack")]
struct Binary {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
#[message(codec = "CBOR")]
struct OtherBinary {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
#[message(format = "cloud-events")]
struct Event {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
#[message(format = "json")]
struct Text {
    id: u64,
}

fn main() {}
