//! A parameter that is a field arrives as it was sent, however serde writes it and whatever it is made of; what contradicts its address is not sent.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::{
    AcknowledgeError, AddressError, ChannelParam, Format, Message, Publish, PublishError, RequestError, State, handler,
    router, routes,
};
use tidings_tests::{Recorder, eventually, on_each};

use crate::support::{SOON, handler as stats_of, message, patience, refusals};

const FORMATS: [Format; 5] = [Format::Envelope, Format::Plain, Format::CloudEvents, Format::MessagePack, Format::Cbor];

/// Publishes a value in every format, and says that it arrives.
macro_rules! arrives {
    ($world:ident, $($message:ident $fields:tt),+ $(,)?) => {$(
        for format in FORMATS {
            $world.settle().await;
            let bus = $world.bus_with(|builder| builder.format(format)).await;
            let mut subscription = bus.subscribe($message::any()).await.unwrap();
            let sent = $message $fields;
            sent.publish(&bus).await.unwrap();
            assert_eq!(message(&mut subscription).await, sent, "{format:?}");
        }
    )+};
}

#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("renamed:<order_id>:<customer>:<r#type>")]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Renamed {
    order_id: u64,
    #[serde(rename = "name", alias = "client", default)]
    customer: String,
    #[serde(rename(serialize = "kind"), alias = "kind")]
    r#type: bool,
}

#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("converted:<id>:<region>:<path..>")]
struct Converted {
    #[serde(with = "as_text")]
    id: u64,
    #[serde(serialize_with = "as_text::serialize", deserialize_with = "as_text::deserialize")]
    region: i8,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    path: Vec<String>,
    #[serde(skip)]
    cached: u8,
}

/// A number as text.
mod as_text {
    use std::{fmt::Display, str::FromStr};

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(number: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, T: FromStr>(deserializer: D) -> Result<T, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(|_| D::Error::custom("no number"))
    }
}

#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("tagged:<id>")]
#[serde(tag = "kind")]
struct Tagged {
    id: u64,
}

#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("transparent:<id>")]
#[serde(transparent)]
struct Transparent {
    id: u64,
}

/// What serde is told of the fields counts for nothing where another type stands for the message.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("by_way:<id>")]
#[serde(into = "(u64, String)", from = "(u64, String)")]
struct ByWay {
    #[serde(skip)]
    id: u64,
    note: String,
}

impl From<ByWay> for (u64, String) {
    fn from(message: ByWay) -> Self {
        (message.id, message.note)
    }
}

impl From<(u64, String)> for ByWay {
    fn from((id, note): (u64, String)) -> Self {
        Self { id, note }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, ChannelParam, Serialize, Deserialize)]
struct OrderId(u64);

#[derive(Clone, Debug, PartialEq, ChannelParam, Serialize, Deserialize)]
struct Sku(pub String);

#[derive(Clone, Copy, Debug, PartialEq, ChannelParam, Serialize, Deserialize)]
#[serde(transparent)]
struct Number {
    #[serde(rename(serialize = "number"))]
    value: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, ChannelParam, Serialize, Deserialize)]
enum Priority {
    High,
    VeryLow,
}

/// A struct around a struct, and around an enum.
#[derive(Clone, Copy, Debug, PartialEq, ChannelParam, Serialize, Deserialize)]
struct Wrapped(OrderId);

#[derive(Clone, Copy, Debug, PartialEq, ChannelParam, Serialize, Deserialize)]
struct Urgency(Priority);

#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("owned:<id>:<sku>:<number>:<wrapped>:<urgency>:<rest..>")]
struct Owned {
    id: OrderId,
    sku: Sku,
    number: Number,
    wrapped: Wrapped,
    urgency: Urgency,
    rest: Vec<OrderId>,
}

#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: OrderId,
    customer: String,
}

#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("orders:new")]
struct NewOrder;

#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("orders:<urgency: Urgency>")]
struct Urgent {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes:<sku>")]
#[reply(u64)]
struct QuoteRequest {
    sku: Sku,
}

/// The compiler knows the shape of what a struct holds: none of these channels is another's.
struct Shop {
    seen: Recorder<String>,
}

#[router]
impl Shop {
    #[handler]
    async fn placed(&self, order: OrderPlaced) {
        self.seen.record(format!("placed {}", order.id.0));
    }

