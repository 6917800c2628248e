use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("segment:segment:segment:segment:segment:segment:segment:segment:segment:segment:segment:segment:segment:segment:segment:segment:segment:segment:segment:segment:segment:segment:segment:segment:segment:segment:segment:segment:segment:segment:segment:segment:segment")]
struct OrderPlaced {
    id: u64,
}

fn main() {}
