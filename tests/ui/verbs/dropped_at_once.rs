#![deny(unused_must_use)]

use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images")]
struct ResizeImage {
    path: String,
}

struct Shop;

#[router]
impl Shop {
    #[handler]
    async fn placed(&self, _order: OrderPlaced) {}
}

async fn start(bus: &Bus) -> Result<(), Box<dyn std::error::Error>> {
    bus.serve(Shop).await?;
    bus.subscribe(OrderPlaced::any()).await?;
    bus.queue::<ResizeImage>().events().await?;
    bus.events();
    Ok(())
}

fn main() {}
