use serde::{Deserialize, Serialize};
use tidings::{Message, State, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[handler]
async fn placed<T>(_order: OrderPlaced, _state: State<T>) {}

fn main() {}
