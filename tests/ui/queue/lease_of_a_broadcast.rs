use serde::{Deserialize, Serialize};
use tidings::{Lease, Message, handler, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[handler]
async fn placed(_: OrderPlaced, _: &Lease) {}

struct Shop;

#[router]
impl Shop {
    #[handler]
    async fn placed(&self, _: OrderPlaced, lease: &Lease) {
        println!("{}", lease.token());
    }
}

fn main() {}
