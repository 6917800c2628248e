use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced<'a> {
    id: u64,
    note: &'a str,
}

fn main() {}
