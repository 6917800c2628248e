//! From a message to its receipt: encoding, limits, and the way to the transport.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use futures_util::TryFutureExt;
use serde::Serialize;

use crate::{
    bus::handle::Bus,
    channel::text::{ChannelReader, ChannelWriter},
    codec::{
        contract::{Codec, Exchange, Outbound},
        headers::Headers,
        slot::Slot,
    },
    config::Config,
    error::{PublishError, SubscribeError},
    message::{contract::Message, delivery::HOPS, reading::written},
    observe::{observation::encoded, trace_context},
    time::unix_millis,
    transport::{
        contract::{Attachment, Claim, Expiry, Lined, Name, Parcel, Reach, ReceiptComes, Wanted},
        inbox::Inbox,
        status::NameKind,
    },
};

/// What the server said of a published message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// How many subscriptions the server passed the message to, where it can tell: `Some` on one server and in memory, and `None` on a
    /// cluster, where a node counts only its own.
    ///
    /// It counts the connections that were subscribed, once for each matching pattern, not the handlers that worked on the
    /// message: all subscriptions of one bus to one channel count once, and a connection can break after it was counted.
    /// [PUBLISH](https://redis.io/docs/latest/commands/publish/).
    pub receivers: Option<u64>,
}

impl Bus {
    /// Encodes a message for a channel with the namespace.
    pub(crate) fn parcel<M: Message>(
        &self,
        channel: String,
        message: &M,
        headers: &Headers,
        exchange: Option<Exchange<'_>>,
    ) -> Result<Parcel, PublishError> {
        let draft = Draft { exchange, ..Draft::of::<M>(channel, headers) };
        self.encode::<M::Codec, _>(draft, written(message))
    }

    /// Checks the message against the address that it is to be sent to, as every receiver will. `channel` has the namespace.
    pub(crate) fn check_address<M: Message>(&self, channel: &str, message: &M) -> Result<(), PublishError> {
        let start = self.shared.config.namespace.as_ref().map_or(0, |namespace| namespace.len() + 1);
        let template = M::TEMPLATE.text();
        let checked = message.verify(&mut ChannelReader::new(channel.get(start..).unwrap_or_default()));
        checked.map_err(|source| PublishError::Address { template, source })
    }

    /// Refuses a channel of the program's that is too long. It has the namespace.
    pub(crate) fn check_name(&self, template: &'static str, channel: &str) -> Result<(), PublishError> {
        match self.exceeds_name_limit(channel) {
            Some((length, limit)) => Err(PublishError::NameTooLong { template, length, limit }),
            None => Ok(()),
        }
    }

    /// Encodes a value, and checks name and size against the limits.
    pub(crate) fn encode<C: Codec, T: Serialize>(&self, draft: Draft<'_>, value: &T) -> Result<Parcel, PublishError> {
        let Draft { channel, template, name, version, headers, exchange, deadline, hops, id, payload_limit } = draft;
        self.check_name(template, &channel)?;
        let mut payload = Vec::with_capacity(PAYLOAD_GUESS + exchange.map_or(0, |_| EXCHANGE_GUESS));
        let own;
        let id = match id {
            Some(id) => id,
            None => {
                own = self.next_id();
                &own
            }
        };
        let Config { format, ref source, .. } = self.shared.config;
        let outbound = Outbound { format, source, name, version, id, timestamp: unix_millis(), headers, exchange };
        let written = write::<C, _>(&outbound, hops, value, &mut payload);
        let slot = written.map_err(|reason| PublishError::Encode { name, reason })?;
        let (size, limit) = (payload.len(), payload_limit.unwrap_or(self.shared.config.payload_limit));
        if size > limit {
            return Err(PublishError::PayloadTooLarge { template, size, limit });
        }
        encoded(id, size, exchange.as_ref());
        let expiry = slot.zip(deadline).map(|(slot, deadline)| Expiry { slot, deadline });
        // What is answered is no faster for it.
        let receipt = if exchange.is_none() { ReceiptComes::AfterSubscribers } else { ReceiptComes::Anytime };
        Ok(Parcel { template, reach: Reach::Channel, channel, payload, expiry, receipt })
    }

    pub(crate) fn send(&self, parcel: Parcel) -> impl Future<Output = Result<Receipt, PublishError>> + Send {
        self.shared.transport.publish(parcel).map_ok(|receivers| Receipt { receivers })
    }

    /// Sends all of them in order; a result for each. `lined` is dropped when the last of them is in line.
    pub(crate) async fn send_all(
        &self,
        parcels: Vec<Parcel>,
        lined: Option<Lined>,
    ) -> Vec<Result<Receipt, PublishError>> {
        let results = self.shared.transport.publish_all(parcels, lined).await.into_iter();
        results.map(|result| result.map(|receivers| Receipt { receivers })).collect()
    }

