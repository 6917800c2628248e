use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, State, handler, routes};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[handler]
async fn placed(_order: OrderPlaced, State(_prices): State<Prices>) {}

#[derive(Clone)]
struct Prices;

async fn serve(bus: Bus) {
    let _service = bus.serve(routes![placed].with_state(7)).await.unwrap();
}

fn main() {}
