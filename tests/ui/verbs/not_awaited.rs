use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images", results = "1h")]
#[reply(u64)]
struct ResizeImage {
    path: String,
}

struct Shop;

#[router]
impl Shop {
    #[handler]
    async fn placed(&self, _order: OrderPlaced) {}
}

async fn subscribe(bus: &Bus) {
    let mut orders = bus.subscribe(OrderPlaced::any());
    while let Some(event) = orders.next().await {
        println!("{event:?}");
    }
}

async fn serve(bus: &Bus) {
    let service = bus.serve(Shop);
    service.run_until_stopped().await.unwrap();
}

async fn stop(bus: &Bus) {
    bus.serve(Shop).shutdown().await.unwrap();
}

async fn result(bus: &Bus) -> u64 {
    let resizing = ResizeImage { path: "logo.png".into() }.enqueue(bus);
    resizing.result(bus).await.unwrap()
}

fn main() {}
