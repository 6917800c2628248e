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
//! | write messages and handlers | the macros [`Message`](macro@Message), [`ChannelParam`](macro@ChannelParam), [`Outcome`](macro@Outcome), [`handler`](macro@handler), [`router`](macro@router), [`routes`], [`routers`] |
//! | publish, subscribe, serve | [`Bus`], [`Publishing`], [`Subscribing`], [`Serving`] |
//! | ask and be answered | [`Requesting`], [`Collecting`], [`Acknowledging`] |
//! | send many at once | [`Batch`] |
//! | have work done that must not be lost | [`Enqueueing`], [`EnqueueAll`] |
//! | learn what came of it | [`Enqueued::result`], [`QueueHandle::result`] |
//! | say how far it has come, and go on from there after a failure | [`Progress`] |
//! | write code that is generic over its message | [`Publishable`], [`Requestable`], [`Enqueueable`], [`Subscribable`] |
//! | choose a wire format | [`codec`] |
//! | see what goes on | [`Bus::events`], [`Bus::stats`], [`Bus::health`], [`observe`] |
//! | see which services there are | [`Bus::services`] |
//! | look at queues and mend them | [`Bus::queue`] |
//! | test a service without a server, and handlers as functions | [`testing`], [`Delivery::testing`], [`Progress::testing`] |
//! | stop | [`Service::run_until_stopped`], [`Bus::close`] |
//!
//! Broadcasts and requests are delivered at most once, broadcasts in order for each publisher and channel; what may have been missed is always
//! reported. Tasks are delivered at least once. Features: `tls`, `uuid`,
//! `messagepack`, `cbor`, `tower`, `opentelemetry`, `metrics`; none is on by default.

extern crate self as tidings;

pub mod channel;
pub mod codec;
pub mod observe;
pub mod testing;

mod bus;
mod config;
mod error;
mod future;
mod handler;
mod message;
mod operate;
mod publish;
mod route;
mod serve;
mod subscribe;
mod time;
mod transport;

#[cfg(feature = "tower")]
pub use self::handler::layer;
pub use self::{
    bus::{Bus, BusBuilder, Receipt},
    channel::ChannelParam,
    codec::{Codec, Format, Headers, Json},
    config::{Bounds, Overflow, Reconnect},
    error::{
        AcknowledgeError, AddressError, BatchError, ConnectError, EnqueueError, PublishError, QueueError, Rejection,
        RequestError, ShutdownError, SubscribeError,
    },
    future::BusFuture,
    handler::{
        Context, Ended, Enqueue, Extract, ExtractError, FromState, Handler, IntoOutcome, Outcome, Progress,
        ProgressError, Publish, Router, Rule, State,
    },
    message::{
        Address, AddressedByFields, BorrowedMessage, Broadcast, Delivery, Facts, Kind, Lease, Message, NoError,
        OwnedMessage, Queue, QueueFacts, Request, Results, Turns,
    },
    operate::{
        Cancellation, DeadLetter, DeadLetters, DrainError, EventTask, Letters, QueueEvent, QueueEvents, QueueHandle,
        QueueWorker, RunningTask, TaskPage, TaskProgress, TaskView, Tasks, Watching,
    },
    publish::{
        Acknowledged, Acknowledging, AtomicBatch, AwaitingResult, Batch, Collecting, EnqueueAll, EnqueueAtomically,
        Enqueueable, Enqueueing, PublishFuture, Publishable, Publishing, Requestable, Requesting, ResultError, Sent,
        Several,
    },
    route::{HandlerOptions, Order, Redelivery, Route, Routes, WorkOptions},
    serve::{
        Serving,
        service::Service,
        services::{HandlerReport, InstanceReport, ServiceGroup, Services},
        stats::{HandlerStats, ServiceStats},
    },
    subscribe::{
        Subscribable, Subscribing,
        event::{EndReason, Event, Invalid, Received},
        subscription::{Subscription, SubscriptionStats},
    },
    transport::{
        durable::{
            course::ResultBounds,
            look::{DeadLetterBounds, EndedCounts, PartCounts, QueueCounts},
            task::{DeadReason, Enqueued, TaskState},
        },
        events::{BusEvent, BusEvents},
        health::{BusStats, Health, HealthError, HealthWarning},
        status::{Gap, GapCause, NameKind, NameSnapshot, Status, SubscriptionSnapshot, SubscriptionState},
    },
};
#[doc(inline)]
pub use tidings_macros::{ChannelParam, Message, Outcome, handler, router, routers, routes};

/// What the macros name. Not part of the public interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::{
        bus::handle::Bus,
        channel::{
            param::{ChannelParam, IntoParam, InvalidParam},
            parameter::{Held, Parameter, Params, held, parameter, rest_parameter},
            selector::{Selector, show_selector},
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
            causes::{OfAnything, OfError, OfReport, OfRuledError, OfRules, OfSendReport, Returning},
            contract::{Call, Handler, Router, StandsFor},
            ending::{Announced, Announcing, Endings, MadeOf, MadeOfBorrowed},
            extract::{AnyState, Argument, Context, Extract, SharedState, not_extracted},
            incoming::{Arrives, ArrivesBorrowed, Incoming, IncomingBorrowed},
            layer::{HandlerLayer, handler_layer},
            once::{Field, ToldByItself, begin, once_for, once_for_id},
            outcome::{Outcome, Rule},
            returned::{AnswerOr, AnswerWith, IntoOutcome, NoAnswer, Returned, Returns},
            routers::{MergedByItself, first, join, prove_joined, type_of},
            rule::{Outcome as Ruled, after},
            stub::{AnyAnswer, StubRouter, stub_route},
            worked::{ResultRules, Worked, WorkedOr, WorkedWith},
        },
        message::{
            address::{Address, AddressOf, Stub},
            contract::{AddressedByFields, BorrowedMessage, Message, OwnedMessage},
            delivery::Delivery,
            facts::{Kind, QueueFacts, Turns},
            kind::{Announces, AtLeastOnce, AtMostOnce, Broadcast, NoError, Queue, Request, Results},
            older::{Answered, IsOlder, Older, OrNot, ReadOlder, ReadOlderBorrowed, Same},
            reading::{Serde, SerdeBorrowed, Unread, sent},
        },
        publish::{
            enqueue::{CompleteQueue, Enqueueing},
            misplaced::{Published, SentAsTask, TaskPublished, TaskRequested},
            publishing::{CompleteChannel, Publishing},
            request::{CompleteRequest, Requesting},
        },
        route::{
            entry::{HandlerOptions, Route},
            older::prove_older,
            order::{Order, prove_order},
            proof::prove,
            routes::Routes,
            table::RouteTable,
            work::{prove_option, prove_parts, prove_turns, prove_weights, prove_window, prove_work},
        },
        transport::durable::{course::ResultBounds, look::DeadLetterBounds},
    };
    pub use serde;
    pub use tidings_macros::{
        a_handler_in_an_impl_needs_the_attribute_router_on_that_impl,
        each_function_in_routes_needs_the_attribute_handler, items,
    };
}
