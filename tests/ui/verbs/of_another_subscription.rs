use serde::{Deserialize, Serialize};
use tidings::{Bus, Event, Message};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

async fn close(bus: &Bus) {
    let orders = bus.subscribe(OrderPlaced::any()).await.unwrap();
    orders.close().await.unwrap();
}

async fn unsubscribe(bus: &Bus) {
    let orders = bus.subscribe(OrderPlaced::any()).await.unwrap();
    orders.unsubscribe().await.unwrap();
}

async fn receive(bus: &Bus) {
    let mut orders = bus.subscribe(OrderPlaced::any()).await.unwrap();
    while let Some(Event::Message(order)) = orders.recv().await {
        println!("{}", order.message.id);
    }
}

fn main() {}
