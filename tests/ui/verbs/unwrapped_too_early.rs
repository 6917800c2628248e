use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes")]
#[reply(u64)]
struct QuoteRequest;

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

async fn send(bus: &Bus) {
    OrderPlaced { id: 7 }.publish(bus).unwrap();
    let cents: u64 = QuoteRequest.request(bus).expect("a price");
    let enqueued = ResizeImage { path: "logo.png".into() }.enqueue(bus).unwrap();
    println!("{cents} {}", enqueued.id);
}

async fn receive(bus: &Bus) {
    let service = bus.serve(Shop).unwrap();
    let mut orders = bus.subscribe(OrderPlaced::any()).unwrap();
    while let Some(event) = orders.next().await {
        println!("{event:?}");
    }
    service.shutdown().await.unwrap();
}

async fn watch(bus: &Bus) {
    let images = bus.queue::<ResizeImage>();
    let mut events = images.events();
    while let Some(event) = events.next().await {
        println!("{event:?}");
    }
    for letter in images.dead_letters().unwrap() {
        images.replay(&letter).await.unwrap();
    }
}

fn main() {}