    #[handler]
    async fn new_order(&self, _order: NewOrder) {
        self.seen.record("new".to_owned());
    }

    #[handler]
    async fn urgent(&self, order: Urgent, address: tidings::Address<Urgent>) {
        self.seen.record(format!("{:?} {}", address.urgency.0, order.id));
    }

    #[handler]
    async fn quote(&self, request: QuoteRequest) -> u64 {
        request.sku.0.len() as u64
    }
}

/// Returns an order for another address than its own.
#[handler]
async fn moved(order: Tagged, State(seen): State<Recorder<u64>>) -> Publish<OrderPlaced> {
    seen.record(order.id);
    Publish::to(&OrderPlaced::channel(OrderId(order.id + 1)), placed(order.id))
}

fn placed(id: u64) -> OrderPlaced {
    OrderPlaced { id: OrderId(id), customer: "hunter2".to_owned() }
}

/// The error names the template and the parameter, and nothing of the message.
#[track_caller]
fn assert_contradicts(error: &PublishError, template: &str, parameter: &str) {
    let PublishError::Address { template: of, source: AddressError::Disagrees { parameter: at, .. }, .. } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!((*of, *at), (template, parameter));
    let words = format!("{error} {error:?}");
    assert!(error.to_string().contains(template) && error.to_string().contains(&format!("`{parameter}`")), "{words}");
    assert!(!words.contains("hunter2"), "{words}");
    assert!(!error.is_retryable());
}

on_each! {
    async fn a_parameter_arrives_however_serde_writes_its_field(world: World) {
        arrives!(
            world,
            Renamed { order_id: 7, customer: "a:b".to_owned(), r#type: true },
            Converted { id: 7, region: -7, path: vec![], cached: 0 },
            Converted { id: 7, region: -7, path: vec!["a".to_owned(), String::new()], cached: 0 },
            Tagged { id: 7 },
            ByWay { id: 7, note: "x".to_owned() },
        );
        // The payload is a number, which some formats take no metadata beside.
        let bus = world.bus().await;
        let mut subscription = bus.subscribe(Transparent::any()).await.unwrap();
        Transparent { id: 7 }.publish(&bus).await.unwrap();
        assert_eq!(message(&mut subscription).await, Transparent { id: 7 });
    }

    async fn a_struct_around_a_parameter_is_written_and_read_as_what_it_holds(world: World) {
        let owned = Owned {
            id: OrderId(u64::MAX),
            sku: Sku("a:b %".to_owned()),
            number: Number { value: -7 },
            wrapped: Wrapped(OrderId(0)),
            urgency: Urgency(Priority::VeryLow),
            rest: vec![OrderId(1), OrderId(2)],
        };
        let channel = "owned:18446744073709551615:a%3Ab%20%25:-7:0:very_low:1:2";
        assert_eq!(owned.address().to_string(), channel);
        for format in FORMATS {
            world.settle().await;
            let bus = world.bus_with(|builder| builder.format(format)).await;
            let mut subscription = bus.subscribe(Owned::any().urgency(Urgency(Priority::VeryLow))).await.unwrap();
            owned.publish(&bus).await.unwrap();
            assert_eq!(message(&mut subscription).await, owned, "{format:?}");
        }
        let address = tidings::Address::<Owned>::parse(channel).unwrap();
        assert_eq!((address.id, address.number.value, &address.rest), (owned.id, -7, &owned.rest));
        for no_address in [
            "owned:07:a:-7:0:high:1",
            "owned:7:a:x:0:high:1",
            "owned:7:a:-7:-1:high:1",
            "owned:7:a:-7:0:low:1",
            "owned:7:a:-7:0:high:1:x",
        ] {
            assert!(tidings::Address::<Owned>::parse(no_address).is_err(), "{no_address}");
        }
    }

    async fn a_struct_around_a_parameter_keeps_its_routes_apart(world: World) {
        let (bus, seen) = (world.bus().await, Recorder::new());
        let service = bus.serve(Shop { seen: seen.clone() }).await.unwrap();
        placed(7).publish(&bus).await.unwrap();
        seen.wait_for(1).await;
        NewOrder.publish(&bus).await.unwrap();
        seen.wait_for(2).await;
        Urgent { id: 8 }.publish_to(Urgent::channel(Urgency(Priority::High)), &bus).await.unwrap();
        assert_eq!(seen.wait_for(3).await, ["placed 7", "new", "High 8"]);
        let request = QuoteRequest { sku: Sku("engine".to_owned()) };
        assert_eq!(request.request_to(QuoteRequest::channel(Sku("engine".to_owned())), &bus).await.unwrap(), 6);
        service.shutdown().await.unwrap();
    }

    async fn a_message_that_contradicts_its_address_is_not_sent(world: World) {
        // The namespace is no part of an address.
        let bus = world.bus_in("shop", |builder| builder).await;
        let service = bus.serve(Shop { seen: Recorder::new() }).await.unwrap();
        let mut orders = bus.subscribe(OrderPlaced::any()).await.unwrap();
        let (order, elsewhere) = (placed(7), OrderPlaced::channel(OrderId(8)));

        let error = order.publish_to(&elsewhere, &bus).await.unwrap_err();
        assert_contradicts(&error, "orders:<id>", "id");
        let acknowledged = order.publish_to(&elsewhere, &bus).acknowledged_within(SOON).await.unwrap_err();
        let AcknowledgeError::Publish(error) = acknowledged else { panic!("{acknowledged:?}") };
        assert_contradicts(&error, "orders:<id>", "id");

        let batch = bus.batch().push_to(&elsewhere, &order).push_to(order.address(), &order);
        let results = batch.await;
        assert_contradicts(results[0].as_ref().unwrap_err(), "orders:<id>", "id");
        assert!(results[1].is_ok(), "{results:?}");
        let batch = bus.batch().push(&order).push_to(&elsewhere, &order);
        assert_contradicts(&batch.atomic().await.unwrap_err(), "orders:<id>", "id");

        let request = QuoteRequest { sku: Sku("hunter2".to_owned()) };
        let asked = request.request_to(QuoteRequest::channel(Sku("loom".to_owned())), &bus).timeout(SOON).await;
        let Err(RequestError::Publish(error)) = asked else { panic!("{asked:?}") };
        assert_contradicts(&error, "quotes:<sku>", "sku");
        let request = request.request_to(QuoteRequest::channel(Sku("loom".to_owned())), &bus).timeout(SOON);
        assert!(matches!(request.collect(2).await, Err(RequestError::Publish(PublishError::Address { .. }))));

        // Of all that, one message was sent.
        placed(9).publish(&bus).await.unwrap();
        assert_eq!(message(&mut orders).await.id, OrderId(7));
        assert_eq!(message(&mut orders).await.id, OrderId(9));
        eventually(SOON, async || stats_of(&service, "placed").handled == 2).await;
        assert_eq!((stats_of(&service, "placed").rejected, stats_of(&service, "quote").rejected), (0, 0));
        service.shutdown().await.unwrap();
    }

    async fn a_handler_that_returns_a_message_for_another_address_has_failed(world: World) {
        let (bus, seen) = (world.bus().await, Recorder::new());
        let service = bus.serve(routes![moved].with_state(seen.clone())).await.unwrap();
        let mut orders = bus.subscribe(OrderPlaced::any()).await.unwrap();
        let moved = Tagged { id: 7 }.publish(&bus).acknowledged_within(patience(&world)).await;
        let refusals = refusals(&world, moved.unwrap_err());
        assert!(refusals[0].contains("`id`") && !refusals[0].contains("hunter2"), "{refusals:?}");
        assert_eq!(stats_of(&service, "moved").failed, 1);
        placed(9).publish(&bus).await.unwrap();
        assert_eq!(message(&mut orders).await.id, OrderId(9));
        service.shutdown_within(Duration::from_secs(20)).await.unwrap();
    }
}
