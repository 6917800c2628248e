//! From a task to its queue.

use std::{sync::Arc, time::Duration};

use crate::{
    bus::{handle::Bus, sending::Draft},
    codec::headers::Headers,
    error::EnqueueError,
    message::{contract::Message, facts::QueueFacts, reading::written},
    transport::{
        any::AnyTransport,
        durable::task::{Due, NewTask, QueueName, Unique},
    },
};

/// How a task is enqueued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EnqueueOptions {
    pub(crate) due: Due,
    pub(crate) expires_in: Option<Duration>,
    pub(crate) unique: Option<Unique>,
    /// How far it is from the first of its chain, where a handler has returned it.
    pub(crate) hops: u32,
}

impl Default for EnqueueOptions {
    fn default() -> Self {
        Self { due: Due::Now, expires_in: None, unique: None, hops: 0 }
    }
}

impl Bus {
    /// The queue of a template in the namespace of this bus.
    pub(crate) fn queue_name(&self, template: &'static str) -> QueueName {
        let namespace = self.shared.config.namespace.as_ref();
        QueueName {
            template,
            namespace: namespace.map_or_else(|| Arc::from(""), |namespace| format!("{namespace}:").into()),
        }
    }

    /// Encodes a task. The channel is without the namespace, and agrees with the message.
    pub(crate) fn task<M: Message>(
        &self,
        channel: String,
        message: &M,
        headers: &Headers,
        options: EnqueueOptions,
    ) -> Result<NewTask, EnqueueError> {
        let template = M::TEMPLATE.text();
        let facts = M::QUEUE.unwrap_or(QueueFacts::DEFAULT);
        let id = self.next_id();
        let EnqueueOptions { due, expires_in, unique, hops } = options;
        let draft = Draft {
            hops,
            id: Some(&id),
            deadline: None,
            payload_limit: Some(facts.payload_limit),
            ..Draft::of::<M>(self.channel(|name| name.literal(&channel)), headers)
        };
        let parcel = self.encode::<M::Codec, _>(draft, written(message));
        let parcel = parcel.map_err(|error| EnqueueError::before_sending(template, error))?;
        Ok(NewTask {
            queue: self.queue_name(template),
            channel,
            name: M::NAME,
            version: M::VERSION,
            id,
            payload: parcel.payload,
            due,
            expires_in,
            unique,
            max_length: facts.max_length,
        })
    }

    /// What carries its tasks. A transport refuses by itself once the bus is closed.
    pub(crate) fn durable(&self) -> &AnyTransport {
        &self.shared.transport
    }
}
