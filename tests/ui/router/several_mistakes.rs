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
    #[handler(fallbak)]
    async fn placed(&mut self, _order: OrderPlaced) {}

    #[handler]
    fn paid(&self) {}
}

fn main() {}
