use serde::{Deserialize, Serialize};
use tidings::{ChannelParam, Message};

#[derive(ChannelParam, Clone, Serialize, Deserialize)]
struct OrderId {
    #[serde(skip)]
    value: u64,
}

#[derive(ChannelParam, Clone, Serialize, Deserialize)]
struct Sku(#[serde(skip_serializing, default)] String);

#[derive(ChannelParam, Clone, Serialize, Deserialize)]
struct Number {
    #[serde(rename(deserialize = "number"))]
    value: u64,
}

#[derive(ChannelParam, Clone, Serialize, Deserialize)]
enum Region {
    Eu,
    #[serde(rename = "usa", skip_deserializing)]
    Us,
}

// Using the parameters gives no further errors.
#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>:<sku>:<region>")]
struct OrderPlaced {
    id: OrderId,
    sku: Sku,
    region: Region,
}

fn main() {}
