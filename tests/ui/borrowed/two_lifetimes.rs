use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("orders")]
struct OrderView<'a, 'b> {
    customer: &'a str,
    note: &'b str,
}

fn main() {}
