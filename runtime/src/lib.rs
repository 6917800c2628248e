//! Typed messaging on Redis: the channel is part of the message's type, and the compiler proves the routes.

extern crate self as tidings;

pub mod channel;
pub mod codec;
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
mod health;
mod message;
mod outcome;
mod proof;
mod publish;
mod replies;
mod request;
mod route;
mod service;
mod subscribing;
mod subscription;
mod transport;

pub use self::{
    acknowledge::{Acknowledged, Acknowledging},
    batch::{AtomicBatch, Batch},
    bus::{Bus, BusBuilder},
    channel::{Address, ChannelParam},
    codec::{Codec, Format, Json},
    config::Reconnect,
    delivery::{Delivery, Headers},
    error::{AcknowledgeError, AddressError, ConnectError, PublishError, Rejection, RequestError, SubscribeError},
    future::BusFuture,
    handler::{Context, Extract, ExtractError, FromState, Handler, HandlerOptions, Router, State},
    health::{BusStats, Health, HealthError, HealthWarning},
    message::Message,
    outcome::{IntoOutcome, Publish},
    publish::{PublishFuture, Publishing, Receipt},
    request::{Collecting, NoError, Request, Requesting},
    route::Route,
    service::{HandlerStats, Service, ServiceStats, ShutdownError},
    subscribing::{Overflow, Subscribing},
    subscription::{EndReason, Event, Invalid, Received, Subscription, SubscriptionStats},
    transport::{
        Gap, GapCause, Status,
        events::{BusEvent, BusEvents},
        registry::{NameSnapshot, SubscriptionSnapshot, SubscriptionState},
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
            Address, ChannelParam, ChannelReader, ChannelWriter, IntoParam, InvalidParam, Params, Segment, Selector,
            Shape, Template,
            address::{AddressOf, Parameter, parameter, rest_parameter},
        },
        codec::{ByBus, Json, Plain},
        delivery::Delivery,
        error::AddressError,
        handler::{
            AnyState, Arrives, Call, Context, Extract, Handler, HandlerOptions, Incoming, Router, StubRouter,
            not_extracted, stub_route,
        },
        message::{AddressedByFields, CompleteChannel, Message, Serde, Stub},
        outcome::{Broadcast, IntoOutcome, Outcome, Replies, RepliesOr, Returned},
        proof::prove,
        publish::Publishing,
        request::{CompleteRequest, NoError, Request, Requesting},
        route::{Route, RouteTable, TableStorage, literal_slots, nodes},
    };
    pub use serde;
}
