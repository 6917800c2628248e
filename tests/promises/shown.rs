//! `{:?}` of everything public is one short line: no payload, no header's value, no credentials, nothing of the inside.

use std::{fmt::Debug, future::IntoFuture, time::Duration};

use serde::{Deserialize, Serialize};
use tidings::{
    AcknowledgeError, Address, AddressError, Bounds, Bus, BusEvent, ConnectError, Context, Delivery, EndReason, Event,
    ExtractError, Format, FromState, Headers, Kind, Message, Order, Overflow, Publish, PublishError, Reconnect,
    RequestError, Router, ShutdownError, State, Status, SubscribeError,
    codec::{Codec, DecodeError, Exchange, Expected, Json, Outbound, ToolkitBytes},
    handler,
    layer::{Invocation, Outcome},
    router, routes,
    testing::Broker,
};
use tidings_tests::{Recorder, eventually, on_each};
use tower::{Layer, Service};

use crate::support::{SOON, event, handler as stats_of};

/// It stands in payloads, headers, states and addresses, and nowhere else.
const SECRET: &str = "hunter2";

#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("shown:<id>:<region: String>")]
struct Shown {
    id: u64,
    text: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("asked:<id>")]
#[reply(String, error = String)]
struct Asked {
    id: u64,
    text: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("views:<id>")]
struct View<'a> {
    id: u64,
    text: &'a str,
}

#[derive(Clone)]
struct Secrets {
    shown: Recorder<String>,
}

struct Shop {
    secrets: Secrets,
}

impl FromState<Shop> for Secrets {
    fn from_state(shop: &Shop) -> Self {
        shop.secrets.clone()
    }
}

#[router]
impl Shop {
    #[handler(concurrency = 4, timeout = "3s")]
    async fn shown(&self, shown: Shown, delivery: &Delivery) -> Result<Publish<Again>, String> {
        self.secrets.shown.record(format!("{delivery:?}"));
        if shown.id == 13 { Err("unlucky".to_owned()) } else { Ok(Publish::new(Again { text: shown.text })) }
    }

    #[handler]
    async fn asked(&self, asked: Asked) -> Result<String, String> {
        if asked.id == 0 { Err(asked.text) } else { Ok(asked.text) }
    }
}

#[derive(Message, Serialize, Deserialize)]
#[channel("again")]
struct Again {
    text: String,
}

#[handler]
async fn again(_again: Again, State(_secrets): State<Secrets>) {}

/// Shows what passes.
#[derive(Clone)]
struct Showing<S> {
    inner: S,
    shown: Recorder<String>,
}

struct ShowLayer(Recorder<String>);

impl<S> Layer<S> for ShowLayer {
    type Service = Showing<S>;

    fn layer(&self, inner: S) -> Showing<S> {
        Showing { inner, shown: self.0.clone() }
    }
}

impl<S: Service<Invocation, Response = Outcome, Future: Send + 'static>> Service<Invocation> for Showing<S> {
    type Response = Outcome;
    type Error = S::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Outcome, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, invocation: Invocation) -> Self::Future {
        self.shown.record(format!("{invocation:?} of {:?}", invocation.route()));
        let (called, shown) = (self.inner.call(invocation), self.shown.clone());
        Box::pin(async move {
            let outcome = called.await?;
            shown.record(format!("{outcome:?}"));
            Ok(outcome)
        })
    }
}

/// Notes what is wrong with a line.
#[derive(Default)]
struct Lines(Vec<String>);

impl Lines {
    fn see(&mut self, what: &impl Debug) {
        self.text(format!("{what:?}"));
    }

    fn text(&mut self, line: String) {
        let inside =
            ["Arc", "Mutex", "Sender", "Receiver", "0x", "PhantomData", "Notify", "JoinSet", "AtomicU", "RwLock"];
        let wrong = line.is_empty()
            || line.chars().count() > 300
            || line.contains('\n')
            || line.contains(SECRET)
            || inside.iter().any(|word| line.contains(word));
        if wrong {
            self.0.push(line);
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.0.is_empty(), "{:#?}", self.0);
        }
    }
}

fn shown(id: u64) -> Shown {
    Shown { id, text: SECRET.to_owned() }
}

