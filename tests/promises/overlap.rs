//! Every subscription and service sees each message once, whatever overlaps on the server; and a glob never misroutes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidings::{Address, Bus, Event, Message, Rejection, Service, router};
use tidings_tests::{Recorder, World, eventually, on_each};

use crate::support::{SOON, event, handler, message, received};

#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("order:<id>")]
struct Order {
    id: u64,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("order:new")]
struct NewOrder {
    by: String,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("order:<id>:created")]
struct Created {
    id: u64,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("order:<id>:<region>:created")]
struct CreatedIn {
    id: u64,
    region: String,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("order:<path..: Vec<String>>")]
struct AnyOrder {}

#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("sales:<region>:<id>")]
struct Sale {
    region: String,
    id: u64,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("files:<owner: String>:shared:<path..: Vec<String>>")]
struct Shared {}

struct Orders {
    seen: Recorder<String>,
}

#[router]
impl Orders {
    #[handler]
    async fn order(&self, order: Order) {
        self.seen.record(format!("order {}", order.id));
    }

    #[handler]
    async fn new_order(&self, order: NewOrder) {
        self.seen.record(format!("new by {}", order.by));
    }

    #[handler]
    async fn created(&self, created: Created) {
        self.seen.record(format!("created {}", created.id));
    }

    #[handler]
    async fn created_in(&self, created: CreatedIn) {
        self.seen.record(format!("created {} in {}", created.id, created.region));
    }

    #[handler(fallback)]
    async fn other(&self, _order: AnyOrder, address: Address<AnyOrder>) {
        self.seen.record(format!("other {}", address.path.join("/")));
    }
}

/// Takes a part of what [`Orders`] takes.
struct Part {
    seen: Recorder<String>,
}

#[router]
impl Part {
    #[handler]
    async fn order(&self, order: Order) {
        self.seen.record(format!("order {}", order.id));
    }

    #[handler]
    async fn created_in(&self, created: CreatedIn) {
        self.seen.record(format!("created {} in {}", created.id, created.region));
    }
}

/// Publishes one of each, several times; says what each router should see of it, with the number of times.
async fn publish_all(bus: &Bus, world: &World) -> (BTreeMap<String, usize>, BTreeMap<String, usize>) {
    for id in 0..20 {
        Order { id }.publish(bus).await.unwrap();
        NewOrder { by: "Ada".into() }.publish(bus).await.unwrap();
        Created { id }.publish(bus).await.unwrap();
        CreatedIn { id, region: "eu".into() }.publish(bus).await.unwrap();
        // Only the fallback's pattern is meant for these, and every pattern's glob but one matches the second.
        world.publish_raw("order:x", "{}").await;
        world.publish_raw("order:1:a:b:created", "{}").await;
    }
    Order { id: 999 }.publish(bus).await.unwrap();
    let mut some = BTreeMap::from([("order 999".to_owned(), 1)]);
    for id in 0..20 {
        some.insert(format!("order {id}"), 1);
        some.insert(format!("created {id} in eu"), 1);
    }
    let mut all = some.clone();
    all.extend((0..20).map(|id| (format!("created {id}"), 1)));
    all.insert("new by Ada".to_owned(), 20);
    all.insert("other x".to_owned(), 20);
    all.insert("other 1/a/b/created".to_owned(), 20);
    (all, some)
}

/// What was seen, with the number of times, once it is as much as is expected.
async fn counted(seen: &Recorder<String>, expected: &BTreeMap<String, usize>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for text in seen.wait_for(expected.values().sum()).await {
        *counts.entry(text).or_default() += 1;
    }
    counts
}

async fn orders(bus: &Bus) -> (Service, Recorder<String>) {
    let seen = Recorder::new();
    (bus.serve(Orders { seen: seen.clone() }).await.unwrap(), seen)
}

async fn part(bus: &Bus) -> (Service, Recorder<String>) {
    let seen = Recorder::new();
    (bus.serve(Part { seen: seen.clone() }).await.unwrap(), seen)
}

