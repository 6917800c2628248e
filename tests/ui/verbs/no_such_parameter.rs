use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

fn pattern() {
    let _ = OrderPlaced::any().number(7);
}

fn main() {}
