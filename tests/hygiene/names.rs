//! The macros work where every name that they could lean on means something else.

#![no_implicit_prelude]
#![allow(dead_code, missing_docs, missing_debug_implementations, unreachable_pub, non_camel_case_types)]

mod std {}
mod core {}
mod alloc {}
mod tidings {}
mod serde {}

use ::core::prelude::v1::{derive, test};
use ::serde::{Deserialize, Serialize};
use ::tidings::{Address, Bus, ChannelParam, Delivery, Message, Publish, State, handler, router, routers, routes};

struct Option;
struct Result;
struct Vec;
struct Some;
struct None;
struct Ok;
struct Err;
struct Send;
struct Sync;
struct Future;
struct Outcome;
struct Handler;
struct Call;
struct Router;
struct Shape;
struct S;
struct M;

type Text = ::std::string::String;
type List<T> = ::std::vec::Vec<T>;

#[derive(ChannelParam, ::core::clone::Clone, Serialize, Deserialize)]
pub enum r#enum {
    r#Async,
    Option,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<type>:<channel>:<self_>:<text>:<rest..>")]
pub struct r#struct {
    r#type: u64,
    channel: r#enum,
    self_: bool,
    text: Text,
    rest: List<u8>,
    bus: u8,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("views:<type>")]
pub struct r#fn<'a> {
    r#type: u64,
    #[serde(borrow)]
    payload: &'a ::core::primitive::str,
    #[serde(borrow)]
    delivery: &'a ::core::primitive::str,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("rooms:<room: Room>:<bus: u8>:<address: u8>:<value: u8>")]
enum Event {
    None,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:<type>", bound, results = "1h", results_bytes = 7, completed = Async, failed = Async)]
#[reply(Text, error = r#try)]
pub struct r#dyn {
    r#type: u64,
    error: u8,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("ended:<error>")]
pub struct r#Async {
    error: u8,
}

impl ::core::convert::From<::tidings::Ended<'_, r#dyn>> for r#Async {
    fn from(ended: ::tidings::Ended<'_, r#dyn>) -> Self {
        Self { error: ended.task().error }
    }
}

#[derive(::core::fmt::Debug, Serialize, Deserialize, ::tidings::Outcome)]
#[outcome(dead_letter)]
pub struct r#try;

impl ::core::fmt::Display for r#try {
    fn fmt(&self, formatter: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
        formatter.write_str("no")
    }
}

#[handler(idempotent, timeout = "1m")]
async fn r#yield(task: r#dyn) -> ::core::result::Result<(Text, ::tidings::Enqueue<r#dyn>), r#try> {
    ::core::result::Result::Ok((Text::new(), ::tidings::Enqueue::new(task)))
}

mod inner {
    use ::core::prelude::v1::derive;
    use ::serde::{Deserialize, Serialize};

    #[derive(::tidings::Message, Serialize, Deserialize)]
    #[channel("inner:<id>")]
    #[tidings(crate = ::tidings)]
    pub(super) struct Inner {
        pub(super) id: i8,
    }

    #[::tidings::handler(crate = ::tidings)]
    pub(super) async fn r#loop(_inner: Inner) {}
}

type Room = Text;

struct Shop;

#[router]
impl Shop {
    #[handler(filter = *r#type > 7)]
    async fn r#match(
        &self,
        r#struct { r#type, .. }: r#struct,
        state: &Delivery,
        delivery: &Bus,
    ) -> ::core::result::Result<(), Text> {
        let _ = (r#type, state, delivery);
        ::core::result::Result::Ok(())
    }

    #[handler(filter = payload.is_empty())]
    async fn r#fn(&self, r#fn { payload, .. }: r#fn<'_>, delivery: Address<r#fn<'_>>) {
        let _ = (payload, delivery.r#type);
    }

    #[handler]
    async fn message(&self, context: inner::Inner, bus: Address<inner::Inner>) -> Publish<inner::Inner> {
        let _ = bus.id;
        Publish::new(context)
    }
}

#[handler]
async fn message(message: r#struct, State(context): State<u64>) {
    let _ = (message.bus, context);
}

#[handler(filter = true)]
async fn context(_: Local) {}

#[derive(Message, Serialize, Deserialize)]
#[channel("local")]
struct Local;

async fn serve(bus: Bus) {
    let _ = bus.serve(Shop).await;
    let _ = bus.serve(routes![message, context, inner::r#loop].with_state(7_u64)).await;
    let _ = bus.serve(routes![crate = ::tidings; context]).await;
    let routers = routes![context];
    let _ = bus.serve(routers![Shop, routers]).await;
}

#[test]
fn parameters_may_be_keywords() {
    let address = r#struct::channel(7_u64, r#enum::r#Async, true, "a b", List::<u8>::new());
    ::std::assert_eq!(::std::string::ToString::to_string(&address), "orders:7:async:true:a%20b:%.");
    ::std::assert_eq!(address.r#type, 7);
    let _ = r#struct::any().r#type(7_u64).self_(false);
    ::std::assert_eq!(<r#struct as Message>::NAME, "struct");
}

#[test]
fn items_inside_of_functions_work() {
    #[derive(Message, Serialize, Deserialize)]
    #[channel("local:<id>")]
    struct Local {
        id: u8,
    }

    #[handler]
    async fn local(_local: Local) {}

    async fn serve(bus: Bus) {
        let _ = bus.serve(routes![local]).await;
    }

    let _ = serve;
    ::std::assert_eq!(::std::string::ToString::to_string(&Local { id: 7 }.address()), "local:7");
}
