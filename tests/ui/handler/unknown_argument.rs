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
    async fn placed(&self, _order: OrderPlaced, State(_db): State<Database>) {}
}

fn main() {}
