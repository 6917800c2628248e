use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("shop/orders/<id>")]
struct Slashes {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders.<id>.placed")]
struct Dots {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("new-orders-<id>")]
struct Hyphens {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("shop:orders_<id>")]
struct Underscores {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders: <id>")]
struct Spaces {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("new orders/<id> ")]
struct SpacesToo {
    id: u64,
}

fn main() {}
