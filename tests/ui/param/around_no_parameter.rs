use serde::{Deserialize, Serialize};
use tidings::{ChannelParam, Message};

#[derive(ChannelParam, Clone, Serialize, Deserialize)]
struct Price(f64);

#[derive(Message, Serialize, Deserialize)]
#[channel("prices:<price>")]
struct PriceChanged {
    price: Price,
}

fn main() {}
