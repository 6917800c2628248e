use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, handler, routes};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced<T> {
    id: u64,
    note: T,
}

// One mistake gives one error, however the message is used.
#[handler]
async fn placed(order: OrderPlaced<String>) {
    let _ = (order.id, order.note);
}

async fn publish(order: OrderPlaced<String>, bus: Bus) {
    order.publish(&bus).await.unwrap();
    order.publish_to(OrderPlaced::<String>::channel(7), &bus).await.unwrap();
    let _service = bus.serve(routes![placed]).await.unwrap();
}

fn main() {}
