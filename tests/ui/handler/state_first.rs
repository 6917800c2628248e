use serde::{Deserialize, Serialize};
use tidings::{Address, Bus, Message, State, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[handler]
async fn placed(State(count): State<u64>, order: OrderPlaced) {
    let _ = (count, order);
}

#[handler]
async fn by_address(_address: Address<OrderPlaced>, _bus: &Bus, _order: OrderPlaced) {}

#[handler]
async fn of_nothing(_bus: &Bus) {}

fn main() {}
