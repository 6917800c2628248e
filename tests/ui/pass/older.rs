//! Messages that read what older code wrote.

use serde::{Deserialize, Serialize};
use tidings::Message;

mod v1 {
    use super::*;

    #[derive(Message, Serialize, Deserialize)]
    #[channel("orders:<number>")]
    pub struct OrderPlaced {
        pub number: u64,
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
    fn from(v1::OrderPlaced { number }: v1::OrderPlaced) -> Self {
        Self { id: number, cents: 0 }
    }
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
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

#[derive(Message, Serialize, Deserialize)]
#[queue("images", results = "1h")]
#[message(name = "ResizeImage")]
#[reply(Vec<u64>)]
struct ResizeImageV1 {
    path: String,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("images", results = "1d", lease = "1m")]
#[message(version = 2, from = ResizeImageV1)]
#[reply(Sizes)]
struct ResizeImage {
    path: String,
    width: u32,
}

type Sizes = Vec<u64>;

impl From<ResizeImageV1> for ResizeImage {
    fn from(ResizeImageV1 { path }: ResizeImageV1) -> Self {
        Self { path, width: 640 }
    }
}

fn main() {
    assert_eq!((OrderPlaced::NAME, OrderPlaced::VERSION), (View::NAME, View::VERSION));
}
