//! Testing redelivery: an instance can die at any point of a task, and the queue delivers the task again. What comes of it must be the same.
//!
//! `cargo test --example testing_redelivery` runs the tests. `cargo run --example testing_redelivery` shows what they find, and then serves the handler
//! that has passed; with `REDIS_URL=redis://…` through a server. It ends by itself.

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tidings::{
    Bus, Message, router,
    testing::{Redelivered, RedeliveryError, redelivery},
};
use tokio::{task::yield_now, time::sleep};

/// What is owed for an order is to be taken from the customer's account, once.
#[derive(Clone, Message, Serialize, Deserialize)]
#[queue("tasks:charges")]
struct Charge {
    order: u64,
    cents: u64,
}

/// The bank is elsewhere, and lives on when an instance dies. In a test it is a stand-in.
#[derive(Default)]
struct Bank {
    transfers: Mutex<Vec<(String, u64)>>,
}

impl Bank {
    fn transfers(&self) -> MutexGuard<'_, Vec<(String, u64)>> {
        self.transfers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Transfers an amount, under a key of the caller's. A second transfer under one key is the first.
    async fn transfer(&self, key: &str, cents: u64) {
        {
            let mut transfers = self.transfers();
            if !transfers.iter().any(|(known, _)| known == key) {
                transfers.push((key.to_owned(), cents));
            }
        }
        // The answer is on its way.
        yield_now().await;
    }

    fn charged(&self) -> u64 {
        self.transfers().iter().map(|(_, cents)| cents).sum()
    }
}

/// The shop's own books, which live on too.
#[derive(Default)]
struct Books {
    paid: Mutex<BTreeMap<u64, u64>>,
}

impl Books {
    fn paid(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.paid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn is_paid(&self, order: u64) -> bool {
        yield_now().await;
        self.paid().contains_key(&order)
    }

    async fn note(&self, order: u64, cents: u64) {
        yield_now().await;
        self.paid().insert(order, cents);
    }
}

/// It looks into the books first, and believes that this is enough.
#[derive(Default)]
struct Careless {
    bank: Bank,
    books: Books,
}

#[router]
impl Careless {
    #[handler(idempotent, timeout = "30s")]
    async fn charge(&self, charge: Charge) {
        let Charge { order, cents } = charge;
        if self.books.is_paid(order).await {
            return;
        }
        // Each attempt has a key of its own: an instance that dies before the order is noted has charged it all the same.
        let attempt = self.bank.transfers().len();
        self.bank.transfer(&format!("order {order}, attempt {attempt}"), cents).await;
        self.books.note(order, cents).await;
    }
}

/// It transfers under a key of the order, so that the bank knows what it has done already.
#[derive(Default)]
struct Careful {
    bank: Bank,
    books: Books,
}

#[router]
impl Careful {
    #[handler(idempotent, timeout = "30s")]
    async fn charge(&self, charge: Charge) {
        let Charge { order, cents } = charge;
        self.bank.transfer(&format!("order {order}"), cents).await;
        self.books.note(order, cents).await;
    }
}

fn charge() -> Charge {
    Charge { order: 7, cents: 1_250 }
}

/// What must be the same: what was charged, and what is in the books.
async fn careless() -> Result<Redelivered, RedeliveryError> {
    let observe = async |shop: &Careless, _: &Bus| (shop.bank.charged(), shop.books.paid().clone());
    redelivery(async |_| Careless::default(), charge(), observe).await
}

async fn careful() -> Result<Redelivered, RedeliveryError> {
    let observe = async |shop: &Careful, _: &Bus| (shop.bank.charged(), shop.books.paid().clone());
    redelivery(async |_| Careful::default(), charge(), observe).await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    match careless().await {
        Err(error @ RedeliveryError::Differs { .. }) => {
            println!("careless fails:");
            error.to_string().lines().filter(|line| !line.is_empty()).for_each(|line| println!("  {line}"));
        }
        other => println!("unexpected: {other:?}"),
    }
    let redelivered = careful().await?;
    println!("careful passes, with a crash at each of {} awaits:", redelivered.awaits());
    redelivered.runs.iter().for_each(|disturbance| println!("  the same after {disturbance}"));

    // So it can be served.
    let bus = Bus::connect(env::var("REDIS_URL").as_deref().unwrap_or("memory:")).await?;
    let shop = Arc::new(Careful::default());
    let service = bus.serve(Arc::clone(&shop)).await?;
    for _ in 0..2 {
        charge().enqueue(&bus).await?;
    }
    while bus.queue::<Charge>().counts().await?.outstanding() > 0 {
        sleep(Duration::from_millis(20)).await;
    }
    service.shutdown().await?;
    println!("two deliveries of order 7 have charged {} cents", shop.bank.charged());
    Ok(())
}

#[cfg(test)]
mod tests {
    use tidings::testing::Disturbance;

    use super::*;

    #[tokio::test]
    async fn charging_is_idempotent() {
        careful().await.unwrap();
    }

    /// The test that would have found it.
    #[tokio::test]
    async fn a_look_into_the_books_is_not_enough() {
        let found = careless().await;
        assert!(
            matches!(found, Err(RedeliveryError::Differs { disturbance: Disturbance::AtAwait(2), .. })),
            "{found:?}"
        );
    }
}
