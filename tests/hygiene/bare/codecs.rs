use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
#[message(codec = tidings::codec::Cbor)]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("payments:<id>")]
#[message(codec = tidings::codec::MessagePack)]
struct Paid {
    id: u64,
}
