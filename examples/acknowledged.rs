//! Acknowledged publishing: the publisher waits until somebody has handled the message, and learns who could not.
//!
//! `cargo run --example acknowledged`, or with `REDIS_URL=redis://…` through a server.

use std::{env, error::Error, time::Duration};

use serde::{Deserialize, Serialize};
use tidings::{AcknowledgeError, Bus, Message, router};

/// A price has changed. It is an ordinary broadcast.
#[derive(Message, Serialize, Deserialize)]
#[channel("prices:<sku>")]
struct PriceChanged {
    sku: String,
    cents: u64,
}

struct Shelf {
    lowest_cents: u64,
}

#[router]
impl Shelf {
    /// `Ok` acknowledges, and an error refuses: the publisher is told why.
    #[handler]
    async fn price(&self, price: PriceChanged) -> Result<(), String> {
        if price.cents < self.lowest_cents {
            return Err(format!("{} cents is less than {} costs us", price.cents, price.sku));
        }
        println!("{} now costs {} cents", price.sku, price.cents);
        Ok(())
    }
}

const PATIENCE: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bus = Bus::connect(env::var("REDIS_URL").as_deref().unwrap_or("memory:")).await?;
    let engine = PriceChanged { sku: "engine".into(), cents: 125_000 };

    match engine.publish(&bus).acknowledged_within(PATIENCE).await {
        Err(AcknowledgeError::NobodyListens { .. }) => println!("no shelf is there yet"),
        other => println!("unexpected: {other:?}"),
    }

    // Two services hear of it, and both are waited for.
    let one = bus.serve(Shelf { lowest_cents: 100_000 }).await?;
    let two = bus.serve(Shelf { lowest_cents: 1 }).await?;
    let acknowledged = engine.publish(&bus).acknowledged_within(PATIENCE).at_least(2).await?;
    println!("{} shelves have the new price", acknowledged.handlers);

    one.shutdown().await?;
    two.shutdown().await?;
    let careful = bus.serve(Shelf { lowest_cents: 200_000 }).await?;
    match engine.publish(&bus).acknowledged_within(PATIENCE).await {
        Err(AcknowledgeError::Refused { refusals, .. }) => println!("refused: {}", refusals.join(", ")),
        other => println!("unexpected: {other:?}"),
    }
    careful.shutdown().await?;
    Ok(())
}
