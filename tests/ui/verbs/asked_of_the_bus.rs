use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes:<sku>")]
#[reply(u64)]
struct QuoteRequest {
    sku: String,
}

async fn publish(order: OrderPlaced, bus: &Bus) -> Option<u64> {
    let receipt = bus.publish(&order).await.unwrap();
    receipt.receivers
}

async fn publish_to(order: OrderPlaced, bus: &Bus) {
    bus.publish_to(OrderPlaced::channel(7_u64), &order).await.unwrap();
}

async fn ask(request: QuoteRequest, bus: &Bus) -> u64 {
    bus.request(request).timeout(std::time::Duration::from_secs(1)).await.unwrap()
}

fn main() {}
