//! The names that one connection is subscribed to, and the inboxes that want them.
//!
//! Pure state: no task, no clock, no socket. Time is an argument. The owner keeps it behind a mutex, which nothing holds
//! across an `.await`.
//!
//! A name is subscribed once on the server however many inboxes want it. What an inbox wants and what the server has confirmed
//! are two things; a name's [`Wire`] state says where it stands, and [`Registry::next_command`] what to send to bring the two
//! together. A transport without a server says [`Confirmation::Immediate`] and never looks at that half.

pub(crate) mod names;
pub(crate) mod snapshot;
pub(crate) mod wire;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
    sync::Arc,
    time::Instant,
};

use tokio::sync::oneshot;

use crate::{
    error::SubscribeError,
    transport::{
        GapCause, Name, NameKind, Wanted,
        events::{BusEvent, Events},
        inbox::{Inbox, Item},
        registry::{
            names::{Index, Slots},
            wire::Wire,
        },
    },
};

pub use self::snapshot::{NameSnapshot, SubscriptionSnapshot, SubscriptionState};

/// Identifies a name for as long as the registry or the server knows it.
pub(crate) type NameId = usize;

/// Who confirms that a name is subscribed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirmation {
    /// Nobody: a name is live at once.
    Immediate,
    /// The server, some time after it was asked.
    ByServer,
}

/// What an attach resolves to once the server has answered.
pub(crate) type Attached = Result<(), SubscribeError>;

/// See the module's documentation.
pub(crate) struct Registry {
    confirmation: Confirmation,
    channels: Index,
    patterns: Index,
    names: Slots<Entry>,
    members: Slots<Member>,
    /// Members with staged items, in the order in which they got their first.
    touched: Vec<usize>,
    /// Names whose wire state may differ from what is wanted.
    unsettled: VecDeque<NameId>,
    /// Names that the server would not subscribe, and when each is tried again.
    resting: BTreeSet<(Instant, NameId)>,
    closed: Option<String>,
    /// Told of refusals, and of inboxes that fall behind.
    events: Option<Arc<Events>>,
}

/// A name, and who wants it.
struct Entry {
    name: Name,
    subscribers: Vec<Subscriber>,
    wire: Wire,
    in_line: bool,
    /// To be asked for in a command of its own, because a command with several names was refused.
    alone: bool,
    /// The refusal has been reported to the subscribers.
    reported: bool,
    /// When and why a confirmed subscription was lost.
    lost: Option<Loss>,
}

#[derive(Clone, Copy)]
struct Subscriber {
    member: usize,
    token: u32,
    /// It was promised messages of the name before the loss, so it is told of the gap.
    missed: bool,
}

#[derive(Clone)]
struct Loss {
    cause: GapCause,
    at: Instant,
}

/// An attached inbox.
struct Member {
    inbox: Arc<Inbox>,
    names: Vec<NameId>,
    staged: Vec<Item>,
    /// Present until every name was confirmed once.
    waiter: Option<Waiter>,
    /// Up to where gaps have been reported, so that one outage is not counted once for each name.
    gaps_told_until: Option<Instant>,
}

struct Waiter {
    unconfirmed: usize,
    done: oneshot::Sender<Attached>,
}

impl Registry {
    pub(crate) fn new(confirmation: Confirmation) -> Self {
        Self {
            confirmation,
            channels: Index::default(),
            patterns: Index::default(),
            names: Slots::default(),
            members: Slots::default(),
            touched: Vec::new(),
            unsettled: VecDeque::new(),
            resting: BTreeSet::new(),
            closed: None,
            events: None,
        }
    }

    pub(crate) fn telling(mut self, events: Arc<Events>) -> Self {
        self.events = Some(events);
        self
    }

