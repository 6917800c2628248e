use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct Skipped {
    #[serde(skip)]
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct NotWritten {
    #[serde(default, skip_serializing, alias = "number")]
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct NotRead {
    #[serde(rename = "number")]
    #[serde(skip_deserializing)]
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<customer>")]
struct SometimesNotWritten {
    #[serde(skip_serializing_if = "String::is_empty")]
    customer: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<path..>")]
struct Conditional {
    #[cfg_attr(all(), serde(skip))]
    path: Vec<String>,
}

// Using the message gives no further errors.
async fn publish(order: Skipped, bus: &tidings::Bus) {
    order.publish(bus).await.unwrap();
    order.publish_to(Skipped::channel(7), bus).await.unwrap();
}

fn main() {}
