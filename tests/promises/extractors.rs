//! What a handler may take after its message, in a router and in a free function.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tidings::{
    Address, Bus, Context, Delivery, Extract, ExtractError, FromState, Headers, Message, State, handler, router, routes,
};
use tidings_tests::{Recorder, eventually, on_each};

use crate::support::{News, SOON, handler as stats_of, message};

#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("chat:<room: String>:<seat: u8>")]
struct Said {
    text: String,
}

#[derive(Clone, Debug, PartialEq)]
struct Call {
    text: String,
    room: String,
    seat: u8,
    channel: String,
    trace: Option<String>,
    id: Option<String>,
    has_time: bool,
    attempt: u32,
}

struct Chat {
    calls: Recorder<Call>,
}

#[router]
impl Chat {
    #[handler]
    async fn said(&self, said: Said, delivery: &Delivery, address: Address<Said>, headers: &Headers, bus: &Bus) {
        let fresh = |time: SystemTime| time.elapsed().is_ok_and(|age| age < SOON);
        News { n: u64::from(address.seat) }.publish(bus).await.unwrap();
        self.calls.record(Call {
            text: said.text,
            room: address.room.clone(),
            seat: address.seat,
            channel: delivery.channel().to_owned(),
            trace: headers.get("trace").map(str::to_owned),
            id: delivery.id().map(str::to_owned),
            has_time: delivery.timestamp().is_some_and(fresh),
            attempt: delivery.attempt(),
        });
    }
}

#[derive(Clone)]
struct Everything {
    seen: Recorder<String>,
    greeting: Greeting,
}

#[derive(Clone)]
struct Greeting(&'static str);

impl FromState<Everything> for Greeting {
    fn from_state(state: &Everything) -> Self {
        state.greeting.clone()
    }
}

#[handler]
async fn greet(said: Said, State(greeting): State<Greeting>, State(everything): State<Everything>, bus: Bus) {
    everything.seen.record(format!("{} {}", greeting.0, said.text));
    News { n: 5 }.publish(&bus).await.unwrap();
}

#[handler]
async fn news(news: News, State(everything): State<Everything>, delivery: &Delivery) {
    everything.seen.record(format!("{} on {}", news.n, delivery.channel()));
}

/// An extractor of the user's own, which fails where its header is missing.
struct Sender(String);

impl<'a, M, S> Extract<'a, M, S> for Sender {
    fn extract(context: &Context<'a, S>) -> Result<Self, ExtractError> {
        let sender = context.delivery().headers().get("sender");
        sender.map(|name| Self(name.to_owned())).ok_or_else(|| ExtractError::new("the header `sender` is missing"))
    }
}

struct Post {
    seen: Recorder<String>,
}

#[router]
impl Post {
    #[handler]
    async fn news(&self, news: News, Sender(sender): Sender) {
        self.seen.record(format!("{} from {sender}", news.n));
    }
}

on_each! {
    async fn an_extractor_of_ones_own_gives_its_value_or_fails_the_delivery(world: World) {
        let bus = world.bus().await;
        let seen = Recorder::new();
        let service = bus.serve(Post { seen: seen.clone() }).await.unwrap();
        News { n: 1 }.publish(&bus).await.unwrap();
        News { n: 2 }.publish(&bus).header("sender", "Ada").await.unwrap();
        assert_eq!(seen.wait_for(1).await, ["2 from Ada"]);
        eventually(SOON, async || service.stats().handlers[0].failed == 1).await;
    }

    async fn a_method_takes_delivery_address_headers_and_bus(world: World) {
        let bus = world.bus_in("test", |builder| builder).await;
        let calls = Recorder::new();
        let _service = bus.serve(Chat { calls: calls.clone() }).await.unwrap();
        let mut news = bus.subscribe(News::channel()).await.unwrap();
        let address = Said::channel("a:b *", 3_u8);
        Said { text: "hello".into() }.publish_to(&address, &bus).header("trace", "t-1").await.unwrap();
        let call = calls.wait_for(1).await.remove(0);
        let expected = Call {
            text: "hello".into(),
            room: "a:b *".into(),
            seat: 3,
            channel: "chat:a%3Ab%20%2A:3".into(),
            trace: Some("t-1".into()),
            id: call.id.clone(),
            has_time: true,
            attempt: 1,
        };
        assert_eq!(call, expected);
        assert!(call.id.is_some_and(|id| !id.is_empty()));
        assert_eq!(message(&mut news).await.n, 3);
        // A plain message has no metadata; the address it has all the same.
        world.publish_raw("test:chat:x:4", r#"{"text":"plain"}"#).await;
        let call = calls.wait_for(2).await.remove(1);
        assert_eq!((call.id, call.has_time, call.trace), (None, false, None));
        assert_eq!((call.room.as_str(), call.seat, call.attempt), ("x", 4, 1));
    }

    async fn free_functions_share_a_state_and_take_parts_of_it(world: World) {
        let bus = world.bus().await;
        let seen = Recorder::new();
        let state = Everything { seen: seen.clone(), greeting: Greeting("hi") };
        let service = bus.serve(routes![greet, news].with_state(state)).await.unwrap();
        Said { text: "Ada".into() }.publish_to(Said::channel("x", 1_u8), &bus).await.unwrap();
        assert_eq!(seen.wait_for(2).await, ["hi Ada", "5 on news"]);
        eventually(SOON, async || stats_of(&service, "news").handled == 1).await;
    }
}

#[tokio::test]
async fn a_handler_is_still_a_function() {
    let seen = Recorder::new();
    let state = Everything { seen: seen.clone(), greeting: Greeting("hi") };
    let bus = Bus::connect("memory:").await.unwrap();
    greet(Said { text: "Ada".into() }, State(Greeting("hello")), State(state), bus).await;
    assert_eq!(seen.all(), ["hello Ada"]);
}