    /// Takes something for this instance, unless another one has it.
    pub(crate) async fn claim(&self, claim: Claim) -> Result<bool, PublishError> {
        self.shared.transport.claim(claim).await
    }

    /// Sends all of them or none.
    pub(crate) async fn send_atomically(&self, parcels: Vec<Parcel>) -> Result<Vec<Receipt>, PublishError> {
        let receivers = self.shared.transport.publish_atomically(parcels).await.map_err(undecided)?;
        Ok(receivers.into_iter().map(|receivers| Receipt { receivers }).collect())
    }

    /// Length and limit of a name that is too long. The limit is for names of the program's, and not for those that the protocol makes.
    fn exceeds_name_limit(&self, name: &str) -> Option<(usize, usize)> {
        let limit = self.shared.config.name_limit;
        // A name has at least as many bytes as characters, so most need no counting.
        let length = if name.len() > limit { name.chars().count() } else { 0 };
        (length > limit && !self.without_namespace(name).starts_with(OWN)).then_some((length, limit))
    }

    pub(super) fn namespaced(&self) -> String {
        let mut name = String::with_capacity(NAME_GUESS);
        if let Some(namespace) = &self.shared.config.namespace {
            name.push_str(namespace);
            name.push(':');
        }
        name
    }

    /// A channel of this bus as messages know it.
    pub(crate) fn without_namespace<'a>(&self, channel: &'a str) -> &'a str {
        let prefix = self.shared.config.namespace.as_ref().map_or(0, |namespace| namespace.len() + 1);
        channel.get(prefix..).unwrap_or(channel)
    }

    /// The same of bytes that somebody else has written; `None` where they do not begin with the namespace.
    pub(crate) fn local<'a>(&self, channel: &'a [u8]) -> Option<&'a [u8]> {
        match &self.shared.config.namespace {
            Some(namespace) => channel.strip_prefix(namespace.as_bytes())?.strip_prefix(b":"),
            None => Some(channel),
        }
    }

    pub(super) fn next_id(&self) -> String {
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
    /// When the time is over of which the exchange says how much is left.
    pub(crate) deadline: Option<Instant>,
    /// How far it is from the first message of its chain; 0 is that one itself.
    pub(crate) hops: u32,
    /// One that was given to it before it is encoded.
    pub(crate) id: Option<&'a str>,
    /// Where it is not the bus's.
    pub(crate) payload_limit: Option<usize>,
}

impl<'a> Draft<'a> {
    pub(crate) fn of<M: Message>(channel: String, headers: &'a Headers) -> Self {
        let template = M::TEMPLATE.text();
        Self {
            channel,
            template,
            name: M::NAME,
            version: M::VERSION,
            headers,
            exchange: None,
            hops: 0,
            id: None,
            deadline: None,
            payload_limit: None,
        }
    }
}

/// How names of our own begin, behind the namespace.
const OWN: &str = "tidings:";

/// Room for most channels and messages without a second allocation.
const NAME_GUESS: usize = 64;

const PAYLOAD_GUESS: usize = 512;

/// The same for what a request carries besides: where its answer goes, and its channel before all of it.
const EXCHANGE_GUESS: usize = 256;

/// What a transport does not know of a message is, of a batch that is published whole or not at all, nothing to try again.
fn undecided(error: PublishError) -> PublishError {
    match error {
        PublishError::TimedOut { template, timeout } => {
            PublishError::Undecided { template, reason: format!("no answer within {timeout:?}") }
        }
        PublishError::ConnectionLost { template, reason } => PublishError::Undecided {
            template,
            reason: format!("the connection was lost before the answer came: {reason}"),
        },
        other => other,
    }
}

/// Writes a payload, with headers of ours where the codec has a place for them: the context of the current trace, and the count of hops.
fn write<C: Codec, T: Serialize>(
    outbound: &Outbound<'_>,
    hops: u32,
    value: &T,
    payload: &mut Vec<u8>,
) -> Result<Option<Slot>, String> {
    if C::carries_context(outbound)
        && let Some(headers) = added(outbound.headers, hops)
    {
        if let Ok(slot) = C::encode_with_slot(&Outbound { headers: &headers, ..*outbound }, value, payload) {
            return Ok(slot);
        }
        // Neither is a reason to lose a message: this codec takes no such header.
        payload.clear();
    }
    C::encode_with_slot(outbound, value, payload)
}

/// The headers with ours, if there are any of ours.
fn added(headers: &Headers, hops: u32) -> Option<Headers> {
    let carried = trace_context::carried(headers);
    if hops == 0 {
        return carried;
    }
    let mut headers = carried.unwrap_or_else(|| headers.clone());
    headers.set(HOPS, itoa::Buffer::new().format(hops));
    Some(headers)
}
