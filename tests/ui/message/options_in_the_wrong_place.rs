use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[message(channel = "orders:<id>")]
struct InMessage {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[tidings(queue = "orders")]
struct InTidings {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>", version = 2)]
struct Versioned {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes:<sku>", reply = u64)]
struct Quote {
    sku: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("mails", lease = "30s", retries = 3, sorted)]
struct SendMail {
    to: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("prices", "<sku>")]
struct InParts {
    sku: String,
}

async fn uses(bus: Bus) {
    InMessage { id: 7 }.publish(&bus).await.unwrap();
    Versioned { id: 7 }.publish(&bus).await.unwrap();
    let _quotes = bus.subscribe(Quote::channel("a")).await.unwrap();
}

fn main() {}