    /// Adds an inbox. The receiver resolves once every name is confirmed, at once under [`Confirmation::Immediate`]; after a
    /// failure the inbox wants nothing any more. Either way its id is its own until it is detached. Of a name that is given
    /// twice the first token counts.
    pub(crate) fn attach(&mut self, inbox: Arc<Inbox>, names: Vec<Wanted>) -> (usize, oneshot::Receiver<Attached>) {
        let (done, attached) = oneshot::channel();
        let member = Member {
            inbox,
            names: Vec::with_capacity(names.len()),
            staged: Vec::new(),
            waiter: None,
            gaps_told_until: None,
        };
        let id = self.members.insert(member);
        if let Some(reason) = &self.closed {
            let _ = done.send(Err(SubscribeError::NotConnected { reason: reason.clone() }));
            return (id, attached);
        }
        for Wanted { name, token } in names {
            self.subscribe(id, name, token);
        }
        let unconfirmed = self.unconfirmed(id);
        if unconfirmed == 0 {
            let _ = done.send(Ok(()));
        } else if let Some(member) = self.members.get_mut(id) {
            member.waiter = Some(Waiter { unconfirmed, done });
        }
        (id, attached)
    }

    /// Removes an inbox. Its id may be used again.
    pub(crate) fn detach(&mut self, id: usize) {
        self.withdraw(id);
        self.members.remove(id);
    }

    /// Stages an item for each inbox that wants exactly this name, and tells whether there is one. Follow with
    /// [`flush`](Self::flush).
    pub(crate) fn deliver(&mut self, kind: NameKind, name: &[u8], item: impl FnMut(u32) -> Item) -> bool {
        let index = match kind {
            NameKind::Channel => &self.channels,
            NameKind::Pattern => &self.patterns,
        };
        match index.get(name) {
            Some(id) => self.stage_for(id, item),
            None => false,
        }
    }

    /// Stages an item for each inbox that wants a pattern which `matches`; returns how many patterns did. One inbox may get
    /// several items.
    pub(crate) fn deliver_matching(
        &mut self,
        mut matches: impl FnMut(&str) -> bool,
        mut item: impl FnMut(u32) -> Item,
    ) -> u64 {
        let mut matched = 0;
        for entry in self.patterns.ids().filter_map(|id| self.names.get(id)) {
            if matches(&entry.name.text) && !entry.subscribers.is_empty() {
                matched += 1;
                for subscriber in &entry.subscribers {
                    stage(&mut self.members, &mut self.touched, subscriber.member, item(subscriber.token));
                }
            }
        }
        matched
    }

    /// Hands every staged batch to its inbox, one lock a batch; returns the inboxes that ask the reader to wait.
    ///
    /// Order between two callers is kept only if each stages and flushes under the same lock of the registry.
    pub(crate) fn flush(&mut self) -> Vec<Arc<Inbox>> {
        let mut full = Vec::new();
        for id in self.touched.drain(..) {
            let Some(member) = self.members.get_mut(id) else { continue };
            if member.inbox.push(&mut member.staged) {
                full.push(Arc::clone(&member.inbox));
            }
            if let (true, Some(events)) = (member.inbox.fell_behind(), &self.events) {
                let first = member.names.first().and_then(|&name| self.names.get(name));
                let channel = first.map_or_else(String::new, |entry| entry.name.text.clone());
                events.tell(BusEvent::Lagging { channel });
            }
        }
        full
    }

    /// Ends everything: every inbox closes after what it holds, every pending and later attach fails with the first `reason`.
    pub(crate) fn close_all(&mut self, reason: &str) {
        self.closed.get_or_insert_with(|| reason.to_owned());
        self.flush();
        for member in self.members.iter_mut() {
            member.inbox.push(&mut vec![Item::Ended(reason.to_owned())]);
            member.inbox.close();
            if let Some(waiter) = member.waiter.take() {
                let _ = waiter.done.send(Err(SubscribeError::NotConnected { reason: reason.to_owned() }));
            }
        }
    }

    /// An inbox that takes no more for now, drops nothing, and would get what is published on `channel`.
    pub(crate) fn blocked(&self, channel: &str, matches: impl Fn(&str) -> bool) -> Option<Arc<Inbox>> {
        let exact = self.channels.get(channel.as_bytes());
        let entries = exact.into_iter().chain(self.patterns.ids()).filter_map(|id| self.names.get(id));
        let wanted = entries.filter(|entry| entry.name.kind == NameKind::Channel || matches(&entry.name.text));
        let inboxes = wanted.flat_map(|entry| &entry.subscribers).filter_map(|subscriber| {
            let member = self.members.get(subscriber.member)?;
            member.inbox.blocks().then_some(&member.inbox)
        });
        inboxes.into_iter().find(|inbox| inbox.is_blocked()).map(Arc::clone)
    }

