use serde::{Deserialize, Serialize};
use tidings::{Message, Publish, handler};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images")]
struct ResizeImage {
    path: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[handler]
async fn placed(order: OrderPlaced) -> Publish<ResizeImage> {
    Publish::new(ResizeImage { path: order.id.to_string() })
}

fn main() {}
