//! Typed messaging on Redis: the channel is part of the message's type, and the compiler proves the routes.

extern crate self as tidings;

pub mod channel;
pub mod testing;

mod bus;
mod codec;
mod config;
mod delivery;
mod dispatch;
mod error;
mod future;
mod handler;
mod message;
mod outcome;
mod proof;
mod publish;
mod route;
mod service;
mod subscription;
mod transport;

pub use self::{
    bus::{Bus, BusBuilder},
    channel::{Address, ChannelParam},
    codec::{Codec, Format, Json},
    config::Reconnect,
    delivery::{Delivery, Headers},
    error::{AddressError, ConnectError, PublishError, Rejection, SubscribeError},
    future::BusFuture,
    handler::{Extract, ExtractError, FromState, Handler, HandlerOptions, Router, State},
    message::Message,
    outcome::{IntoOutcome, Publish},
    publish::{PublishFuture, Publishing, Receipt},
    route::Route,
    service::{HandlerStats, Service, ServiceStats, ShutdownError},
    subscription::{Event, Invalid, Received, Subscription, SubscriptionStats},
    transport::{Gap, GapCause, Status},
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
        codec::Format,
        delivery::Delivery,
        error::AddressError,
        handler::{
            AnyState, Call, Context, Extract, Handler, HandlerOptions, Incoming, Router, StubRouter, incoming,
            not_extracted, stub_route,
        },
        message::{AddressedByFields, CompleteChannel, Message, Serde, Stub},
        outcome::{IntoOutcome, Outcome},
        proof::prove,
        publish::Publishing,
        route::{Route, RouteTable, TableStorage, literal_slots, nodes},
    };
    pub use serde;
}
