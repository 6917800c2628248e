//! What a transport does, and the names and attachments with which it is asked.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::{
    codec::slot::{Slot, whole_millis},
    error::{PublishError, SubscribeError},
    transport::{
        events::Events,
        health::{Health, HealthError},
        inbox::Inbox,
        status::{NameKind, Status, SubscriptionSnapshot},
    },
};

/// A name on the wire to subscribe to: a channel, or a pattern in Redis's glob syntax. The namespace is part of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) kind: NameKind,
}

/// A name that an inbox wants, and the token that its frames carry.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) name: Name,
    pub(crate) token: u32,
}

/// An encoded message on its way out: one thing from encoding to the connection.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) template: &'static str,
    pub(crate) reach: Reach,
    /// With the namespace.
    pub(crate) channel: String,
    pub(crate) payload: Vec<u8>,
    /// Of a request.
    pub(crate) expiry: Option<Expiry>,
    pub(crate) receipt: ReceiptComes,
}

/// When the receipt of a parcel is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReceiptComes {
    /// After the parcel was written to its subscribers, where the server can be brought to that.
    AfterSubscribers,
    Anytime,
    /// Whoever sends it waits for something else as well, and is not woken to learn that somebody has received it.
    Quietly,
}

/// Who gets what is sent to a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Those who are subscribed to the channel, or to a pattern that matches it.
    #[default]
    Channel,
    /// Those who are subscribed to the shard channel of that name. No pattern matches it, so it is known exactly whether anybody is there.
    ShardChannel,
    /// Of an answer on a cluster: those who are subscribed to the shard channel of that name and, where nobody is, to the channel. Where there are no
    /// slots, those of the channel.
    ShardChannelFirst,
}

/// Until when somebody waits for an answer, and where the payload says how long that still is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expiry {
    pub(crate) slot: Slot,
    pub(crate) deadline: Instant,
}

impl Expiry {
    /// Brings the payload up to date: nothing is left after the deadline.
    pub(crate) fn write(&self, payload: &mut [u8], now: Instant) {
        self.slot.write(payload, whole_millis(self.deadline.saturating_duration_since(now)));
    }
}

impl Parcel {
    /// The same as an inbox takes it: there the channel that the message is for stands before the payload, and a line end between the two. No channel has one.
    pub(crate) fn into_inbox(mut self, channel: &str) -> Self {
        let (head, length) = (channel.len() + 1, self.payload.len());
        self.payload.resize(length + head, b'\n');
        self.payload.copy_within(..length, head);
        self.payload[..head - 1].copy_from_slice(channel.as_bytes());
        self.payload[head - 1] = b'\n';
        self.reach = Reach::ShardChannel;
        self.receipt = ReceiptComes::Quietly;
        self.expiry = self.expiry.map(|expiry| Expiry { slot: expiry.slot.behind(head), ..expiry });
        self
    }

    /// Brings the time left up to date, where there is one.
    pub(crate) fn write_time_left(&mut self, now: Instant) {
        if let Some(expiry) = self.expiry {
            expiry.write(&mut self.payload, now);
        }
    }
}

/// Told by being dropped that parcels are in line, where nothing that is published later overtakes them, or that they will never be.
pub(crate) type Lined = oneshot::Sender<()>;

/// What an answer to PUBLISH says: how many received the message, where the server can tell.
pub(crate) type Published = Result<Option<u64>, PublishError>;

/// Carries broadcasts: to everybody who is there, at most once. Dropping one of its futures loses no frame and leaks no subscription.
pub(crate) trait Broadcast: Send + Sync + 'static {
    /// Publishes, and tells how many received it where the server can tell.
    fn publish(&self, parcel: Parcel) -> impl Future<Output = Published> + Send;

    /// Publishes in one round trip, in order; a result for each.
    fn publish_all(&self, parcels: Vec<Parcel>, lined: Option<Lined>) -> impl Future<Output = Vec<Published>> + Send;

    /// Publishes all of them or none, in order; the number of receivers of each, where the server can tell.
    fn publish_atomically(
        &self,
        parcels: Vec<Parcel>,
    ) -> impl Future<Output = Result<Vec<Option<u64>>, PublishError>> + Send;

    /// Connects the inbox to the names; returns once the server has confirmed every one of them. All or nothing.
    fn attach(
        &self,
        inbox: Arc<Inbox>,
        names: Vec<Wanted>,
    ) -> impl Future<Output = Result<Attachment, SubscribeError>> + Send;

    /// Whether shard channels are apart from everything else, each on one of several nodes.
    fn has_slots(&self) -> bool {
        false
    }

    /// Takes a name for so long, unless somebody else has it: `true` for exactly one of all who ask meanwhile. A full server takes it too.
    fn claim(&self, claim: Claim) -> impl Future<Output = Result<bool, PublishError>> + Send;
}

/// How the names of claims begin, behind the namespace.
pub(crate) const CLAIMS: &str = "tidings:claims:";

/// What is to be done by one of many.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) template: &'static str,
    /// With the namespace.
    pub(crate) key: String,
    pub(crate) holds: Duration,
}

/// Tells how it is connected.
pub(crate) trait Link: Send + Sync + 'static {
    /// How the subscription connection is.
    fn status(&self) -> Status;

    /// Whether what is published goes from node to node, so that it may arrive after the server has said that it was accepted.
    fn is_cluster(&self) -> bool {
        false
    }

    /// What happens to the connections.
    fn events(&self) -> &Events;

    /// What the subscriptions look like.
    fn snapshots(&self) -> Vec<SubscriptionSnapshot>;

    /// Ends it for good: every inbox ends after what it holds, nothing is published any more, and the connections close. Waits for nobody.
    fn close(&self, reason: &str);

    /// Asks the server how it is.
    fn health(&self) -> impl Future<Output = Result<Health, HealthError>> + Send;
}

/// An inbox's place in a transport. Dropping it unsubscribes what nobody else wants, without blocking.
pub(crate) struct Attachment {
    detach: Arc<dyn Detach>,
    id: usize,
}

pub(crate) trait Detach: Send + Sync {
    fn detach(&self, id: usize);

    /// Unsubscribes, and hands the inbox what still comes; the receivers, one for each connection, end when nothing more will.
    fn leave(&self, id: usize) -> Vec<oneshot::Receiver<()>>;
}

impl Attachment {
    pub(crate) fn new(detach: Arc<dyn Detach>, id: usize) -> Self {
        Self { detach, id }
    }

    /// Unsubscribes, and ends when the server has confirmed that it sends nothing more. The inbox gets what comes until then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future only stops waiting.
    pub(crate) async fn leave(&self) {
        for left in self.detach.leave(self.id) {
            // An error is what ends it.
            let _ = left.await;
        }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.detach.detach(self.id);
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Attachment").field("id", &self.id).finish_non_exhaustive()
    }
}
