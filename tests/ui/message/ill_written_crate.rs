use serde::{Deserialize, Serialize};
use tidings::{ChannelParam, Message};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
#[tidings(crate = "tidings")]
struct OrderPlaced {
    id: u64,
}

#[derive(ChannelParam, Clone)]
#[tidings(crate)]
enum Region {
    Eu,
}

fn main() {}
