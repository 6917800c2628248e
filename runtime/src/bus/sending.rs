//! From a message to its receipt: encoding, limits, and the way to the transport.

use std::sync::{Arc, atomic::Ordering};

use serde::Serialize;

use crate::{
    bus::handle::Bus,
    channel::text::ChannelWriter,
    codec::{
        contract::{Codec, Exchange, Outbound},
        headers::Headers,
    },
    config::Config,
    error::{PublishError, SubscribeError},
    message::{contract::Message, reading::written},
    observe::{self, Observation, outcome::Observed, trace_context},
    time::unix_millis,
    transport::{
        contract::{Attachment, Name, NameKind, PublishFailure, Transport, Wanted},
        inbox::Inbox,
    },
};

/// An encoded message on its way out.
#[derive(Debug)]
#[doc(hidden)]
pub struct Outgoing {
    pub(crate) template: &'static str,
    /// With the namespace.
    pub(crate) channel: String,
    pub(crate) payload: Vec<u8>,
    /// Of the publish; absent when nobody observes it, or it is a part of something that is observed.
    pub(crate) observation: Option<Box<Observation>>,
}

/// What the server said of a published message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// How many subscriptions the server passed the message to, where it can tell: `Some` on one server and in memory.
    ///
    /// It counts the connections that were subscribed, once for each matching pattern, not the handlers that worked on the
    /// message: all subscriptions of one bus to one channel count once, and a connection can break after it was counted.
    /// [PUBLISH](https://redis.io/docs/latest/commands/publish/).
    pub receivers: Option<u64>,
}

impl Bus {
    /// Encodes a message for a channel with the namespace, to be published by itself.
    pub(crate) fn publishing<M: Message>(
        &self,
        channel: String,
        message: &M,
        headers: &Headers,
    ) -> Result<Outgoing, PublishError> {
        match Observation::publish(self, M::TEMPLATE.text()) {
            None => self.outgoing(channel, message, headers, None),
            Some(observation) => observation.encode(|| self.outgoing(channel, message, headers, None)),
        }
    }

    /// Encodes a message for a channel with the namespace, as a part of something larger.
    pub(crate) fn outgoing<M: Message>(
        &self,
        channel: String,
        message: &M,
        headers: &Headers,
        exchange: Option<Exchange<'_>>,
    ) -> Result<Outgoing, PublishError> {
        let draft =
            Draft { channel, template: M::TEMPLATE.text(), name: M::NAME, version: M::VERSION, headers, exchange };
        self.encode::<M::Codec, _>(draft, written(message))
    }

    /// Encodes a value, and checks name and size against the limits.
    pub(crate) fn encode<C: Codec, T: Serialize>(&self, draft: Draft<'_>, value: &T) -> Result<Outgoing, PublishError> {
        let Draft { channel, template, name, version, headers, exchange } = draft;
        if let Some((length, limit)) = self.exceeds_name_limit(&channel) {
            return Err(PublishError::NameTooLong { template, length, limit });
        }
        let mut payload = Vec::with_capacity(PAYLOAD_GUESS);
        let id = self.next_id();
        let Config { format, ref source, .. } = self.shared.config;
        let outbound = Outbound { format, source, name, version, id: &id, timestamp: unix_millis(), headers, exchange };
        trace_context::encode::<C, _>(&outbound, value, &mut payload)
            .map_err(|reason| PublishError::Encode { name, reason })?;
        let (size, limit) = (payload.len(), self.shared.config.payload_limit);
        if size > limit {
            return Err(PublishError::PayloadTooLarge { template, size, limit });
        }
        observe::encoded(&id, size, exchange.as_ref());
        Ok(Outgoing { template, channel, payload, observation: None })
    }

    pub(crate) async fn send(&self, outgoing: Outgoing) -> Result<Receipt, PublishError> {
        let Outgoing { template, channel, payload, observation } = outgoing;
        match observation {
            None => self.deliver(template, channel, payload).await,
            observation => Box::pin(observe::watch(observation, self.deliver(template, channel, payload))).await,
        }
    }

    async fn deliver(
        &self,
        template: &'static str,
        channel: String,
        payload: Vec<u8>,
    ) -> Result<Receipt, PublishError> {
        match self.shared.transport.publish(channel, payload).await {
            Ok(receivers) => Ok(Receipt { receivers }),
            Err(failure) => Err(failed(template, failure)),
        }
    }

