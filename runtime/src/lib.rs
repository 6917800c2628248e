//! Typed messaging on Redis: the channel is part of the message's type, and the compiler proves the routes.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use tidings::{Bus, Message, router};
//!
//! #[derive(Message, Serialize, Deserialize)]
//! #[channel("orders:<id>")]
//! struct OrderPlaced {
//!     id: u64,
//!     customer: String,
//! }
//!
//! struct Shop;
//!
//! #[router]
//! impl Shop {
//!     #[handler]
//!     async fn placed(&self, order: OrderPlaced) {
//!         println!("{} placed order {}", order.customer, order.id);
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bus = Bus::connect("memory:").await?; // or "redis://127.0.0.1:6379"
//! let service = bus.serve(Shop).await?; // every subscription is confirmed
//! OrderPlaced { id: 42, customer: "Ada".into() }.publish(&bus).await?; // on `orders:42`
//! service.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! | to | see |
//! |--|--|
//! | write messages and handlers | the macros [`Message`](macro@Message), [`handler`](macro@handler), [`router`](macro@router), [`routes`] |
//! | publish, subscribe, serve | [`Bus`], [`Publishing`], [`Subscribing`], [`Serving`] |
//! | ask and be answered | [`Requesting`], [`Acknowledging`] |
//! | send many at once | [`Batch`] |
//! | choose a wire format | [`codec`] |
//! | see what goes on | [`Bus::events`], [`Bus::stats`], [`Bus::health`], [`observe`] |
//! | test a service without a server | [`testing`] |
//!
//! Delivery is at most once, in order for each publisher and channel; what may have been missed is always reported. Features: `tls`, `uuid`,
//! `messagepack`, `cbor`, `tower`, `opentelemetry`, `metrics`; none is on by default.

extern crate self as tidings;

pub mod channel;
pub mod codec;
pub mod observe;
pub mod testing;

mod acknowledge;
mod batch;
mod bus;
mod config;
mod delivery;
mod dispatch;
mod error;
mod future;
mod handler;
#[cfg(feature = "tower")]
pub mod layer;
#[cfg(not(feature = "tower"))]
#[path = "layer_missing.rs"]
mod layer;
mod message;
mod outcome;
mod proof;
mod publish;
mod replies;
mod request;
mod route;
mod service;
mod serving;
mod subscribing;
mod subscription;
mod time;
mod transport;

pub use self::{
    acknowledge::{Acknowledged, Acknowledging},
    batch::{AtomicBatch, Batch},
    bus::{Bus, BusBuilder},
    channel::ChannelParam,
    codec::{Codec, Format, Json, headers::Headers},
    config::{Overflow, Reconnect},
    delivery::Delivery,
    error::{
        AcknowledgeError, AddressError, ConnectError, PublishError, Rejection, RequestError, ShutdownError,
        SubscribeError,
    },
    future::BusFuture,
    handler::{Context, Extract, ExtractError, FromState, Handler, HandlerOptions, Router, State},
    message::{BorrowedMessage, Message, OwnedMessage, address::Address},
    outcome::{IntoOutcome, Publish},
    publish::{PublishFuture, Publishing, Receipt},
    request::{Collecting, NoError, Request, Requesting},
    route::Route,
    service::{HandlerStats, Service, ServiceStats},
    serving::Serving,
    subscribing::Subscribing,
    subscription::{EndReason, Event, Invalid, Received, Subscription, SubscriptionStats},
    transport::{
        events::{BusEvent, BusEvents},
        health::{BusStats, Health, HealthError, HealthWarning},
        status::{Gap, GapCause, NameSnapshot, Status, SubscriptionSnapshot, SubscriptionState},
    },
};
#[doc(inline)]
pub use tidings_macros::{ChannelParam, Message, handler, router, routes};

/// What the macros name. Not part of the public interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::{
        bus::Bus,
        channel::{
            ChannelParam, ChannelReader, ChannelWriter, IntoParam, InvalidParam, Params, Segment, Selector, Shape,
            Template,
            parameter::{Parameter, parameter, rest_parameter},
        },
        codec::{ByBus, Json, Plain},
        delivery::Delivery,
        error::AddressError,
        handler::{
            AnyState, Arrives, ArrivesBorrowed, Call, Context, Extract, Handler, HandlerOptions, Incoming,
            IncomingBorrowed, Router, StubRouter, not_extracted, stub_route,
        },
        layer::handler_layer,
        message::{
            AddressedByFields, BorrowedMessage, CompleteChannel, Message, OwnedMessage, Serde, SerdeBorrowed, Stub,
            address::{Address, AddressOf},
        },
        outcome::{Broadcast, IntoOutcome, Outcome, Replies, RepliesOr, Returned},
        proof::prove,
        publish::Publishing,
        request::{CompleteRequest, NoError, Request, Requesting},
        route::{Route, RouteTable, TableStorage, literal_slots, nodes},
    };
    pub use serde;
}
