//! Pairs of routes that never take the same channel.

#![deny(warnings)]
#![warn(unused_qualifications)]

use serde::{Deserialize, Serialize};
use tidings::{Bus, ChannelParam, Message, handler, router, routes};

#[derive(ChannelParam, Serialize, Deserialize, Clone, Copy)]
enum Priority {
    High,
    Low,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct ById {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:new")]
struct New;

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<priority>")]
struct ByPriority {
    priority: Priority,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<name>:lines")]
struct Lines {
    name: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("<area..>")]
struct Anything {
    area: Vec<String>,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<text: String>")]
struct ByText {
    total: u32,
}

struct Shop;

#[router]
impl Shop {
    /// An integer against a word.
    #[handler]
    async fn by_id(&self, _order: ById) {}

    #[handler]
    async fn new(&self, _order: New) {}

    /// An enum against a word that is none of its variants.
    #[handler]
    async fn by_priority(&self, _order: ByPriority) {}

    /// Another length.
    #[handler]
    async fn lines(&self, _order: Lines) {}

    /// What no other handler takes.
    #[handler(fallback)]
    async fn by_text(&self, _order: ByText) {}
}

#[handler]
async fn new(_order: New) {}

#[handler(fallback)]
async fn anything(_message: Anything) {}

async fn serve(bus: Bus) {
    let _service = bus.serve(Shop).await.unwrap();
    let _service = bus.serve(routes![new, anything]).await.unwrap();
}

fn main() {
    let _ = serve;
}
