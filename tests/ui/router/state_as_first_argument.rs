use serde::{Deserialize, Serialize};
use tidings::{Message, State, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

struct Shop;

#[router]
impl Shop {
    #[handler]
    async fn placed(&self, _state: State<u64>, _order: OrderPlaced) {}
}

fn main() {}
