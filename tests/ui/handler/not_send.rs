use serde::{Deserialize, Serialize};
use tidings::{Message, handler, routes};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[handler]
async fn placed(_order: OrderPlaced) {
    let shared = std::rc::Rc::new(7);
    tokio::task::yield_now().await;
    drop(shared);
}

async fn serve(bus: tidings::Bus) {
    let _service = bus.serve(routes![placed]).await.unwrap();
}

fn main() {}
