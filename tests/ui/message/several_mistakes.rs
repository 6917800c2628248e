use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("orders::<idd>:*")]
#[message(versoin = 2)]
struct OrderPlaced<T> {
    id: T,
}

fn main() {}
