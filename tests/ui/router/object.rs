use serde::{Deserialize, Serialize};
use tidings::{Message, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

trait Shop {}

#[router]
impl dyn Shop {
    #[handler]
    async fn placed(&self, _: OrderPlaced) {}
}

fn main() {}
