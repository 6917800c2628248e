use serde::{Deserialize, Serialize};
use tidings::{Message, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

struct Shop {
    limit: u64,
}

#[router]
impl Shop {
    #[handler(filter = order.id > self.limit)]
    async fn placed(&self, order: OrderPlaced) {
        let _ = (order, self.limit);
    }
}

fn main() {}
