use serde::{Deserialize, Serialize};
use tidings::{ChannelParam, Message};

#[derive(ChannelParam, Clone, Serialize, Deserialize)]
struct Id<T>(T);

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: Id<u64>,
}

fn main() {}
