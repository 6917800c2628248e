use serde::{Deserialize, Serialize};
use tidings::{AddressedByFields, Bus, Message, Publishable, Requestable};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes:<sku>")]
#[reply(u64)]
struct QuoteRequest {
    sku: String,
}

fn relay<M: Publishable + AddressedByFields>(_bus: &Bus, _message: M) {}

fn ask<R: Requestable + AddressedByFields>(_bus: &Bus, _request: R) {}

fn call(bus: &Bus) {
    relay(bus, QuoteRequest { sku: "engine".into() });
    ask(bus, OrderPlaced { id: 7 });
}

fn main() {}