on_each! {
    async fn what_a_bus_makes(world: World) {
        let mut lines = Lines::default();
        let long = "r".repeat(400);
        lines.see(&world.builder().credentials("anna", SECRET).namespace(world.name("shop")));
        let bus = world.bus_in("shop", |builder| builder.name_limit(600)).await;
        lines.see(&bus);
        let seen = Recorder::new();
        let secrets = Secrets { shown: seen.clone() };
        let serving = bus.serve(Shop { secrets: secrets.clone() }).layer(ShowLayer(seen.clone()));
        lines.see(&serving);
        let service = serving.await.unwrap();
        let others = bus.serve(routes![again].with_state(secrets)).await.unwrap();
        let subscribing = bus.subscribe(Shown::any()).idle_timeout(SOON);
        lines.see(&subscribing);
        let mut subscription = subscribing.await.unwrap();
        lines.see(&subscription);

        let address = Shown::channel(7, long.as_str());
        lines.see(&address);
        lines.see(&Shown::any());
        lines.see(&Shown::any().region(long.as_str()));
        lines.see(&View::any().id(7));
        lines.see(&View { id: 7, text: SECRET }.publish(&bus));
        let message = shown(7);
        let publishing = message.publish_to(&address, &bus).header("token", SECRET);
        lines.see(&publishing);
        lines.see(&publishing.acknowledged_within(SOON));
        let asked = Asked { id: 1, text: SECRET.to_owned() };
        lines.see(&asked.request(&bus).header("token", SECRET));
        lines.see(&asked.request(&bus).collect(2));
        let again = Again { text: SECRET.to_owned() };
        let batch = bus.batch().header("token", SECRET).push(&again).push_to(&address, &message);
        lines.see(&batch);
        lines.see(&batch.atomic());
        let future = message.publish_to(&address, &bus).header("token", SECRET).into_future();
        lines.see(&future);
        lines.see(&future.await.unwrap());
        let future = asked.request(&bus).into_future();
        lines.see(&future);
        assert_eq!(future.await.unwrap(), SECRET);
        lines.see(&again.publish(&bus).acknowledged_within(SOON).await.unwrap());

        let event = event(&mut subscription).await;
        lines.see(&event);
        let received = event.into_message().unwrap();
        lines.see(&received);
        lines.see(&received.delivery);
        lines.see(received.delivery.headers());
        lines.see(&received.delivery.address::<Shown>());
        lines.see(&Context::new(&received.delivery, &bus, &SECRET));
        world.publish_raw(&format!("shop:shown:7:{long}"), format!("{{\"id\":7,\"{SECRET}\":1}}")).await;
        lines.see(&crate::support::event(&mut subscription).await);
        shown(13).publish_to(Shown::channel(13, "x"), &bus).await.unwrap();
        eventually(SOON, async || stats_of(&service, "shown").failed == 1).await;
        lines.see(&subscription.stats());
        lines.see(&service);
        lines.see(&others);
        lines.see(&service.stats());
        service.stats().handlers.iter().for_each(|handler| lines.see(handler));
        lines.see(&bus.stats());
        bus.stats().subscriptions.iter().for_each(|subscription| {
            lines.see(subscription);
            subscription.names.iter().for_each(|name| lines.see(name));
        });
        lines.see(&bus.health().await.unwrap());
        lines.see(&bus.events());
        seen.all().into_iter().for_each(|line| lines.text(line));
        bus.close().await.unwrap();
        lines.see(&bus);
        lines.see(&message.publish_to(&address, &bus).await.unwrap_err());
    }
}

#[test]
fn what_is_made_without_a_bus() {
    let mut lines = Lines::default();
    let long = "ü".repeat(500);
    lines.see(&Publish::new(Again { text: SECRET.to_owned() }).header("token", SECRET));
    lines.see(&Publish::all((0..1_000).map(|_| Again { text: SECRET.to_owned() })));
    lines.see(&Publish::to(&Shown::channel(1, long.as_str()), shown(1)));
    let building = Delivery::testing(&long).header("token", SECRET).payload(SECRET);
    lines.see(&building);
    lines.see(&building.id(&long).build());
    lines.see(&Headers::from_iter([("token", SECRET), ("tenant", "acme")]));
    lines.see(&(0..256).map(|n| (format!("{n}{long}"), SECRET)).collect::<Headers>());
    lines.see(&Broker::new());
    lines.see(&ToolkitBytes(SECRET.as_bytes().to_vec()));
    let headers = Headers::from_iter([("token", SECRET)]);
    let outbound = Outbound::new("Shown", "id-1").headers(&headers).exchange(Exchange::new("c-1").reply_to("answers"));
    lines.see(&outbound);
    let mut payload = Vec::new();
    Json::encode(&outbound, &SECRET, &mut payload).unwrap();
    lines.see(&Json::decode::<String>(&Expected::new("Shown", 1), &payload).unwrap().1);
    lines.see(&Expected::new("Shown", 1));
    Shop::ROUTES.iter().for_each(|route| {
        lines.see(route);
        lines.see(route.facts());
        lines.see(route.options());
        lines.see(&route.template());
    });
    lines.see(&(Kind::Broadcast, Order::Channel, Order::Parameter("id"), Format::Envelope, Overflow::DropOldest));
    lines.see(&(Bounds::messages(7), Reconnect::default()));
    lines.see(&(Status::Connected, EndReason::Closed, EndReason::Idle(SOON)));
    lines.see(&(Event::<Shown>::Lagged(7), Event::<Shown>::Ended(EndReason::Closed)));
    lines.see(&(
        BusEvent::Missed(7),
        ExtractError::new("the header `sender` is missing"),
        DecodeError::NewerVersion(7),
    ));
    lines.see(&Address::<Shown>::parse("shown:x:y").unwrap_err());
    lines.see(&AddressError::Mismatch);
    lines.see(&ConnectError::InvalidConfig("a limit of 0".to_owned()));
    lines.see(&ShutdownError::TaskEnded);
}

#[tokio::test]
async fn errors() {
    let mut lines = Lines::default();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    lines.see(&Bus::connect(&format!("redis://anna:{SECRET}@127.0.0.1:{port}")).await.unwrap_err());
    lines.see(&Bus::connect(&format!("redis://h?password={SECRET}")).await.unwrap_err());
    let bus = Bus::builder("memory:").payload_limit(8).connect().await.unwrap();
    let again = Again { text: SECRET.to_owned() };
    let error: PublishError = again.publish(&bus).await.unwrap_err();
    lines.see(&error);
    let error: AcknowledgeError = again.publish(&bus).acknowledged_within(SOON).await.unwrap_err();
    lines.see(&error);
    let bus = Bus::connect("memory:").await.unwrap();
    let error: RequestError<String> =
        Asked { id: 1, text: SECRET.to_owned() }.request(&bus).timeout(Duration::from_secs(1)).await.unwrap_err();
    lines.see(&error);
    bus.close().await.unwrap();
    let error: SubscribeError = bus.subscribe(Again::channel()).await.unwrap_err();
    lines.see(&error);
}
