use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, handler, routes};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:*:<id>")]
struct OrderPlaced {
    id: u64,
}

// One mistake in the channel gives one error, however the message is used.
#[handler]
async fn placed(order: OrderPlaced) {
    let _ = order.id;
}

async fn publish(order: OrderPlaced, bus: Bus) {
    order.publish(&bus).await.unwrap();
    order.publish_to(OrderPlaced::channel(7), &bus).await.unwrap();
    let _ = OrderPlaced::any().id(7);
    let _service = bus.serve(routes![placed]).await.unwrap();
}

fn main() {}
