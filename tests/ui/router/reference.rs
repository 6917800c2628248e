use serde::{Deserialize, Serialize};
use tidings::{Message, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

struct Shop;

#[router]
impl &'static Shop {
    #[handler]
    async fn placed(&self, _: OrderPlaced) {}
}

fn main() {}
