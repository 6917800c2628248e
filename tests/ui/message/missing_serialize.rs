use serde::Deserialize;
use tidings::Message;

#[derive(Message, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

fn main() {}
