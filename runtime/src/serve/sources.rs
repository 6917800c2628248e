//! Where a service's messages come from, and how that ends.
//!
//! Broadcasts, and requests of other programs, come by the channels of the handlers; requests come to the inbox of the instance. A service that stops
//! takes nothing more from its channels at once. Its inbox it keeps until it has finished everything, since one that is gone counts as lost, and
//! leaves it only when the server has confirmed that nothing more comes.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::timeout;

use crate::{
    serve::presence::Presence,
    transport::{
        contract::Attachment,
        inbox::{Inbox, Item},
    },
};

/// Where a service's messages come from.
pub(super) struct Sources<'a> {
    channels: Source,
    /// Dropping it unsubscribes the channels.
    attachment: Option<Attachment>,
    own: Source,
    pub(super) presence: &'a Presence,
    leaving: Leaving<'a>,
}

struct Source {
    inbox: Arc<Inbox>,
    /// What was taken out and not worked on yet.
    items: VecDeque<Item>,
    /// Whether more may come.
    is_open: bool,
}

/// The instance leaves its inbox, which takes what still comes until the server has confirmed that.
enum Leaving<'a> {
    Not,
    Begun(Pin<Box<dyn Future<Output = ()> + Send + 'a>>),
    Left,
}

/// Items taken out of an inbox with one lock.
const BATCH: usize = 256;
/// So long a server has for the confirmation that nothing more comes.
const FAREWELL: Duration = Duration::from_secs(1);

impl Source {
    fn new(inbox: Arc<Inbox>, is_open: bool) -> Self {
        Self { inbox, items: VecDeque::new(), is_open }
    }

    /// Moves items out of the inbox, unless there are some left.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.is_open {
            return Poll::Pending;
        }
        if !self.items.is_empty() {
            return Poll::Ready(());
        }
        self.inbox.poll_take(context, &mut self.items, BATCH).map(|open| self.is_open = open)
    }
}

impl<'a> Sources<'a> {
    pub(super) fn new(inbox: Arc<Inbox>, attachment: Attachment, presence: &'a Presence) -> Self {
        let own = Source::new(Arc::clone(&presence.inbox), presence.attachment.is_some());
        Self { channels: Source::new(inbox, true), attachment: Some(attachment), own, presence, leaving: Leaving::Not }
    }

    /// Completes when something has come, or will not come any more. While `is_full` nothing is taken from the channels.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(super) async fn next(&mut self, is_full: bool) {
        poll_fn(|context| {
            // Both of them, so that a flood of either leaves time for the other.
            let own = self.own.poll(context);
            let channels = if is_full { Poll::Pending } else { self.channels.poll(context) };
            let left = self.poll_left(context);
            if own.is_ready() || channels.is_ready() || left.is_ready() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn poll_left(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Leaving::Begun(leaving) = &mut self.leaving else { return Poll::Pending };
        leaving.as_mut().poll(context).map(|()| {
            self.leaving = Leaving::Left;
            self.take_own(context);
        })
    }

    /// What has come by the channels.
    pub(super) fn items(&mut self) -> &mut VecDeque<Item> {
        &mut self.channels.items
    }

    /// What has come to the instance itself.
    pub(super) fn own_items(&mut self) -> VecDeque<Item> {
        std::mem::take(&mut self.own.items)
    }

    /// Takes all that has come to the instance itself so far.
    pub(super) fn take_own(&mut self, context: &mut Context<'_>) {
        while self.own.is_open
            && let Poll::Ready(open) = self.own.inbox.poll_take(context, &mut self.own.items, usize::MAX)
        {
            self.own.is_open = open;
        }
    }

    /// Whether more may come by the channels.
    pub(super) fn is_open(&self) -> bool {
        self.channels.is_open
    }

    /// Messages that have come by the channels and are not worked on yet.
    pub(super) fn waiting(&self) -> usize {
        self.channels.items.len() + self.channels.inbox.traffic().map_or(0, |traffic| traffic.waiting)
    }

    /// Nothing more is to come by the channels.
    pub(super) fn stop(&mut self) {
        self.attachment = None;
        self.channels.inbox.close();
    }

    /// Begins to leave the inbox of the instance, unless that has begun; `true` once nothing more comes.
    pub(super) fn leave(&mut self) -> bool {
        if matches!(self.leaving, Leaving::Not) {
            self.leaving = match &self.presence.attachment {
                None => Leaving::Left,
                Some(attachment) => Leaving::Begun(Box::pin(async {
                    // A server that is away sends nothing either.
                    let _ = timeout(FAREWELL, attachment.leave()).await;
                })),
            };
        }
        matches!(self.leaving, Leaving::Left) && self.own.items.is_empty()
    }
}
