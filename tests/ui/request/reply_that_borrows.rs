use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, handler, routes};

#[derive(Message, Serialize, Deserialize)]
#[channel("names:<id>")]
#[reply(&'static str, error = &[u8])]
struct NameOf {
    id: u64,
}

#[handler]
async fn name(_request: NameOf) -> Result<&'static str, String> {
    Ok("Ada")
}

async fn serve(bus: Bus) {
    let _ = bus.serve(routes![name]).await;
}

async fn ask(bus: Bus) {
    let _name: String = NameOf { id: 7 }.request(&bus).await.unwrap();
}

fn main() {}