on_each! {
    async fn each_service_sees_each_message_once_whatever_overlaps(world: World) {
        let (one, other) = (world.bus().await, world.bus().await);
        let served_all = [orders(&one).await, orders(&one).await, orders(&other).await];
        let served_part = [part(&one).await, part(&other).await];
        // Names that make the server deliver the same messages to the same connections yet more often.
        let _exact = one.subscribe(Order::channel(7)).await.unwrap();
        let _any = one.subscribe(AnyOrder::any()).await.unwrap();
        let (all, some) = publish_all(&other, &world).await;
        for (_service, seen) in &served_all {
            assert_eq!(counted(seen, &all).await, all);
        }
        for (_service, seen) in &served_part {
            assert_eq!(counted(seen, &some).await, some);
        }
        for (service, seen) in served_all.into_iter().chain(served_part) {
            let before = seen.len();
            service.shutdown().await.unwrap();
            assert_eq!(seen.len(), before);
        }
    }

    async fn each_subscription_sees_each_message_once_whatever_overlaps(world: World) {
        let (one, other) = (world.bus().await, world.bus().await);
        let (_service, _seen) = orders(&one).await;
        let mut exact = [
            one.subscribe(Order::channel(1)).await.unwrap(),
            one.subscribe(Order::channel(1)).await.unwrap(),
            other.subscribe(Order::channel(1)).await.unwrap(),
        ];
        let mut any = [one.subscribe(Order::any()).await.unwrap(), one.subscribe(Order::any()).await.unwrap()];
        let _same_glob = one.subscribe(AnyOrder::any()).await.unwrap();
        for _ in 0..20 {
            Order { id: 1 }.publish(&one).await.unwrap();
            Order { id: 2 }.publish(&one).await.unwrap();
        }
        drop((one, other));
        for orders in &mut exact {
            for _ in 0..20 {
                assert_eq!(message(orders).await.id, 1);
            }
        }
        for orders in &mut any {
            for _ in 0..20 {
                assert_eq!(message(orders).await.id, 1);
                assert_eq!(message(orders).await.id, 2);
            }
        }
        // Nothing has come twice: what was published last is what comes next.
        let bus = world.bus().await;
        Order { id: 1 }.publish(&bus).header("last", "yes").await.unwrap();
        for orders in exact.iter_mut().chain(&mut any) {
            assert_eq!(received(orders).await.delivery.headers().get("last"), Some("yes"));
        }
    }

    async fn a_fallback_takes_what_no_other_handler_takes(world: World) {
        let bus = world.bus().await;
        let (service, seen) = orders(&bus).await;
        world.publish_raw("order:5", r#"{"id":5}"#).await;
        world.publish_raw("order:new", r#"{"by":"Ada"}"#).await;
        world.publish_raw("order:newer", "{}").await;
        world.publish_raw("order:05", "{}").await;
        world.publish_raw("order:5:eu:created", r#"{"id":5,"region":"eu"}"#).await;
        world.publish_raw("order:5:eu:deleted", "{}").await;
        assert_eq!(
            seen.wait_for(6).await,
            ["order 5", "new by Ada", "other newer", "other 05", "created 5 in eu", "other 5/eu/deleted"]
        );
        assert_eq!(service.stats().unmatched, 0);
    }

    async fn a_glob_that_crosses_a_separator_does_not_misroute(world: World) {
        let bus = world.bus().await;
        let (service, seen) = part(&bus).await;
        // `order:*` matches all of these on the server, `order:*:*:created` the last three.
        for channel in ["order:1:2", "order:1:eu:x", "order:1:eu:x:created", "order:1:::created", "order:x:eu:created"] {
            world.publish_raw(channel, r#"{"id":1,"region":"eu"}"#).await;
        }
        Order { id: 2 }.publish(&bus).await.unwrap();
        assert_eq!(seen.wait_for(1).await, ["order 2"]);
        eventually(SOON, async || service.stats().unmatched >= 5).await;
        assert_eq!(handler(&service, "order").rejected, 0);
        service.shutdown().await.unwrap();
        assert_eq!(seen.len(), 1);
    }

    async fn a_narrowed_pattern_matches_segment_by_segment(world: World) {
        let bus = world.bus().await;
        let mut eu = bus.subscribe(Sale::any().region("eu")).await.unwrap();
        let mut seven = bus.subscribe(Sale::any().id(7_u64)).await.unwrap();
        let mut star = bus.subscribe(Sale::any().region("*")).await.unwrap();
        let mut exact = bus.subscribe(Sale::any().region("eu:x").id(7_u64)).await.unwrap();
        for (region, id) in [("eu", 1), ("us", 7), ("eu:x", 7), ("euro", 8), ("*", 9), ("eu", 7)] {
            Sale { region: region.into(), id }.publish(&bus).await.unwrap();
        }
        let sale = |region: &str, id| Sale { region: region.into(), id };
        assert_eq!([message(&mut eu).await, message(&mut eu).await], [sale("eu", 1), sale("eu", 7)]);
        assert_eq!(message(&mut star).await, sale("*", 9));
        assert_eq!(message(&mut exact).await, sale("eu:x", 7));
        let sevens = [message(&mut seven).await, message(&mut seven).await, message(&mut seven).await];
        assert_eq!(sevens, [sale("us", 7), sale("eu:x", 7), sale("eu", 7)]);
    }

    async fn a_channel_that_only_the_glob_matches_is_passed_over_and_counted(world: World) {
        let bus = world.bus().await;
        let mut seven = bus.subscribe(Sale::any().id(7_u64)).await.unwrap();
        world.publish_raw("sales:eu:x:7", r#"{"region":"eu","id":7}"#).await;
        world.publish_raw("sales:eu:7", r#"{"region":"eu","id":7}"#).await;
        assert_eq!(message(&mut seven).await.region, "eu");
        assert_eq!((seven.stats().unmatched, seven.stats().invalid, seven.stats().messages), (1, 0, 1));
    }

    async fn a_deeper_channel_is_not_a_message_of_the_template(world: World) {
        const COUNT: u64 = 300;
        let bus = world.bus_with(|builder| builder.payload_limit(100)).await;
        let mut orders = bus.subscribe(Order::any()).await.unwrap();
        let mut first = bus.subscribe(Order::channel(1)).await.unwrap();
        // With a payload that fits, one that is nothing, and one that is too large.
        let payloads = [r#"{"id":1}"#.to_owned(), "x".to_owned(), "y".repeat(101)];
        for payload in payloads.iter().cycle().take(COUNT as usize) {
            world.publish_raw("order:1:more", payload).await;
        }
        world.publish_raw("order:x", r#"{"id":1}"#).await;
        world.publish_raw("order:1", r#"{"id":1}"#).await;
        // What has the form of the template and no value for its parameter is said to be wrong.
        match event(&mut orders).await {
            Event::Invalid(invalid) => {
                assert_eq!(invalid.channel, "order:x");
                assert!(matches!(invalid.rejection, Rejection::Address { .. }), "{}", invalid.rejection);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(message(&mut orders).await.id, 1);
        assert_eq!(message(&mut first).await.id, 1);
        let stats = orders.stats();
        assert_eq!((stats.unmatched, stats.invalid, stats.messages), (COUNT, 1, 1));
        assert_eq!(first.stats().unmatched, 0);
    }

    async fn a_glob_that_shifts_the_segments_of_a_rest_does_not_misroute(world: World) {
        let bus = world.bus().await;
        let mut shared = bus.subscribe(Shared::any()).await.unwrap();
        // `files:*:shared:*` matches it on the server, and so many segments would fit.
        world.publish_raw("files:ada:notes:shared:x", "{}").await;
        world.publish_raw("files:ada:shared:x:y", "{}").await;
        assert_eq!(received(&mut shared).await.delivery.channel(), "files:ada:shared:x:y");
        assert_eq!(shared.stats().unmatched, 1);
    }
}
