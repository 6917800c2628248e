use serde::{Deserialize, Serialize};
use tidings::{ChannelParam, Message};

#[derive(ChannelParam, Clone, Serialize, Deserialize)]
struct Place {
    column: u8,
    row: u8,
}

// Using the parameter gives no further errors.
#[derive(Message, Serialize, Deserialize)]
#[channel("board:<place>")]
struct Taken {
    place: Place,
}

fn main() {}
