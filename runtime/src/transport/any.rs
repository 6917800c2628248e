//! One of the transports, so that nothing above knows which.
//!
//! What is called through here is boxed, except publishing. The code of an `async fn` is generated where it is awaited, so that without that each program which uses
//! the library would compile the transports into itself once more: with one handler 15 s instead of 3.5 for a rebuild in release, and 9.7 MB instead of 5.7.

use std::sync::Arc;

use futures_util::{
    FutureExt,
    future::{BoxFuture, Either},
};

use crate::{
    config::Config,
    error::{ConnectError, PublishError, SubscribeError},
    transport::{
        contract::{Attachment, Broadcast, Claim, Lined, Link, Parcel, Published, Wanted},
        events::Events,
        health::{Health, HealthError},
        inbox::Inbox,
        memory::Memory,
        redis::Redis,
        status::{Status, SubscriptionSnapshot},
    },
};

/// One of the transports.
#[derive(Debug)]
pub(crate) enum AnyTransport {
    Memory(Memory),
    /// Boxed: the other transport is small.
    Redis(Box<Redis>),
}

impl AnyTransport {
    pub(crate) fn connect<'a>(url: &'a str, config: &'a Config) -> BoxFuture<'a, Result<Self, ConnectError>> {
        async move {
            match url.strip_prefix("memory:") {
                Some(_) if let Some(setting) = config.names_servers() => Err(ConnectError::Contradiction {
                    setting,
                    reason: "`memory:` has no servers: write `redis://` in the address, or leave the setting away"
                        .to_owned(),
                }),
                Some(broker) => Ok(Self::Memory(Memory::connect(broker, config))),
                None => Redis::connect(url, config).await.map(|redis| Self::Redis(Box::new(redis))),
            }
        }
        .boxed()
    }

    /// Its name among messaging systems.
    pub(crate) fn system(&self) -> &'static str {
        match self {
            Self::Memory(_) => "memory",
            Self::Redis(_) => "redis",
        }
    }

    pub(crate) fn publish(&self, parcel: Parcel) -> impl Future<Output = Published> + Send {
        match self {
            // Boxed: each publish of either has the size of the larger one.
            Self::Memory(memory) => Either::Left(memory.publish(parcel).boxed()),
            Self::Redis(redis) => Either::Right(redis.publish(parcel)),
        }
    }

    pub(crate) fn publish_all(&self, parcels: Vec<Parcel>, lined: Option<Lined>) -> BoxFuture<'_, Vec<Published>> {
        match self {
            Self::Memory(memory) => memory.publish_all(parcels, lined).boxed(),
            Self::Redis(redis) => redis.publish_all(parcels, lined).boxed(),
        }
    }

    pub(crate) fn publish_atomically(
        &self,
        parcels: Vec<Parcel>,
    ) -> BoxFuture<'_, Result<Vec<Option<u64>>, PublishError>> {
        match self {
            Self::Memory(memory) => memory.publish_atomically(parcels).boxed(),
            Self::Redis(redis) => redis.publish_atomically(parcels).boxed(),
        }
    }

    pub(crate) fn attach(
        &self,
        inbox: Arc<Inbox>,
        names: Vec<Wanted>,
    ) -> BoxFuture<'_, Result<Attachment, SubscribeError>> {
        match self {
            Self::Memory(memory) => memory.attach(inbox, names).boxed(),
            Self::Redis(redis) => redis.attach(inbox, names).boxed(),
        }
    }

    pub(crate) fn has_slots(&self) -> bool {
        match self {
            Self::Memory(memory) => memory.has_slots(),
            Self::Redis(redis) => redis.has_slots(),
        }
    }

    pub(crate) fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<bool, PublishError>> {
        match self {
            Self::Memory(memory) => memory.claim(claim).boxed(),
            Self::Redis(redis) => redis.claim(claim).boxed(),
        }
    }

    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Memory(memory) => memory.status(),
            Self::Redis(redis) => redis.status(),
        }
    }

    pub(crate) fn is_cluster(&self) -> bool {
        match self {
            Self::Memory(memory) => memory.is_cluster(),
            Self::Redis(redis) => redis.is_cluster(),
        }
    }

    pub(crate) fn events(&self) -> &Events {
        match self {
            Self::Memory(memory) => memory.events(),
            Self::Redis(redis) => redis.events(),
        }
    }

    pub(crate) fn snapshots(&self) -> Vec<SubscriptionSnapshot> {
        match self {
            Self::Memory(memory) => memory.snapshots(),
            Self::Redis(redis) => redis.snapshots(),
        }
    }

    pub(crate) fn close(&self, reason: &str) {
        match self {
            Self::Memory(memory) => memory.close(reason),
            Self::Redis(redis) => redis.close(reason),
        }
    }

    pub(crate) fn health(&self) -> BoxFuture<'_, Result<Health, HealthError>> {
        match self {
            Self::Memory(memory) => memory.health().boxed(),
            Self::Redis(redis) => redis.health().boxed(),
        }
    }
}
