use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders")]
struct OrderView<'a> {
    customer: &'a str,
}

async fn watch(bus: &Bus) {
    let _ = bus.subscribe(OrderView::any());
}

fn main() {}
