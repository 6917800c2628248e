use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

const VERSION: u32 = 2;

macro_rules! order {
    ($channel:expr, $name:expr, $version:expr, $codec:expr) => {
        #[derive(Message, Serialize, Deserialize)]
        #[channel($channel)]
        #[message(name = $name, version = $version, codec = $codec)]
        struct OrderPlaced {
            id: u64,
        }
    };
}

order!(concat!("orders:", "<id>"), stringify!(order), VERSION, "cbor");

async fn publish(order: OrderPlaced, bus: Bus) {
    order.publish(&bus).await.unwrap();
}

fn main() {}
