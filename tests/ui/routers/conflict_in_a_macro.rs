use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, router, routers};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

struct Shop;
struct Till;

#[router]
impl Shop {
    #[handler]
    async fn placed(&self, _order: OrderPlaced) {}
}

#[router]
impl Till {
    #[handler]
    async fn placed(&self, _order: OrderPlaced) {}
}

macro_rules! serve {
    ($bus:expr, $($router:expr),*) => {
        $bus.serve(routers![$($router),*])
    };
}

async fn serve(bus: Bus) {
    let _service = serve!(bus, Shop, Till).await.unwrap();
}

fn main() {}
