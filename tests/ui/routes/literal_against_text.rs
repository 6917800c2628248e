use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, handler, routes};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:new")]
struct NewOrders {
    count: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<name>")]
struct OrderByName {
    name: String,
}

#[handler]
async fn new(_new: NewOrders) {}

#[handler]
async fn by_name(_order: OrderByName) {}

async fn serve(bus: Bus) {
    let _service = bus.serve(routes![new, by_name]).await.unwrap();
}

fn main() {}
