use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, State, handler, routes};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[handler]
async fn placed(order: OrderPlaced, State(orders): State<Mutex<Vec<u64>>>) {
    orders.lock().unwrap().push(order.id);
}

async fn serve(bus: Bus) {
    let _service = bus.serve(routes![placed].with_state(Mutex::new(Vec::new()))).await.unwrap();
}

fn main() {}
