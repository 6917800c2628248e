//! A filter decides over the decoded message before its handler runs.

use serde::{Deserialize, Serialize};
use tidings::{Message, State, handler, router, routes};
use tidings_tests::{Recorder, eventually, on_each};

use crate::support::{SOON, handler as stats_of};

#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct Order {
    id: u64,
    total: u64,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("chat:<room: String>")]
#[serde(tag = "type", rename_all = "snake_case")]
enum Chat {
    Join { user: String },
    Text { user: String, text: String },
}

struct Large {
    seen: Recorder<u64>,
}

#[router]
impl Large {
    #[handler(filter = order.total > 100 && order.id % 2 == 0)]
    async fn large(&self, order: Order) {
        self.seen.record(order.id);
    }
}

#[handler(filter = matches!(chat, Chat::Text { .. }))]
async fn texts(chat: Chat, State(seen): State<Recorder<String>>) {
    if let Chat::Text { user, text } = chat {
        seen.record(format!("{user}: {text}"));
    }
}

on_each! {
    async fn only_messages_that_pass_the_filter_are_handled(world: World) {
        let bus = world.bus().await;
        let seen = Recorder::new();
        let service = bus.serve(Large { seen: seen.clone() }).await.unwrap();
        for id in 0..10 {
            Order { id, total: 50 * id }.publish(&bus).await.unwrap();
        }
        assert_eq!(seen.wait_for(3).await, [4, 6, 8]);
        eventually(SOON, async || stats_of(&service, "large").filtered == 7).await;
        assert_eq!(stats_of(&service, "large").handled, 3);
        // A message that is filtered out was decoded before: one that cannot be is rejected.
        world.publish_raw("orders:12", r#"{"id":12}"#).await;
        eventually(SOON, async || stats_of(&service, "large").rejected == 1).await;
        assert_eq!(stats_of(&service, "large").filtered, 7);
    }

    async fn a_free_function_has_filters_too(world: World) {
        let bus = world.bus().await;
        let seen = Recorder::new();
        let service = bus.serve(routes![texts].with_state(seen.clone())).await.unwrap();
        let room = Chat::channel("general");
        Chat::Join { user: "Ada".into() }.publish_to(&room, &bus).await.unwrap();
        Chat::Text { user: "Ada".into(), text: "hello".into() }.publish_to(&room, &bus).await.unwrap();
        assert_eq!(seen.wait_for(1).await, ["Ada: hello"]);
        assert_eq!(stats_of(&service, "texts").filtered, 1);
    }
}
