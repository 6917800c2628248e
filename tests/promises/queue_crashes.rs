//! What a test of a program can bring about in queues: time that passes, and instances that crash where it wants it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::{
    Bus, Delivery, Enqueue, Message, Service, router,
    testing::{Broker, CrashPoint},
};
use tidings_tests::{Recorder, eventually};

use crate::support::SOON;

const HOUR: Duration = Duration::from_secs(60 * 60);

#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[queue("crashes:orders", lease = "1s")]
struct Order {
    id: u64,
    fails: u32,
}

#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[queue("crashes:invoices", lease = "1s")]
struct Invoice {
    order: u64,
}

/// Sends an invoice for each order.
#[derive(Clone)]
struct Shop {
    /// The id of each order that was begun, and how many instances had died with it.
    orders: Recorder<(u64, u32)>,
}

#[router]
impl Shop {
    #[handler(idempotent, timeout = "10s", retries = 3, backoff = "1h..2h", crashes = 20, concurrency = 4)]
    async fn order(&self, order: Order, delivery: &Delivery) -> Result<Enqueue<Invoice>, &'static str> {
        self.orders.record((order.id, delivery.crashes()));
        if delivery.failures() < order.fails { Err("not yet") } else { Ok(Enqueue::new(Invoice { order: order.id })) }
    }
}

/// One instance more.
async fn serve(broker: &Broker, shop: &Shop) -> (Bus, Service) {
    let bus = Bus::connect(&broker.url()).await.unwrap();
    let service = bus.serve(shop.clone()).await.unwrap();
    (bus, service)
}

async fn completed(bus: &Bus) -> u64 {
    bus.queue::<Order>().counts().await.unwrap().ended.completed
}

fn invoices(broker: &Broker) -> Vec<u64> {
    let mut orders: Vec<u64> = broker.enqueued::<Invoice>().unwrap().iter().map(|invoice| invoice.order).collect();
    orders.sort_unstable();
    orders
}

#[tokio::test]
async fn a_crash_at_any_point_loses_no_task_and_doubles_no_follow_up() {
    for (point, runs) in [
        (CrashPoint::BeforeHandler, vec![(1, 1)]),
        (CrashPoint::BeforeAcknowledgement, vec![(1, 0), (1, 1)]),
        (CrashPoint::AfterFollowUps, vec![(1, 0)]),
    ] {
        let broker = Broker::new();
        let shop = Shop { orders: Recorder::new() };
        let (bus, _one) = serve(&broker, &shop).await;
        let (_, _two) = serve(&broker, &shop).await;
        broker.crash_at(point);
        Order { id: 1, fails: 0 }.enqueue(&bus).await.unwrap();
        eventually(SOON, async || completed(&bus).await == 1).await;
        // Nothing of it comes again, when every lease of that time is over.
        Order { id: 2, fails: 0 }.enqueue(&bus).await.unwrap();
        eventually(SOON, async || completed(&bus).await == 2).await;
        assert_eq!(shop.orders.all(), [runs, vec![(2, 0)]].concat(), "{point:?}");
        assert_eq!(invoices(&broker), [1, 2], "{point:?}");
    }
}

#[tokio::test]
async fn one_crash_after_the_other_loses_none_of_many_tasks_and_doubles_none_of_what_follows() {
    const ORDERS: u64 = 300;
    let broker = Broker::new();
    let shop = Shop { orders: Recorder::new() };
    let mut instances = vec![serve(&broker, &shop).await, serve(&broker, &shop).await];
    let bus = Bus::connect(&broker.url()).await.unwrap();
    let points = [CrashPoint::BeforeHandler, CrashPoint::BeforeAcknowledgement, CrashPoint::AfterFollowUps];
    for (round, point) in points.into_iter().cycle().take(6).enumerate() {
        broker.crash_at(point);
        let first = round as u64 * ORDERS / 6;
        for id in first..first + ORDERS / 6 {
            Order { id, fails: 0 }.enqueue(&bus).await.unwrap();
        }
        instances.push(serve(&broker, &shop).await);
    }
    eventually(SOON, async || completed(&bus).await == ORDERS).await;
    assert_eq!(invoices(&broker), (0..ORDERS).collect::<Vec<_>>());
    let counts = bus.queue::<Order>().counts().await.unwrap();
    assert_eq!((counts.dead, counts.ended.completed), (0, ORDERS));
    assert!(counts.ended.crashed_attempts > 0);
    // A second run is only what an instance had when it crashed.
    let again = shop.orders.len() as u64 - ORDERS;
    assert!(again <= 6 * 4, "{again} second runs");
}

#[tokio::test]
async fn hours_between_two_attempts_pass_when_a_test_wants_it() {
    let broker = Broker::new();
    let shop = Shop { orders: Recorder::new() };
    let (bus, service) = serve(&broker, &shop).await;
    Order { id: 1, fails: 2 }.enqueue(&bus).delay(HOUR).await.unwrap();
    assert_eq!(broker.enqueued::<Order>().unwrap(), [Order { id: 1, fails: 2 }]);
    let mut passed = Duration::ZERO;
    for begun in 1..=3 {
        eventually(SOON, async || {
            broker.run_due().is_some_and(|moved| {
                passed += moved;
                true
            })
        })
        .await;
        shop.orders.wait_for(begun).await;
    }
    assert!(passed > HOUR / 2 && passed < 5 * HOUR, "{passed:?}");
    eventually(SOON, async || completed(&bus).await == 1).await;
    assert_eq!((broker.run_due(), invoices(&broker)), (None, vec![1]));
    service.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_task_expires_when_a_test_lets_its_time_pass() {
    let broker = Broker::new();
    let bus = Bus::connect(&broker.url()).await.unwrap();
    Order { id: 1, fails: 0 }.enqueue(&bus).expires_in(HOUR).await.unwrap();
    Order { id: 2, fails: 0 }.enqueue(&bus).expires_in(HOUR * 3).await.unwrap();
    broker.advance(HOUR * 2);
    let shop = Shop { orders: Recorder::new() };
    let service = bus.serve(shop.clone()).await.unwrap();
    eventually(SOON, async || bus.queue::<Order>().counts().await.unwrap().ended.expired == 1).await;
    shop.orders.wait_for(1).await;
    assert_eq!(shop.orders.all(), [(2, 0)]);
    service.shutdown().await.unwrap();
}
