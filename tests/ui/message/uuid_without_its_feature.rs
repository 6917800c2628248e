use serde::{Deserialize, Serialize};
use tidings::Message;

mod uuid {
    #[derive(Clone, serde::Serialize, serde::Deserialize)]
    pub struct Uuid(u128);
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: uuid::Uuid,
}

fn main() {}
