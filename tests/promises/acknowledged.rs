//! An acknowledged publish returns once handlers have handled the message, or says who could not.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::{AcknowledgeError, Message, Publish, router};
use tidings_tests::{Recorder, eventually, on_each};

use crate::support::{Gate, SOON, handler, patience, refusals};

#[derive(Message, Serialize, Deserialize)]
#[channel("prices:<sku>")]
struct PriceChanged {
    sku: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("labels:<sku>")]
struct LabelPrinted {
    sku: String,
}

struct Shelf {
    done: Recorder<String>,
}

#[router]
impl Shelf {
    #[handler(filter = price.sku != "unwanted")]
    async fn price(&self, price: PriceChanged) -> Result<Publish<LabelPrinted>, String> {
        match price.sku.as_str() {
            "bad" => Err("this shelf has no room".to_owned()),
            "panic" => panic!("a handler of a test panics, as it should"),
            _ => {
                tokio::task::yield_now().await;
                self.done.record(price.sku.clone());
                Ok(Publish::new(LabelPrinted { sku: price.sku }))
            }
        }
    }
}

/// Slower than publishers are patient.
struct Slow {
    gate: Gate,
    done: Recorder<String>,
}

#[router]
impl Slow {
    #[handler(concurrency = 1)]
    async fn price(&self, price: PriceChanged) {
        self.gate.pass().await;
        self.done.record(price.sku);
    }
}

fn shelf() -> (Shelf, Recorder<String>) {
    let done = Recorder::new();
    (Shelf { done: done.clone() }, done)
}

fn price(sku: &str) -> PriceChanged {
    PriceChanged { sku: sku.to_owned() }
}

on_each! {
    async fn it_returns_once_the_message_has_been_handled(world: World) {
        let (server, client) = (world.bus().await, world.bus().await);
        let (shelf, done) = shelf();
        let _service = server.serve(shelf).await.unwrap();
        let acknowledged = price("engine").publish(&client).acknowledged_within(SOON).await.unwrap();
        assert_eq!(acknowledged.handlers, 1);
        assert_eq!(done.all(), ["engine"]);
    }

    async fn it_waits_for_as_many_as_are_asked_for(world: World) {
        let bus = world.bus().await;
        let _one = bus.serve(shelf().0).await.unwrap();
        let _two = world.bus().await.serve(shelf().0).await.unwrap();
        let acknowledged = price("engine").publish(&bus).acknowledged_within(SOON).at_least(2).await.unwrap();
        assert_eq!(acknowledged.handlers, 2);
        let three = price("engine").publish(&bus).acknowledged_within(Duration::from_millis(200)).at_least(3).await;
        match three {
            Err(AcknowledgeError::TimedOut { handlers, .. }) => assert_eq!(handlers, 2),
            other => panic!("{other:?}"),
        }
    }

    async fn a_refusal_carries_the_handlers_error(world: World) {
        let bus = world.bus().await;
        let _service = bus.serve(shelf().0).await.unwrap();
        for (sku, expected) in [("bad", "this shelf has no room"), ("panic", "the handler panicked")] {
            let error = price(sku).publish(&bus).acknowledged_within(patience(&world)).await.unwrap_err();
            assert_eq!(refusals(&world, error), [expected]);
        }
    }

    async fn a_publisher_that_stops_waiting_keeps_nobody_from_handling_it(world: World) {
        let (server, client) = (world.bus().await, world.bus().await);
        let slow = Slow { gate: Gate::closed(), done: Recorder::new() };
        let (gate, done) = (slow.gate.clone(), slow.done.clone());
        let service = server.serve(slow).await.unwrap();
        for sku in ["running", "waiting", "waiting too"] {
            let given_up = price(sku).publish(&client).acknowledged_within(Duration::from_millis(50)).await.unwrap_err();
            assert!(matches!(given_up, AcknowledgeError::TimedOut { handlers: 0, .. }), "{given_up:?}");
        }
        gate.open();
        assert_eq!(done.wait_for(3).await, ["running", "waiting", "waiting too"]);
        eventually(SOON, async || handler(&service, "price").handled == 3).await;
        let stats = handler(&service, "price");
        assert_eq!((stats.expired, stats.cancelled), (0, 0), "{stats:?}");
    }

    async fn nobody_there_is_known_at_once(world: World) {
        let bus = world.bus().await;
        match price("engine").publish(&bus).acknowledged_within(patience(&world)).await.unwrap_err() {
            AcknowledgeError::NobodyListens { .. } => assert!(!world.is_cluster()),
            error => assert!(refusals(&world, error).is_empty()),
        }
        assert_eq!(bus.stats().pending_requests, 0);
    }
}
