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
    error::{
        AcknowledgeError, AddressError, ConnectError, PublishError, Rejection, RequestError, ShutdownError,
        SubscribeError,
    },
    future::BusFuture,
    handler::{Context, Extract, ExtractError, FromState, Handler, Router, State},
    message::{Address, BorrowedMessage, Delivery, Message, NoError, OwnedMessage, Request},
    outcome::{IntoOutcome, Publish},
    publish::{PublishFuture, Publishing, Receipt},
    request::{Collecting, Requesting},
    route::{HandlerOptions, Route},
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
            param::{ChannelParam, IntoParam, InvalidParam},
            parameter::{Parameter, Params, parameter, rest_parameter},
            selector::Selector,
            shape::Shape,
            template::{Segment, Template},
            text::{ChannelReader, ChannelWriter},
        },
        codec::{
            by_bus::ByBus,
            json::{Json, Plain},
        },
        error::AddressError,
        handler::{
            AnyState, Arrives, ArrivesBorrowed, Call, Context, Extract, Handler, Incoming, IncomingBorrowed, Router,
            StubRouter, not_extracted, stub_route,
        },
        layer::handler_layer,
        message::{
            address::{Address, AddressOf, Stub},
            contract::{AddressedByFields, BorrowedMessage, Message, OwnedMessage},
            delivery::Delivery,
            kind::{NoError, Request},
            reading::{Serde, SerdeBorrowed},
        },
        outcome::{Broadcast, IntoOutcome, Outcome, Replies, RepliesOr, Returned},
        publish::{CompleteChannel, Publishing},
        request::{CompleteRequest, Requesting},
        route::{
            entry::{HandlerOptions, Route},
            proof::prove,
            table::{RouteTable, TableStorage, literal_slots, nodes},
        },
    };
    pub use serde;
}
