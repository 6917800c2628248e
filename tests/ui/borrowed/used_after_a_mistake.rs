use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, handler, routes};

#[derive(Message, Serialize, Deserialize)]
#[channel("ask:<word")]
#[reply(u64)]
struct Ask<'a> {
    word: &'a str,
}

#[handler]
async fn asked(ask: Ask<'_>) -> u64 {
    ask.word.len() as u64
}

async fn ask(bus: &Bus) -> u64 {
    let _service = bus.serve(routes![asked]).await.unwrap();
    Ask { word: "" }.request(bus).await.unwrap()
}

fn main() {}