    /// Whether nothing is subscribed or about to be.
    pub(crate) fn is_empty(&self) -> bool {
        self.names.len() == 0
    }

    /// The first name of an inbox that the server has not confirmed.
    pub(crate) fn first_unconfirmed(&self, id: usize) -> Option<String> {
        let member = self.members.get(id)?;
        let mut entries = member.names.iter().filter_map(|&name| self.names.get(name));
        entries.find(|entry| entry.wire != Wire::Active).map(|entry| entry.name.text.clone())
    }

    fn subscribe(&mut self, member: usize, name: Name, token: u32) {
        let id = match self.index(name.kind).get(name.text.as_bytes()) {
            Some(id) => id,
            None => self.insert(name),
        };
        let Some(entry) = self.names.get_mut(id) else { return };
        // The subscribers of one member are pushed in one go, so a repeated name can only be the last.
        if entry.subscribers.last().is_some_and(|last| last.member == member) {
            return;
        }
        entry.subscribers.push(Subscriber { member, token, missed: false });
        if let Some(member) = self.members.get_mut(member) {
            member.names.push(id);
        }
        self.wanted(id);
    }

    /// The inbox wants nothing any more.
    fn withdraw(&mut self, id: usize) {
        let Some(member) = self.members.get_mut(id) else { return };
        member.staged.clear();
        let names = std::mem::take(&mut member.names);
        self.touched.retain(|&touched| touched != id);
        for name in names {
            let Some(entry) = self.names.get_mut(name) else { continue };
            entry.subscribers.retain(|subscriber| subscriber.member != id);
            if entry.subscribers.is_empty() {
                self.unwanted(name);
            }
        }
    }

    fn insert(&mut self, name: Name) -> NameId {
        let (kind, key) = (name.kind, name.text.clone().into_bytes());
        let wire = match self.confirmation {
            Confirmation::Immediate => Wire::Active,
            Confirmation::ByServer => Wire::Absent,
        };
        let entry =
            Entry { name, subscribers: Vec::new(), wire, in_line: false, alone: false, reported: false, lost: None };
        let id = self.names.insert(entry);
        self.index(kind).insert(key, id);
        id
    }

    fn forget(&mut self, id: NameId) {
        if let Some(entry) = self.names.remove(id) {
            self.index(entry.name.kind).remove(entry.name.text.as_bytes());
        }
    }

    fn stage_for(&mut self, id: NameId, mut item: impl FnMut(u32) -> Item) -> bool {
        let Some(entry) = self.names.get(id) else { return false };
        for subscriber in &entry.subscribers {
            stage(&mut self.members, &mut self.touched, subscriber.member, item(subscriber.token));
        }
        !entry.subscribers.is_empty()
    }

    fn unconfirmed(&self, id: usize) -> usize {
        let names = self.members.get(id).map_or(&[][..], |member| &member.names);
        names.iter().filter(|&&name| self.names.get(name).is_some_and(|entry| entry.wire != Wire::Active)).count()
    }

    fn index(&mut self, kind: NameKind) -> &mut Index {
        match kind {
            NameKind::Channel => &mut self.channels,
            NameKind::Pattern => &mut self.patterns,
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Registry")
            .field("channels", &self.channels.len())
            .field("patterns", &self.patterns.len())
            .field("members", &self.members.len())
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

/// Apart from the registry's methods, so that a name's subscribers can be borrowed meanwhile.
fn stage(members: &mut Slots<Member>, touched: &mut Vec<usize>, id: usize, item: Item) {
    let Some(member) = members.get_mut(id) else { return };
    if member.staged.is_empty() {
        touched.push(id);
    }
    member.staged.push(item);
}
