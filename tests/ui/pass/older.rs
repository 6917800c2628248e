//! Messages that read what older code wrote.

use serde::{Deserialize, Serialize};
use tidings::Message;

mod v1 {
    use super::*;

    #[derive(Message, Serialize, Deserialize)]
    #[channel("orders")]
    pub struct OrderPlaced {
        pub id: u64,
    }
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
#[message(name = "OrderPlaced", version = 2, from = v1::OrderPlaced)]
struct OrderPlacedV2 {
    id: u64,
    cents: u64,
}

impl From<v1::OrderPlaced> for OrderPlacedV2 {
    fn from(v1::OrderPlaced { id }: v1::OrderPlaced) -> Self {
        Self { id, cents: 0 }
    }
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:orders")]
#[message(from = OrderPlacedV2, version = 3)]
struct OrderPlaced {
    id: String,
    cents: u64,
}

impl From<OrderPlacedV2> for OrderPlaced {
    fn from(OrderPlacedV2 { id, cents }: OrderPlacedV2) -> Self {
        Self { id: id.to_string(), cents }
    }
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<part: u64>")]
#[reply(u64)]
#[message(name = "OrderPlaced", from = OrderPlacedV2, version = 3)]
struct View<'a> {
    id: std::borrow::Cow<'a, str>,
    note: Option<&'a str>,
}

impl From<OrderPlacedV2> for View<'_> {
    fn from(OrderPlacedV2 { id, .. }: OrderPlacedV2) -> Self {
        Self { id: id.to_string().into(), note: None }
    }
}

fn main() {
    assert_eq!((OrderPlaced::NAME, OrderPlaced::VERSION), (View::NAME, View::VERSION));
}
