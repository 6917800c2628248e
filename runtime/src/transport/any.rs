//! One of the transports, so that nothing above knows which.

use std::sync::Arc;

use futures_util::{FutureExt, future::Either};

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
    pub(crate) async fn connect(url: &str, config: &Config) -> Result<Self, ConnectError> {
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

    /// Its name among messaging systems.
    pub(crate) fn system(&self) -> &'static str {
        match self {
            Self::Memory(_) => "memory",
            Self::Redis(_) => "redis",
        }
    }
}

impl Broadcast for AnyTransport {
    fn publish(&self, parcel: Parcel) -> impl Future<Output = Published> + Send {
        match self {
            // Boxed: each publish of either has the size of the larger one.
            Self::Memory(memory) => Either::Left(memory.publish(parcel).boxed()),
            Self::Redis(redis) => Either::Right(redis.publish(parcel)),
        }
    }

    async fn publish_all(&self, parcels: Vec<Parcel>, lined: Option<Lined>) -> Vec<Published> {
        match self {
            Self::Memory(memory) => memory.publish_all(parcels, lined).await,
            Self::Redis(redis) => redis.publish_all(parcels, lined).await,
        }
    }

    async fn publish_atomically(&self, parcels: Vec<Parcel>) -> Result<Vec<Option<u64>>, PublishError> {
        match self {
            Self::Memory(memory) => memory.publish_atomically(parcels).await,
            Self::Redis(redis) => redis.publish_atomically(parcels).await,
        }
    }

    async fn attach(&self, inbox: Arc<Inbox>, names: Vec<Wanted>) -> Result<Attachment, SubscribeError> {
        match self {
            Self::Memory(memory) => memory.attach(inbox, names).await,
            Self::Redis(redis) => redis.attach(inbox, names).await,
        }
    }

    fn has_slots(&self) -> bool {
        match self {
            Self::Memory(memory) => memory.has_slots(),
            Self::Redis(redis) => redis.has_slots(),
        }
    }

    async fn claim(&self, claim: Claim) -> Result<bool, PublishError> {
        match self {
            Self::Memory(memory) => memory.claim(claim).await,
            Self::Redis(redis) => redis.claim(claim).await,
        }
    }
}

impl Link for AnyTransport {
    fn status(&self) -> Status {
        match self {
            Self::Memory(memory) => memory.status(),
            Self::Redis(redis) => redis.status(),
        }
    }

    fn is_cluster(&self) -> bool {
        match self {
            Self::Memory(memory) => memory.is_cluster(),
            Self::Redis(redis) => redis.is_cluster(),
        }
    }

    fn events(&self) -> &Events {
        match self {
            Self::Memory(memory) => memory.events(),
            Self::Redis(redis) => redis.events(),
        }
    }

    fn snapshots(&self) -> Vec<SubscriptionSnapshot> {
        match self {
            Self::Memory(memory) => memory.snapshots(),
            Self::Redis(redis) => redis.snapshots(),
        }
    }

    fn close(&self, reason: &str) {
        match self {
            Self::Memory(memory) => memory.close(reason),
            Self::Redis(redis) => redis.close(reason),
        }
    }

    async fn health(&self) -> Result<Health, HealthError> {
        match self {
            Self::Memory(memory) => memory.health().await,
            Self::Redis(redis) => redis.health().await,
        }
    }
}
