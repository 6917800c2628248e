use serde::{Deserialize, Serialize};
use tidings::{Bus, Event, Message};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders")]
struct OrderView<'a> {
    customer: &'a str,
}

async fn watch(bus: &Bus) {
    let mut orders = bus.subscribe(OrderView::any()).await.unwrap();
    while let Some(Event::Message(order)) = orders.next().await {
        println!("{}", order.message.customer);
    }
}

fn main() {}
