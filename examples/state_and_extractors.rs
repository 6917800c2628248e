//! State and extractors: a handler's arguments say what it needs, and nothing else is passed to it.
//!
//! `cargo run --example state_and_extractors`, or with `REDIS_URL=redis://…` through a server.

use std::{
    collections::HashMap,
    env,
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tidings::{Address, Bus, Delivery, FromState, Headers, Message, State, handler, routes};

/// A sale. The till is part of the address, not of the message.
#[derive(Message, Serialize, Deserialize)]
#[channel("sales:<till: u8>")]
struct Sale {
    item: String,
    cents: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("reports")]
struct Report {
    day: String,
}

/// What the handlers share: cheap to clone, like everything that many tasks use.
#[derive(Clone)]
struct App {
    takings: Takings,
    currency: Currency,
}

/// Cents for each till.
#[derive(Clone, Default)]
struct Takings(Arc<Mutex<HashMap<u8, u64>>>);

#[derive(Clone, Copy)]
struct Currency(&'static str);

// Each part of the state can be asked for by its type.
impl FromState<App> for Takings {
    fn from_state(app: &App) -> Self {
        app.takings.clone()
    }
}

impl FromState<App> for Currency {
    fn from_state(app: &App) -> Self {
        app.currency
    }
}

impl Takings {
    fn add(&self, till: u8, cents: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(till).or_default() += cents;
    }

    fn total(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }
}

/// The message comes first; then, in any order, its address, its headers, its delivery, the bus, and parts of the state.
#[handler]
async fn sold(sale: Sale, till: Address<Sale>, headers: &Headers, State(takings): State<Takings>) {
    takings.add(till.till, sale.cents);
    let clerk = headers.get("clerk").unwrap_or("somebody");
    println!("till {}: {clerk} sells {}", till.till, sale.item);
}

#[handler]
async fn report(
    report: Report,
    delivery: &Delivery,
    State(takings): State<Takings>,
    State(currency): State<Currency>,
) -> Result<(), String> {
    let when = delivery.timestamp().ok_or("a report without a time")?;
    let age = when.elapsed().unwrap_or_default();
    println!("{}: {} {} in all, asked for on `{}`", report.day, takings.total(), currency.0, delivery.channel());
    if age < Duration::from_secs(60) { Ok(()) } else { Err(format!("asked for {age:?} ago")) }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bus = Bus::connect(env::var("REDIS_URL").as_deref().unwrap_or("memory:")).await?;
    let app = App { takings: Takings::default(), currency: Currency("cents") };
    let service = bus.serve(routes![sold, report].with_state(app)).await?;

    // Each is awaited until it has been handled, so that the report comes after the sales.
    let patience = Duration::from_secs(5);
    let bread = Sale { item: "bread".into(), cents: 320 };
    bread.publish_to(Sale::channel(1_u8), &bus).header("clerk", "Ada").acknowledged_within(patience).await?;
    let cake = Sale { item: "cake".into(), cents: 1_250 };
    cake.publish_to(Sale::channel(2_u8), &bus).acknowledged_within(patience).await?;
    Report { day: "Monday".into() }.publish(&bus).acknowledged_within(patience).await?;

    service.shutdown().await?;
    Ok(())
}
