use serde::{Deserialize, Serialize};
use tidings::{Message, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

struct Shop;

#[router]
impl Shop {
    #[cfg_attr(not(test), handler(concurrency = 16))]
    async fn placed(&self, _: OrderPlaced) {}
}

fn main() {}
