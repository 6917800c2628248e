use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<customer>")]
struct OrderView<'a> {
    customer: &'a str,
}

fn main() {}
