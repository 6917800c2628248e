//! Testing your service: on `memory:` a whole service is tested in milliseconds, faults included, with nothing to install.
//!
//! `cargo test --example testing_your_service` runs the tests. `cargo run --example testing_your_service` runs the same checks, and
//! with `REDIS_URL=redis://…` through a server: the service cannot tell the difference.

use std::{
    env,
    error::Error,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tidings::{AcknowledgeError, Bus, Event, Message, Publish, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("stock:<sku>:taken")]
struct Taken {
    sku: String,
    count: u64,
}

#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("stock:<sku>:low")]
struct Low {
    sku: String,
    left: u64,
}

/// The service under test: it counts down, and warns when little is left.
struct Stock {
    left: AtomicU64,
}

#[router]
impl Stock {
    #[handler]
    async fn taken(&self, taken: Taken) -> Result<Option<Publish<Low>>, String> {
        let before = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(taken.count))
            .map_err(|left| format!("only {left} left"))?;
        let left = before - taken.count;
        Ok((left < 5).then(|| Publish::new(Low { sku: taken.sku, left })))
    }
}

const PATIENCE: Duration = Duration::from_secs(5);

type Checked = Result<(), Box<dyn Error>>;

fn taken(count: u64) -> Taken {
    Taken { sku: "tea".into(), count }
}

/// A handler is still a function: what it decides needs no bus.
async fn a_handler_is_a_function() -> Checked {
    let stock = Stock { left: AtomicU64::new(6) };
    assert!(stock.taken(taken(1)).await?.is_none());
    assert!(stock.taken(taken(1)).await?.is_some());
    assert_eq!(stock.taken(taken(9)).await.err().as_deref(), Some("only 4 left"));
    Ok(())
}

/// The whole way, through encoding, channels and dispatch.
async fn warns_when_little_is_left(url: &str) -> Checked {
    let bus = Bus::connect(url).await?;
    let service = bus.serve(Stock { left: AtomicU64::new(6) }).await?;
    let mut low = bus.subscribe(Low::any()).await?;
    taken(2).publish(&bus).await?;
    match low.next().await {
        Some(Event::Message(warning)) => assert_eq!(warning.message, Low { sku: "tea".into(), left: 4 }),
        other => return Err(format!("no warning: {other:?}").into()),
    }
    service.shutdown().await?;
    Ok(())
}

/// Acknowledged publishing waits for the handler, so a test needs no sleep.
async fn refuses_what_is_not_there(url: &str) -> Checked {
    let bus = Bus::connect(url).await?;
    let service = bus.serve(Stock { left: AtomicU64::new(1) }).await?;
    match taken(2).publish(&bus).acknowledged_within(PATIENCE).await {
        Err(AcknowledgeError::Refused { refusals, .. }) => assert_eq!(refusals, ["only 1 left"]),
        other => return Err(format!("not refused: {other:?}").into()),
    }
    taken(1).publish(&bus).acknowledged_within(PATIENCE).await?;
    service.shutdown().await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Checked {
    let url = env::var("REDIS_URL").unwrap_or_else(|_| "memory:".to_owned());
    let start = Instant::now();
    a_handler_is_a_function().await?;
    println!("ok: a handler is a function");
    warns_when_little_is_left(&url).await?;
    println!("ok: warns when little is left");
    refuses_what_is_not_there(&url).await?;
    println!("ok: refuses what is not there");
    println!("3 checks in {:?}", start.elapsed());
    Ok(())
}

#[cfg(test)]
mod tests {
    use tidings::testing::Broker;

    use super::*;

    #[tokio::test]
    async fn handler() -> Checked {
        a_handler_is_a_function().await
    }

    #[tokio::test]
    async fn warning() -> Checked {
        warns_when_little_is_left("memory:").await
    }

    #[tokio::test]
    async fn refusal() -> Checked {
        refuses_what_is_not_there("memory:").await
    }

    /// `Broker` is a server in the hands of a test: it is stopped, frozen, started and questioned.
    #[tokio::test]
    async fn survives_an_outage() -> Checked {
        let broker = Broker::new();
        let bus = Bus::connect(&broker.url()).await?;
        let service = bus.serve(Stock { left: AtomicU64::new(9) }).await?;
        broker.stop();
        assert!(taken(1).publish(&bus).await.is_err());
        broker.start();
        taken(1).publish(&bus).acknowledged_within(PATIENCE).await?;
        service.shutdown().await?;
        assert_eq!(broker.patterns(), 0);
        Ok(())
    }
}