    /// Sends what could be encoded, in order, and puts the results where the errors leave room.
    pub(crate) async fn send_all(
        &self,
        messages: Vec<Result<Outgoing, PublishError>>,
    ) -> Vec<Result<Receipt, PublishError>> {
        let mut templates = Vec::with_capacity(messages.len());
        let mut sendable = Vec::with_capacity(messages.len());
        for message in messages {
            templates.push(message.map(|Outgoing { template, channel, payload, .. }| {
                sendable.push((channel, payload));
                template
            }));
        }
        let mut answers = Vec::with_capacity(sendable.len());
        let mut sendable = sendable.into_iter();
        while sendable.len() > 0 {
            let part = sendable.by_ref().take(BATCH_PART).collect();
            answers.append(&mut self.shared.transport.publish_all(part).await);
        }
        let mut answers = answers.into_iter();
        let result = |template: Result<&'static str, PublishError>| {
            let template = template?;
            let sent = match answers.next() {
                Some(Ok(receivers)) => Ok(Receipt { receivers }),
                Some(Err(failure)) => Err(failed(template, failure)),
                None => {
                    let reason = "the transport gave no answer".to_owned();
                    Err(PublishError::ConnectionLost { template, reason })
                }
            };
            self.meters().published(template, sent.label());
            sent
        };
        templates.into_iter().map(result).collect()
    }

    /// Sends all of them or none.
    pub(crate) async fn send_atomically(&self, messages: Vec<Outgoing>) -> Result<Vec<Receipt>, PublishError> {
        let Some(template) = messages.first().map(|first| first.template) else { return Ok(Vec::new()) };
        let templates: Vec<&'static str> = messages.iter().map(|message| message.template).collect();
        let messages = messages.into_iter().map(|Outgoing { channel, payload, .. }| (channel, payload)).collect();
        let sent = match self.shared.transport.publish_atomically(messages).await {
            Ok(receivers) => {
                Ok(receivers.into_iter().map(|receivers| Receipt { receivers: Some(receivers) }).collect())
            }
            Err(failure) => Err(failed(template, failure)),
        };
        templates.into_iter().for_each(|template| self.meters().published(template, sent.label()));
        sent
    }

    /// Length and limit of a name that is too long.
    fn exceeds_name_limit(&self, name: &str) -> Option<(usize, usize)> {
        let limit = self.shared.config.name_limit;
        // A name has at least as many bytes as characters, so most need no counting.
        let length = if name.len() > limit { name.chars().count() } else { 0 };
        (length > limit).then_some((length, limit))
    }

    fn namespaced(&self) -> String {
        let mut name = String::with_capacity(NAME_GUESS);
        if let Some(namespace) = &self.shared.config.namespace {
            name.push_str(namespace);
            name.push(':');
        }
        name
    }

    fn next_id(&self) -> String {
        let number = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let mut id = String::with_capacity(self.shared.id_prefix.len() + 20);
        id.push_str(&self.shared.id_prefix);
        id.push_str(itoa::Buffer::new().format(number));
        id
    }

    /// A channel with the namespace.
    pub(crate) fn channel(&self, write: impl FnOnce(&mut ChannelWriter<'_>)) -> String {
        let mut channel = self.namespaced();
        write(&mut ChannelWriter::new(&mut channel));
        channel
    }

    /// Connects an inbox to names without their namespace.
    pub(crate) async fn attach(
        &self,
        inbox: Arc<Inbox>,
        names: Vec<(String, NameKind)>,
    ) -> Result<Attachment, SubscribeError> {
        let mut wanted = Vec::with_capacity(names.len());
        for (token, (name, kind)) in (0..).zip(names) {
            let text = self.namespaced() + &name;
            if let Some((length, limit)) = self.exceeds_name_limit(&text) {
                return Err(SubscribeError::NameTooLong { length, limit });
            }
            wanted.push(Wanted { name: Name { text, kind }, token });
        }
        self.shared.transport.attach(inbox, wanted).await
    }
}

/// A value on its way into an envelope.
pub(crate) struct Draft<'a> {
    /// With the namespace.
    pub(crate) channel: String,
    pub(crate) template: &'static str,
    pub(crate) name: &'static str,
    pub(crate) version: u32,
    pub(crate) headers: &'a Headers,
    pub(crate) exchange: Option<Exchange<'a>>,
}

/// Messages of a batch that are sent before their answers are awaited: a larger batch is cut into parts, so that neither side holds more
/// than so many answers.
const BATCH_PART: usize = 10_000;

/// Room for most channels and messages without a second allocation.
const NAME_GUESS: usize = 64;

const PAYLOAD_GUESS: usize = 256;

fn failed(template: &'static str, failure: PublishFailure) -> PublishError {
    match failure {
        PublishFailure::Refused { channel, reason, rule } => PublishError::Refused { channel, reason, rule },
        PublishFailure::TimedOut(timeout) => PublishError::TimedOut { template, timeout },
        PublishFailure::ConnectionLost(reason) => PublishError::ConnectionLost { template, reason },
        PublishFailure::Closed(reason) => PublishError::Closed { template, reason },
        PublishFailure::NotConnected(reason) => PublishError::NotConnected { template, reason },
        PublishFailure::Server(reason) => PublishError::Server { template, reason },
    }
}
