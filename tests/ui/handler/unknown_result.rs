use serde::{Deserialize, Serialize};
use tidings::{Message, handler, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[handler]
async fn placed(_order: OrderPlaced) -> Result<(), ShopError> {
    Ok(())
}

struct Shop;

#[router]
impl Shop {
    #[handler]
    async fn placed(&self, _order: OrderPlaced) -> Option<Invoice> {
        None
    }
}

fn main() {}
