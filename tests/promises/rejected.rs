//! A service tells those who watch the bus which messages it rejected and why, and a flood of them drowns nothing else.

use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};
use tidings::{BusEvent, BusEvents, Message, router};
use tidings_tests::{eventually, on_each};

use crate::support::{SOON, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("accounts:<id>:<owner>")]
struct Account {
    id: u64,
    owner: String,
    balance: u64,
}

struct Accounts;

#[router]
impl Accounts {
    #[handler]
    async fn account(&self, account: Account) {
        let _ = account;
    }
}

/// One rejection, without what all of them have.
struct Rejected {
    channel: String,
    id: Option<String>,
    reason: String,
    count: u64,
}

async fn rejected(events: &mut BusEvents) -> Rejected {
    match tokio::time::timeout(SOON, events.next()).await.unwrap().unwrap() {
        BusEvent::Rejected { handler, template, channel, id, reason, count, .. } => {
            assert_eq!((handler, template), ("account", "accounts:<id>:<owner>"));
            Rejected { channel, id, reason, count }
        }
        other => panic!("expected a rejection, not {other:?}"),
    }
}

on_each! {
    async fn a_rejection_is_an_event_that_says_where_which_and_why(world: World) {
        let bus = world.bus_in("shop", |builder| builder.payload_limit(200)).await;
        let mut events = bus.events();
        let _service = bus.serve(Accounts).await.unwrap();
        let long = "x".repeat(300);
        for (channel, payload, id, reason) in [
            ("accounts:1:ada", r#"{"id":1,"owner":"ada"}"#, None, "balance"),
            ("accounts:1:ada", r#"{"id":2,"owner":"ada","balance":1}"#, None, "the field `id` differs from the channel"),
            ("accounts:1:ada", r#"{"id":"m","type":"Invoice","data":{}}"#, Some("m"), "another type than Account"),
            ("accounts:1:ada", r#"{"id":"m","type":"Account","version":9,"data":{}}"#, Some("m"), "version 9"),
            ("accounts:1:ada", long.as_str(), None, "the payload has 300 bytes, more than the limit of 200"),
        ] {
            world.publish_raw(&format!("shop:{channel}"), payload).await;
            let told = rejected(&mut events).await;
            assert_eq!((told.channel.as_str(), told.id.as_deref(), told.count), (channel, id, 1));
            assert!(told.reason.contains(reason), "{}", told.reason);
        }
    }

    async fn what_is_shown_of_a_channel_is_bounded_and_harmless(world: World) {
        let bus = world.bus().await;
        let mut events = bus.events();
        let _service = bus.serve(Accounts).await.unwrap();
        let owner = "x".repeat(400);
        world.publish_raw(&format!("accounts:1:{owner}"), r#"{"id":2,"owner":"x","balance":1}"#).await;
        let told = rejected(&mut events).await;
        assert!(told.channel.starts_with("accounts:1:xxx") && told.channel.ends_with('…'), "{}", told.channel);
        assert_eq!(told.channel.chars().count(), 129);
    }

    async fn a_flood_is_few_events_and_all_of_it_is_counted(world: World) {
        const FLOOD: u64 = 2_000;
        let bus = world.bus().await;
        let mut events = bus.events();
        let service = bus.serve(Accounts).await.unwrap();
        for _ in 0..FLOOD {
            world.publish_raw("accounts:1:ada", "nothing").await;
        }
        eventually(SOON, async || handler(&service, "account").rejected == FLOOD).await;
        // A kind of its own is told at once.
        world.publish_raw("accounts:1:ada", r#"{"id":2,"owner":"ada","balance":1}"#).await;
        let (mut told, mut others, mut count) = (0, 0, 0);
        while count < FLOOD || others == 0 {
            let rejected = rejected(&mut events).await;
            told += 1;
            if rejected.reason.contains("differs") { others += rejected.count } else { count += rejected.count }
        }
        assert_eq!((count, others), (FLOOD, 1));
        assert!(told < 60, "{told} events");
    }

    async fn what_was_only_counted_is_told_when_the_service_ends(world: World) {
        for dropped in [false, true] {
            world.settle().await;
            let bus = world.bus().await;
            let mut events = bus.events();
            let service = bus.serve(Accounts).await.unwrap();
            for _ in 0..10 {
                world.publish_raw("accounts:1:ada", "nothing").await;
            }
            eventually(SOON, async || handler(&service, "account").rejected == 10).await;
            if dropped { drop(service) } else { service.shutdown().await.unwrap() }
            let mut count = 0;
            while count < 10 {
                count += rejected(&mut events).await.count;
            }
            assert_eq!(count, 10);
            assert_eq!(events.next().now_or_never(), None);
        }
    }
}
