//! Typed messaging on Redis: the channel is part of the message's type, and the compiler proves the routes.

extern crate self as tidings;

pub mod channel;

mod bus;
mod codec;
mod config;
mod delivery;
mod error;
mod handler;
mod message;
mod outcome;
mod proof;
mod publish;
mod route;
mod transport;

pub use self::{
    bus::Bus,
    channel::{Address, ChannelParam},
    codec::Format,
    config::Reconnect,
    delivery::{Delivery, Headers},
    error::{AddressError, ConnectError, PublishError, Rejection, SubscribeError},
    handler::{Extract, ExtractError, FromState, Handler, HandlerOptions, Router, State},
    message::Message,
    outcome::{IntoOutcome, Publish},
    publish::{Publishing, Receipt},
    route::Route,
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
