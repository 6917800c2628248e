use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, router, routers};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

struct Shop;

#[router]
impl Shop {
    #[handler]
    async fn placed(&self, _order: OrderPlaced) {}
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<name>")]
struct OrderNamed {
    name: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:7")]
struct Seventh;

#[derive(Message, Serialize, Deserialize)]
#[channel("<name>:<number: u64>")]
struct Numbered {
    name: String,
}

struct Rest;

#[router]
impl Rest {
    #[handler(fallback)]
    async fn numbered(&self, _numbered: Numbered) {}

    #[handler]
    async fn seventh(&self, _seventh: Seventh) {}
}

#[derive(Message, Serialize, Deserialize)]
#[channel("<anything>:<more>")]
struct Anything {
    anything: String,
    more: String,
}

struct All;

#[router]
impl All {
    #[handler]
    async fn anything(&self, _anything: Anything) {}
}

async fn serve(bus: Bus) {
    let _service = bus.serve(routers![Rest, All]).await.unwrap();
}

fn main() {}
