//! Dynamic subscriptions: listeners and services come and go on a live bus.
//!
//! `cargo run --example dynamic_subscriptions`, or with `REDIS_URL=redis://…` through a server.

use std::{collections::BTreeMap, env, error::Error, time::Duration};

use serde::{Deserialize, Serialize};
use tidings::{Bus, Event, Message, Subscription, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("prices:<share>")]
struct Price {
    share: String,
    cents: u64,
}

/// What a person watches at the moment: one subscription for each share, and all of them on one connection.
struct Watchlist {
    bus: Bus,
    watched: BTreeMap<String, Subscription<Price>>,
}

impl Watchlist {
    /// When this returns, the server has confirmed: no later price is missed.
    async fn watch(&mut self, share: &str) -> Result<(), Box<dyn Error>> {
        let subscription = self.bus.subscribe(Price::channel(share)).await?;
        self.watched.insert(share.to_owned(), subscription);
        Ok(())
    }

    /// Dropping a subscription is all that it takes to unsubscribe.
    fn forget(&mut self, share: &str) {
        self.watched.remove(share);
    }

    async fn next(&mut self, share: &str) -> Option<Event<Price>> {
        self.watched.get_mut(share)?.next().await
    }
}

/// A service that is started for a while.
struct Auditor;

#[router]
impl Auditor {
    #[handler]
    async fn audit(&self, price: Price) {
        println!("audited {} at {}", price.share, price.cents);
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bus = Bus::connect(env::var("REDIS_URL").as_deref().unwrap_or("memory:")).await?;
    let mut list = Watchlist { bus: bus.clone(), watched: BTreeMap::new() };
    let price = |share: &str, cents| Price { share: share.into(), cents };

    list.watch("acme").await?;
    list.watch("globex").await?;
    price("acme", 1_000).publish(&bus).await?;
    price("globex", 2_000).publish(&bus).await?;
    for share in ["acme", "globex"] {
        match list.next(share).await {
            Some(Event::Message(price)) => println!("watched {} at {}", price.share, price.cents),
            other => println!("unexpected: {other:?}"),
        }
    }

    list.forget("globex");
    println!("watching {:?}", list.watched.keys());

    // A service joins the live bus, and leaves it. Nobody else notices.
    let auditor = bus.serve(Auditor).await?;
    price("globex", 2_100).publish(&bus).acknowledged_within(Duration::from_secs(5)).await?;
    auditor.shutdown().await?;
    println!("the auditor has gone");

    price("acme", 1_100).publish(&bus).await?;
    match list.next("acme").await {
        Some(Event::Message(price)) => println!("watched {} at {}", price.share, price.cents),
        other => println!("unexpected: {other:?}"),
    }
    Ok(())
}
