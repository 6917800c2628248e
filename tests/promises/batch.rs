//! A batch is one round trip: in order, with a result for each message.

use std::pin::pin;

use futures_util::poll;
use serde::{Deserialize, Serialize, Serializer, ser::Error as _};
use tidings::{Message, PublishError};
use tidings_tests::on_each;

use crate::support::{News, Step, messages};

/// A message that cannot be written when it is told so.
#[derive(Message, Deserialize)]
#[channel("moods")]
struct Mood {
    bad: bool,
}

impl Serialize for Mood {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.bad { Err(S::Error::custom("not today")) } else { serializer.serialize_str("good") }
    }
}

on_each! {
    async fn a_thousand_messages_arrive_in_order_each_with_a_receipt(world: World) {
        let bus = world.bus().await;
        let mut line = bus.subscribe(Step::channel(1)).await.unwrap();
        let steps: Vec<Step> = (0..1_000).map(|n| Step { line: 1, n }).collect();
        let results = bus.publish_all(&steps).await;
        assert_eq!(results.len(), 1_000);
        assert!(results.iter().all(|result| result.as_ref().is_ok_and(|receipt| receipt.receivers == world.receivers(1))));
        assert_eq!(messages(&mut line, 1_000).await, steps);
    }

    async fn a_large_batch_is_cut_not_refused(world: World) {
        let bus = world.bus().await;
        let news: Vec<News> = (0..25_000).map(|n| News { n }).collect();
        let results = bus.publish_all(&news).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 25_000);
        assert!(bus.publish_all::<News>([]).await.is_empty());
    }

    async fn a_batch_of_several_types_has_one_result_for_each_and_one_bad_element_stops_nothing(world: World) {
        let bus = world.bus_with(|builder| builder.payload_limit(200)).await;
        let mut line = bus.subscribe(Step::any()).await.unwrap();
        let mut news = bus.subscribe(News::any()).await.unwrap();
        let batch = bus
            .batch()
            .push(&Step { line: 1, n: 1 })
            .push(&Mood { bad: true })
            .push(&News { n: 2 })
            .push_to(Step::channel(9), &Step { line: 9, n: 3 })
            .push(&Mood { bad: false });
        assert_eq!(batch.len(), 5);
        let results = batch.await;
        assert!(matches!(&results[1], Err(PublishError::Encode { .. })), "{results:?}");
        for (index, receivers) in [(0, 1), (2, 1), (3, 1), (4, 0)] {
            assert_eq!(results[index].as_ref().unwrap().receivers, world.receivers(receivers), "{index}");
        }
        assert_eq!(messages(&mut line, 2).await, [Step { line: 1, n: 1 }, Step { line: 9, n: 3 }]);
        assert_eq!(messages(&mut news, 1).await, [News { n: 2 }]);
    }

    async fn an_atomic_batch_is_published_whole(world: World) {
        let bus = world.bus().await;
        let mut line = bus.subscribe(Step::channel(1)).await.unwrap();
        for count in [1, 3, 3, 32, 33, 100, 100, 3] {
            let steps: Vec<Step> = (0..count).map(|n| Step { line: 1, n }).collect();
            let receipts = steps.iter().fold(bus.batch(), |batch, step| batch.push(step)).atomic().await.unwrap();
            assert_eq!(receipts.len() as u64, count);
            assert!(receipts.iter().all(|receipt| receipt.receivers == world.receivers(1)));
            assert_eq!(messages(&mut line, count as usize).await, steps);
        }
        assert!(bus.batch().atomic().await.unwrap().is_empty());
    }

    async fn an_atomic_batch_with_one_bad_element_is_not_published_at_all(world: World) {
        let bus = world.bus().await;
        let mut line = bus.subscribe(Step::channel(1)).await.unwrap();
        let batch = bus.batch().push(&Step { line: 1, n: 1 }).push(&Mood { bad: true });
        assert!(matches!(batch.atomic().await, Err(PublishError::Encode { .. })));
        Step { line: 1, n: 2 }.publish(&bus).await.unwrap();
        assert_eq!(messages(&mut line, 1).await, [Step { line: 1, n: 2 }]);
    }

    async fn an_atomic_batch_that_is_left_alone_holds_up_no_other(world: World) {
        let bus = world.bus().await;
        let mut left_alone = pin!(bus.batch().push(&News { n: 1 }).atomic().into_future());
        let polled = poll!(&mut left_alone);
        bus.batch().push(&News { n: 2 }).atomic().await.unwrap();
        if polled.is_pending() {
            left_alone.await.unwrap();
        }
    }

    #[one_server("it is stopped")]
    async fn an_atomic_batch_survives_an_outage_of_the_server(world: World) {
        let bus = world.bus_with(|builder| builder.command_timeout(std::time::Duration::from_secs(2))).await;
        bus.batch().push(&News { n: 1 }).atomic().await.unwrap();
        world.stop();
        let down = bus.batch().push(&News { n: 2 }).atomic().await;
        assert!(down.is_err(), "{down:?}");
        world.start().await;
        tidings_tests::eventually(crate::support::SOON, async || {
            bus.batch().push(&News { n: 3 }).atomic().await.is_ok()
        })
        .await;
    }

    #[one_server("it is stopped")]
    async fn a_batch_without_a_server_fails_each_element_in_time(world: World) {
        let bus = world.bus_with(|builder| builder.command_timeout(std::time::Duration::from_millis(300))).await;
        world.stop();
        let results = bus.publish_all(&[News { n: 1 }, News { n: 2 }]).await;
        let in_time = |error: &PublishError| {
            error.is_retryable() || matches!(error, PublishError::ConnectionLost { .. } | PublishError::TimedOut { .. })
        };
        assert!(results.iter().all(|result| result.as_ref().is_err_and(in_time)), "{results:?}");
    }
}

/// What only a server's access rules can show: one refused element refuses all.
#[tokio::test]
async fn an_atomic_batch_with_one_refused_element_is_not_published_at_all() {
    let server = tidings_tests::RedisServer::start().await;
    let _: () = server.command(&["ACL", "SETUSER", "clerk", "on", ">x", "+@all", "&news", "&moods"]).await;
    let url = server.url().replace("redis://", "redis://clerk:x@");
    let clerk = tidings::Bus::connect(&url).await.unwrap();
    let mut news = clerk.subscribe(News::any()).await.unwrap();
    for count in [1, 100] {
        let allowed: Vec<News> = (0..count).map(|_| News { n: 1 }).collect();
        let refused = clerk.batch().push_all(&allowed).push(&Step { line: 1, n: 1 }).push_all(&allowed).atomic().await;
        assert!(matches!(&refused, Err(PublishError::Refused { channel, .. }) if channel == "line:1"), "{refused:?}");
    }
    assert_eq!(clerk.batch().push(&News { n: 2 }).atomic().await.unwrap().len(), 1);
    assert_eq!(messages(&mut news, 1).await, [News { n: 2 }]);
}
