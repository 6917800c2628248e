//! A batch is one round trip: in order, with a result for each message.

use serde::{Deserialize, Serialize, Serializer, ser::Error as _};
use tidings::{Message, PublishError};
use tidings_tests::on_both;

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

on_both! {
    async fn a_thousand_messages_arrive_in_order_each_with_a_receipt(world: World) {
        let bus = world.bus().await;
        let mut line = bus.subscribe(Step::channel(1)).await.unwrap();
        let steps: Vec<Step> = (0..1_000).map(|n| Step { line: 1, n }).collect();
        let results = bus.publish_all(&steps).await;
        assert_eq!(results.len(), 1_000);
        assert!(results.iter().all(|result| result.as_ref().is_ok_and(|receipt| receipt.receivers == Some(1))));
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
            assert_eq!(results[index].as_ref().unwrap().receivers, Some(receivers), "{index}");
        }
        assert_eq!(messages(&mut line, 2).await, [Step { line: 1, n: 1 }, Step { line: 9, n: 3 }]);
        assert_eq!(messages(&mut news, 1).await, [News { n: 2 }]);
    }

    async fn a_batch_without_a_server_fails_each_element_in_time(world: World) {
        let bus = world.bus_with(|builder| builder.command_timeout(std::time::Duration::from_millis(300))).await;
        world.stop();
        let results = bus.publish_all(&[News { n: 1 }, News { n: 2 }]).await;
        assert!(results.iter().all(|result| result.as_ref().is_err_and(PublishError::is_retryable)), "{results:?}");
    }
}
