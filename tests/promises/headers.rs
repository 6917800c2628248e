//! Headers of what handlers return, and of batches.

use serde::{Deserialize, Serialize};
use tidings::{Message, Publish, PublishError, Received, codec::Plain, router};
use tidings_tests::{eventually, on_each};

use crate::support::{News, SOON, Step, handler, received};

/// Asks for news and a step, with a header.
#[derive(Message, Serialize, Deserialize)]
#[channel("calls:<tenant>")]
struct Call {
    tenant: String,
}

/// It carries no headers.
#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("bare")]
#[message(codec = Plain)]
struct Bare {
    n: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("bare:calls")]
struct BareCall {}

struct Switchboard;

#[router]
impl Switchboard {
    #[handler]
    async fn call(&self, call: Call) -> (Publish<News>, Publish<Step>) {
        let news = Publish::all([News { n: 1 }, News { n: 2 }]).header("tenant", &call.tenant);
        (news.and(Publish::new(News { n: 3 })), Publish::new(Step { line: 1, n: 1 }).header("tenant", call.tenant))
    }

    #[handler]
    async fn bare(&self, _call: BareCall) -> Publish<Bare> {
        Publish::new(Bare { n: 1 }).header("tenant", "acme")
    }
}

fn header<'m, M>(received: &'m Received<M>, name: &str) -> Option<&'m str> {
    received.delivery.headers().get(name)
}

on_each! {
    async fn what_a_handler_returns_carries_its_headers(world: World) {
        let bus = world.bus().await;
        let service = bus.serve(Switchboard).await.unwrap();
        let mut news = bus.subscribe(News::channel()).await.unwrap();
        let mut steps = bus.subscribe(Step::any()).await.unwrap();
        Call { tenant: "acme".to_owned() }.publish(&bus).await.unwrap();
        for expected in [Some("acme"), Some("acme"), None] {
            assert_eq!(header(&received(&mut news).await, "tenant"), expected);
        }
        assert_eq!(header(&received(&mut steps).await, "tenant"), Some("acme"));
        service.shutdown().await.unwrap();
    }

    async fn a_format_without_headers_fails_the_delivery_and_publishes_nothing(world: World) {
        let bus = world.bus().await;
        let service = bus.serve(Switchboard).await.unwrap();
        let mut bare = bus.subscribe(Bare::channel()).await.unwrap();
        BareCall {}.publish(&bus).await.unwrap();
        eventually(SOON, async || handler(&service, "bare").failed == 1).await;
        Bare { n: 2 }.publish(&bus).await.unwrap();
        assert_eq!(received(&mut bare).await.n, 2);
    }

    async fn a_batch_carries_its_headers_and_each_message_its_own(world: World) {
        let bus = world.bus_in("shop", |builder| builder).await;
        let other = world.bus_in("other", |builder| builder).await;
        let mut news = bus.subscribe(News::channel()).await.unwrap();
        let (first, second) = (News { n: 1 }, News { n: 2 });
        for atomic in [false, true] {
            let batch = bus.batch().header("tenant", "acme").header("trace", "t").push(&first);
            let batch = batch.push_publishing(second.publish(&bus).header("tenant", "globex").header("note", "n"));
            // It goes where the batch goes.
            let batch = batch.push_publishing(second.publish_to(News::channel(), &other)).push_all(&[News { n: 3 }, News { n: 4 }]);
            assert_eq!(batch.len(), 5);
            if atomic {
                batch.atomic().await.unwrap();
            } else {
                assert!(batch.await.iter().all(|result| result.as_ref().unwrap().receivers == world.receivers(1)));
            }
            for (n, tenant, note) in [
                (1, "acme", None), (2, "globex", Some("n")), (2, "acme", None), (3, "acme", None), (4, "acme", None),
            ] {
                let news = received(&mut news).await;
                assert_eq!((news.n, header(&news, "tenant"), header(&news, "note")), (n, Some(tenant), note));
                assert_eq!(header(&news, "trace"), Some("t"));
            }
        }
    }

    async fn a_header_that_comes_too_late_is_an_error_of_the_messages_that_would_miss_it(world: World) {
        let bus = world.bus().await;
        let mut news = bus.subscribe(News::channel()).await.unwrap();
        let results = bus.batch().push(&News { n: 1 }).header("tenant", "acme").push(&News { n: 2 }).await;
        assert!(matches!(&results[0], Err(PublishError::Encode { reason, .. }) if reason.contains("tenant")), "{results:?}");
        assert!(results[1].is_ok());
        assert_eq!(received(&mut news).await.n, 2);
        let atomic = bus.publish_all(&[News { n: 3 }]).header("tenant", "acme").atomic().await;
        assert!(matches!(atomic, Err(PublishError::Encode { .. })), "{atomic:?}");
    }

    async fn a_batch_with_headers_in_a_format_without_them_fails_where_they_are_missing(world: World) {
        let bus = world.bus().await;
        let results = bus.batch().header("tenant", "acme").push(&Bare { n: 1 }).push(&News { n: 1 }).await;
        assert!(matches!(&results[0], Err(PublishError::Encode { .. })), "{results:?}");
        assert!(results[1].is_ok());
        let results = bus.batch().push(&Bare { n: 1 }).push_publishing(Bare { n: 2 }.publish(&bus).header("tenant", "acme")).await;
        assert!(results[0].is_ok());
        assert!(matches!(&results[1], Err(PublishError::Encode { .. })), "{results:?}");
    }
}
