//! Messages that a handler returns reach their channels, in order, or the delivery fails and none of them does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidings::{Message, Publish, router};
use tidings_tests::{Recorder, eventually, on_each};

use crate::support::{News, SOON, Step, handler, message, messages};

/// Asks for what its name says.
#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("ask:<what>")]
struct Ask {
    what: String,
}

#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("rooms:<room: String>")]
struct Said {
    text: String,
}

/// JSON has no keys that are lists, so a table that is not empty cannot be encoded.
#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("tables")]
struct Table {
    cells: BTreeMap<Vec<u8>, u8>,
}

struct Answers {
    asked: Recorder<String>,
}

fn table(cells: usize) -> Table {
    Table { cells: (0..cells).map(|cell| (vec![cell as u8], 0)).collect() }
}

impl Answers {
    fn steps(what: &str) -> Publish<Step> {
        match what {
            "one" => Publish::new(Step { line: 1, n: 0 }),
            "many" => Publish::all((0..50).map(|n| Step { line: 1, n })),
            "chain" => {
                Publish::new(Step { line: 1, n: 0 }).and(Publish::all([Step { line: 2, n: 1 }, Step { line: 1, n: 2 }]))
            }
            _ => Publish::all([]),
        }
    }
}

#[router]
impl Answers {
    #[handler]
    async fn ask(&self, ask: Ask) -> Result<Option<Publish<Step>>, String> {
        self.asked.record(ask.what.clone());
        match ask.what.as_str() {
            "nothing" => Ok(None),
            "error" => Err("no".to_owned()),
            what => Ok(Some(Self::steps(what))),
        }
    }

    /// Two types at once, the second of which cannot be encoded when the number is odd.
    #[handler]
    async fn news(&self, news: News) -> (Publish<Step>, Publish<Table>, Publish<Said>) {
        let said = Said { text: format!("news {}", news.n) };
        (
            Publish::new(Step { line: 3, n: news.n }),
            Publish::new(table((news.n % 2) as usize)),
            Publish::to(&Said::channel("gen eral"), said),
        )
    }
}

async fn ask(bus: &tidings::Bus, what: &str) {
    Ask { what: what.into() }.publish(bus).await.unwrap();
}

on_each! {
    async fn returned_messages_reach_their_channels_in_order(world: World) {
        let bus = world.bus().await;
        let service = bus.serve(Answers { asked: Recorder::new() }).await.unwrap();
        let mut steps = bus.subscribe(Step::any()).await.unwrap();
        ask(&bus, "one").await;
        assert_eq!(message(&mut steps).await, Step { line: 1, n: 0 });
        ask(&bus, "many").await;
        assert_eq!(messages(&mut steps, 50).await, (0..50).map(|n| Step { line: 1, n }).collect::<Vec<_>>());
        ask(&bus, "chain").await;
        let chain = [Step { line: 1, n: 0 }, Step { line: 2, n: 1 }, Step { line: 1, n: 2 }];
        assert_eq!(messages(&mut steps, 3).await, chain);
        eventually(SOON, async || handler(&service, "ask").handled == 3).await;
    }

    async fn nothing_is_published_where_nothing_is_returned(world: World) {
        let bus = world.bus().await;
        let asked = Recorder::new();
        let service = bus.serve(Answers { asked: asked.clone() }).await.unwrap();
        let mut steps = bus.subscribe(Step::any()).await.unwrap();
        for what in ["nothing", "error", "empty"] {
            ask(&bus, what).await;
        }
        asked.wait_for(3).await;
        eventually(SOON, async || handler(&service, "ask").handled == 2).await;
        assert_eq!(handler(&service, "ask").failed, 1);
        ask(&bus, "one").await;
        assert_eq!(message(&mut steps).await, Step { line: 1, n: 0 });
    }

    async fn a_tuple_publishes_messages_of_several_types(world: World) {
        let bus = world.bus().await;
        let _service = bus.serve(Answers { asked: Recorder::new() }).await.unwrap();
        let mut steps = bus.subscribe(Step::channel(3_u64)).await.unwrap();
        let mut tables = bus.subscribe(Table::channel()).await.unwrap();
        let mut said = bus.subscribe(Said::channel("gen eral")).await.unwrap();
        News { n: 2 }.publish(&bus).await.unwrap();
        assert_eq!(message(&mut steps).await.n, 2);
        assert!(message(&mut tables).await.cells.is_empty());
        assert_eq!(message(&mut said).await.text, "news 2");
    }

    async fn if_one_message_cannot_be_encoded_none_is_published(world: World) {
        let bus = world.bus().await;
        let service = bus.serve(Answers { asked: Recorder::new() }).await.unwrap();
        let mut steps = bus.subscribe(Step::any()).await.unwrap();
        let mut said = bus.subscribe(Said::any()).await.unwrap();
        News { n: 1 }.publish(&bus).await.unwrap();
        News { n: 2 }.publish(&bus).await.unwrap();
        assert_eq!(message(&mut steps).await.n, 2);
        assert_eq!(message(&mut said).await.text, "news 2");
        eventually(SOON, async || handler(&service, "news").handled == 1).await;
        assert_eq!(handler(&service, "news").failed, 1);
    }

    async fn a_message_that_is_too_large_to_publish_fails_the_delivery(world: World) {
        let bus = world.bus_with(|builder| builder.name_limit(20)).await;
        let service = bus.serve(LongNames).await.unwrap();
        Step { line: 1, n: 30 }.publish(&bus).await.unwrap();
        Step { line: 1, n: 3 }.publish(&bus).await.unwrap();
        eventually(SOON, async || handler(&service, "step").handled == 1).await;
        assert_eq!(handler(&service, "step").failed, 1);
    }
}

struct LongNames;

#[router]
impl LongNames {
    #[handler]
    async fn step(&self, step: Step) -> Publish<Said> {
        Publish::to(&Said::channel("x".repeat(step.n as usize)), Said { text: String::new() })
    }
}
