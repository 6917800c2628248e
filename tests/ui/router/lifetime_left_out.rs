use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

struct Shop<'a> {
    name: &'a str,
}

#[router]
impl Shop<'_> {
    #[handler]
    async fn placed(&self, _order: OrderPlaced) {
        let _ = self.name;
    }
}

async fn serve(bus: Bus) {
    let _service = bus.serve(Shop { name: "shop" }).await.unwrap();
}

fn main() {}
