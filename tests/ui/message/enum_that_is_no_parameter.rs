use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<region>")]
struct OrderPlaced {
    region: Region,
}

#[derive(Clone, Serialize, Deserialize)]
enum Region {
    Eu,
}

fn main() {}
