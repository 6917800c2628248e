use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct TwoNames {
    #[serde(rename(serialize = "number", deserialize = "no"))]
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<order_id>")]
#[serde(rename_all(serialize = "camelCase"))]
struct TwoStyles {
    order_id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<kind>")]
#[serde(tag = "kind")]
struct NameOfTheType {
    kind: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct Flattened {
    #[serde(flatten)]
    id: u64,
}

fn main() {}
