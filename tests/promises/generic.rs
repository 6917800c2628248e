//! Code that is generic over its message has the verbs too, and a message's own functions need no trait and are never ambiguous.

use std::{collections::HashMap, future::IntoFuture, time::Duration};

use serde::{Deserialize, Serialize};
use tidings::{
    Address, AddressError, AddressedByFields, Bus, Event, Message, PublishError, Publishable, Receipt, Request,
    RequestError, Requestable, Subscribable, SubscribeError, Subscription, handler, routes,
};
use tidings_tests::on_each;
use tokio::task::JoinSet;

use crate::support::{News, SOON, Step, message, received};

#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("rooms:<room: String>")]
struct Line {
    text: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("doubled")]
#[reply(u64, error = String)]
struct Double {
    n: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("asked:<who: String>")]
#[reply(String)]
struct Ask {}

#[derive(Message, Serialize, Deserialize)]
#[channel("views:<id>")]
struct View<'a> {
    id: u64,
    text: &'a str,
}

#[handler]
async fn double(double: Double) -> Result<u64, String> {
    if double.n == 0 { Err("nothing".to_owned()) } else { Ok(double.n * 2) }
}

#[handler]
async fn ask(_ask: Ask, address: Address<Ask>) -> String {
    format!("{} answers", address.who)
}

/// By value, as a program's helper would take it.
async fn relay<M: Publishable + AddressedByFields>(bus: &Bus, message: M) -> Result<Receipt, PublishError> {
    message.publish(bus).header("relayed", M::NAME).await
}

async fn relay_to<M: Publishable>(bus: &Bus, address: &Address<M>, message: M) -> Result<Receipt, PublishError> {
    message.publish_to(address, bus).await
}

async fn subscribe<M: Subscribable>(bus: &Bus) -> Result<Subscription<M>, SubscribeError> {
    bus.subscribe(M::any()).await
}

async fn subscribe_to<M: Subscribable>(bus: &Bus, channel: &str) -> Result<Subscription<M>, String> {
    let address = Address::<M>::parse(channel).map_err(|error| error.to_string())?;
    bus.subscribe(address).await.map_err(|error| error.to_string())
}

async fn all<M: Publishable + AddressedByFields>(bus: &Bus, messages: &[M]) -> usize {
    bus.publish_all(messages).await.into_iter().filter(Result::is_ok).count()
}

fn shards<M: AddressedByFields>(messages: Vec<M>) -> HashMap<String, Vec<M>> {
    let mut shards = HashMap::<_, Vec<M>>::new();
    for message in messages {
        shards.entry(message.address().to_string()).or_default().push(message);
    }
    shards
}

async fn request<R: Requestable + AddressedByFields>(
    bus: &Bus,
    request: R,
) -> Result<R::Reply, RequestError<R::Error>> {
    request.request(bus).timeout(SOON).await
}

async fn request_to<R: Requestable>(
    bus: &Bus,
    address: Address<R>,
    request: R,
) -> Result<R::Reply, RequestError<R::Error>> {
    request.request_to(address, bus).timeout(SOON).await
}

/// A struct that holds its bus, with a bound of `Request` alone: the trait is in scope.
struct Client<R> {
    bus: Bus,
    timeout: Duration,
    last: Option<R>,
}

impl<R: Request + AddressedByFields> Client<R> {
    async fn ask(&mut self, question: R) -> Option<R::Reply> {
        let reply = question.request(&self.bus).timeout(self.timeout).await.ok();
        self.last = Some(question);
        reply
    }
}

fn parse<M: Message>(channel: &str) -> Result<Address<M>, AddressError> {
    Address::parse(channel)
}

on_each! {
    async fn a_broadcast_is_published_and_subscribed_to(world: World) {
        let bus = world.bus().await;
        let mut news = subscribe::<News>(&bus).await.unwrap();
        let mut lines = subscribe_to::<Line>(&bus, "rooms:a%3Ab").await.unwrap();
        assert!(subscribe_to::<Line>(&bus, "room:a").await.is_err());
        assert_eq!(relay(&bus, News { n: 1 }).await.unwrap().receivers, world.receivers(1));
        let first = received(&mut news).await;
        assert_eq!((first.n, first.delivery.headers().get("relayed")), (1, Some("News")));
        relay_to(&bus, &parse("rooms:a%3Ab").unwrap(), Line { text: "hello".to_owned() }).await.unwrap();
        assert_eq!(message(&mut lines).await.text, "hello");
        assert_eq!(all(&bus, &[News { n: 2 }, News { n: 3 }]).await, 2);
        assert_eq!((message(&mut news).await.n, message(&mut news).await.n), (2, 3));
        // They are spawned like others.
        let mut spawned = JoinSet::new();
        spawned.spawn({
            let bus = bus.clone();
            async move { relay(&bus, News { n: 4 }).await }
        });
        spawned.join_next().await.unwrap().unwrap().unwrap();
        assert_eq!(message(&mut news).await.n, 4);
    }

    async fn a_request_is_answered(world: World) {
        let bus = world.bus().await;
        let service = bus.serve(routes![double, ask]).await.unwrap();
        assert_eq!(request(&bus, Double { n: 4 }).await.unwrap(), 8);
        assert!(matches!(request(&bus, Double { n: 0 }).await, Err(RequestError::Answered(reason)) if reason == "nothing"));
        assert_eq!(request_to(&bus, Ask::channel("Ada"), Ask {}).await.unwrap(), "Ada answers");
        let mut client = Client { bus: bus.clone(), timeout: SOON, last: None };
        assert_eq!(client.ask(Double { n: 5 }).await, Some(10));
        assert_eq!(client.last.map(|last| last.n), Some(5));
        service.shutdown().await.unwrap();
    }

    async fn a_messages_own_functions_come_first_with_the_traits_in_scope(world: World) {
        let bus = world.bus().await;
        let step = Step { line: 1, n: 2 };
        let mut steps = bus.subscribe(Step::any().line(1)).await.unwrap();
        step.publish(&bus).await.unwrap();
        step.publish_to(step.address(), &bus).await.unwrap();
        Publishable::publish(&step, &bus).await.unwrap();
        for _ in 0..3 {
            assert_eq!(message(&mut steps).await, step);
        }
        let text = "borrowed".to_owned();
        let view = View { id: 1, text: &text };
        assert_eq!(view.publish(&bus).await.unwrap().receivers, world.receivers(0));
        assert_eq!(relay(&bus, view).await.unwrap().receivers, world.receivers(0));
        let bus = world.bus().await;
        assert!(matches!(Double { n: 1 }.request(&bus).await, Err(RequestError::NobodyListens { .. })));
        let future = Ask {}.request_to(Ask::channel("x"), &bus).into_future().await;
        assert!(future.is_err());
        drop(steps.next());
        assert!(matches!(tokio::time::timeout(Duration::from_millis(1), steps.next()).await, Err(_) | Ok(Some(Event::Message(_)))));
    }
}

#[test]
fn an_address_is_asked_for_without_the_type() {
    let steps = (0..6).map(|n| Step { line: n % 2, n }).collect();
    let shards = shards(steps);
    assert_eq!(shards.len(), 2);
    assert_eq!(shards["line:1"].iter().map(|step| step.n).collect::<Vec<_>>(), [1, 3, 5]);
    assert_eq!(parse::<Step>("line:7").unwrap(), Step::channel(7));
}
