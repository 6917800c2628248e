//! The names of a connection, and the inboxes that want them.

use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
    sync::Arc,
    time::Instant,
};

use smallvec::SmallVec;
use tokio::sync::oneshot;

use crate::{
    error::SubscribeError,
    transport::{
        contract::{Name, Reach, Wanted},
        events::{BusEvent, Events},
        inbox::{Inbox, Item, Wishes},
        registry::{
            names::{Arena, Index, Named},
            standing::Standing,
        },
        status::{Gap, GapCause, NameKind},
    },
};

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

/// Knows which inboxes want which names, and how each name stands with the server.
pub(crate) struct Registry {
    pub(super) confirmation: Confirmation,
    pub(super) channels: Index,
    pub(super) shard_channels: Index,
    pub(super) patterns: Index,
    pub(super) names: Arena<Entry>,
    pub(super) listeners: Arena<Listener>,
    /// Members with staged items, in the order in which they got their first.
    pub(super) touched: Vec<usize>,
    /// The name of the last message: that of the next one is often the same.
    pub(super) last: Option<NameId>,
    /// Names that may stand otherwise than is wanted.
    pub(super) unsettled: VecDeque<NameId>,
    /// Names that the server would not subscribe, and when each is tried again.
    pub(super) resting: BTreeSet<(Instant, NameId)>,
    /// What the server said when it would not, until it does.
    pub(super) put_off: Option<String>,
    pub(super) closed: Option<String>,
    /// Told of refusals, and of inboxes that fall behind.
    pub(super) events: Option<Arc<Events>>,
}

/// A name, and who wants it.
pub(super) struct Entry {
    pub(super) name: Name,
    /// Mostly one, which is then here.
    pub(super) interests: SmallVec<[Interest; 1]>,
    pub(super) standing: Standing,
    pub(super) in_line: bool,
    /// To be asked for in a command of its own, because a command with several names was refused.
    pub(super) alone: bool,
    /// The refusal has been reported to the interests.
    pub(super) reported: bool,
    /// When and why a confirmed subscription was lost.
    pub(super) lost: Option<Box<Loss>>,
}

#[derive(Clone, Copy)]
pub(super) struct Interest {
    pub(super) listener: usize,
    pub(super) token: u32,
    /// It was promised messages of the name before the loss, so it is told of the gap.
    pub(super) missed: bool,
    /// It takes what still comes until the server has confirmed that nothing more will.
    pub(super) leaving: bool,
    /// It came after the server was asked for the name: a refusal answers those who were there, and may be older than what allows it by now.
    pub(super) late: bool,
}

/// Since when, and why, messages of a name are missed.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    pub(crate) cause: GapCause,
    pub(crate) at: Instant,
}

/// An attached inbox.
pub(super) struct Listener {
    pub(super) inbox: Arc<Inbox>,
    pub(super) names: Vec<NameId>,
    pub(super) staged: Vec<Item>,
    /// Present until every name was confirmed once.
    pub(super) attaching: Option<Attaching>,
    /// Up to where gaps have been reported, so that one outage is not counted once for each name.
    pub(super) gaps_told_until: Option<Instant>,
    /// Told by being dropped that nothing more comes for an inbox that leaves.
    pub(super) leaving: Option<oneshot::Sender<()>>,
}

impl Named for Entry {
    fn name(&self) -> &[u8] {
        self.name.text.as_bytes()
    }
}

impl Entry {
    /// Whether an inbox wants it that does not leave.
    pub(super) fn is_wanted(&self) -> bool {
        self.interests.iter().any(|interest| !interest.leaving)
    }
}

pub(super) struct Attaching {
    pub(super) unconfirmed: usize,
    pub(super) done: oneshot::Sender<Attached>,
}

impl Listener {
    /// One name less to wait for.
    pub(super) fn count_down(&mut self) {
        let Some(attaching) = &mut self.attaching else { return };
        attaching.unconfirmed = attaching.unconfirmed.saturating_sub(1);
        if attaching.unconfirmed == 0
            && let Some(Attaching { done, .. }) = self.attaching.take()
        {
            let _ = done.send(Ok(()));
        }
    }

    /// The gap that ends now, as far as it was not told of.
    pub(super) fn gap(&mut self, loss: &Loss, now: Instant) -> Item {
        let from = self.gaps_told_until.map_or(loss.at, |told| told.max(loss.at));
        self.gaps_told_until = Some(now);
        Item::Gap(Gap { cause: loss.cause.clone(), lasted: now.saturating_duration_since(from) })
    }
}

impl Registry {
    pub(crate) fn new(confirmation: Confirmation) -> Self {
        Self {
            confirmation,
            channels: Index::default(),
            shard_channels: Index::default(),
            patterns: Index::default(),
            names: Arena::default(),
            listeners: Arena::default(),
            touched: Vec::new(),
            last: None,
            unsettled: VecDeque::new(),
            resting: BTreeSet::new(),
            put_off: None,
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
        let id = self.listen(inbox, names.len());
        if let Some(reason) = &self.closed {
            let _ = done.send(Err(SubscribeError::Closed { reason: reason.clone() }));
            return (id, attached);
        }
        for Wanted { name, token } in names {
            self.subscribe(id, name, token);
        }
        let unconfirmed = self.unconfirmed(id);
        if unconfirmed == 0 {
            let _ = done.send(Ok(()));
        } else if let Some(listener) = self.listeners.get_mut(id) {
            listener.attaching = Some(Attaching { unconfirmed, done });
        }
        (id, attached)
    }

    /// Removes an inbox, for which nobody waits any more. Its id may be used again.
    pub(crate) fn detach(&mut self, id: usize) {
        if let Some(inbox) = self.release(id) {
            inbox.detached();
        }
    }

    /// Ends an inbox's interest in all of its names, but hands it what comes until the server has confirmed that. The receiver ends then.
    /// Names that others want too are left at once. Follow with [`detach`](Self::detach).
    pub(crate) fn leave(&mut self, id: usize) -> oneshot::Receiver<()> {
        let (left, leaving) = oneshot::channel();
        let Some(listener) = self.listeners.get_mut(id) else { return leaving };
        let names = std::mem::take(&mut listener.names);
        let mut awaited = Vec::new();
        for name in names {
            let Some(entry) = self.names.get_mut(name) else { continue };
            let own = entry.interests.iter_mut().filter(|interest| interest.listener == id);
            own.for_each(|interest| interest.leaving = true);
            if entry.is_wanted() || entry.standing == Standing::Absent {
                entry.interests.retain(|interest| interest.listener != id);
            }
            if !entry.is_wanted() {
                self.unwanted(name);
            }
            // What the server does not have, or is not asked for, needs no confirmation.
            let is_left = |entry: &Entry| entry.interests.iter().all(|interest| interest.listener != id);
            if !self.names.get(name).is_none_or(is_left) {
                awaited.push(name);
            }
        }
        if let Some(listener) = self.listeners.get_mut(id) {
            listener.leaving = Some(left).filter(|_| !awaited.is_empty());
            listener.names = awaited;
        }
        leaving
    }

    /// The server sends nothing more of a name to those who leave it.
    pub(super) fn left(&mut self, id: NameId) {
        let Some(entry) = self.names.get_mut(id) else { return };
        for interest in entry.interests.iter().filter(|interest| interest.leaving) {
            let Some(listener) = self.listeners.get_mut(interest.listener) else { continue };
            listener.names.retain(|&name| name != id);
            if listener.names.is_empty() {
                listener.leaving = None;
            }
        }
        entry.interests.retain(|interest| !interest.leaving);
    }

    /// Stages an item for each inbox that wants exactly this name, and tells whether there is one. Follow with
    /// [`flush`](Self::flush).
    pub(crate) fn deliver(&mut self, kind: NameKind, name: &[u8], item: impl FnMut(u32) -> Item) -> bool {
        let is_last = |&id: &NameId| {
            self.names.get(id).is_some_and(|entry| entry.name.kind == kind && entry.name.text.as_bytes() == name)
        };
        let found = self.last.filter(is_last).or_else(|| self.find(kind, name));
        self.last = found;
        found.is_some_and(|id| self.stage_for(id, item))
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
            if matches(&entry.name.text) && !entry.interests.is_empty() {
                matched += 1;
                for interest in &entry.interests {
                    stage(&mut self.listeners, &mut self.touched, interest.listener, item(interest.token));
                }
            }
        }
        matched
    }

    /// Hands every staged batch to its inbox, one lock a batch; returns what the inboxes ask of the reader.
    ///
    /// Order between two callers is kept only if each stages and flushes under the same lock of the registry.
    pub(crate) fn flush(&mut self) -> Wishes {
        let mut wishes = Wishes::default();
        for id in self.touched.drain(..) {
            let Some(listener) = self.listeners.get_mut(id) else { continue };
            wishes.push(&listener.inbox, &mut listener.staged);
            if let (true, Some(events)) = (listener.inbox.fell_behind(), &self.events) {
                let first = listener.names.first().and_then(|&name| self.names.get(name));
                let channel = first.map_or_else(String::new, |entry| entry.name.text.clone());
                events.tell(BusEvent::Lagging { channel });
            }
        }
        wishes
    }

    /// Ends everything: every inbox closes after what it holds, every pending and later attach fails with the first `reason`.
    pub(crate) fn close_all(&mut self, reason: &str) {
        self.closed.get_or_insert_with(|| reason.to_owned());
        // Every delivery has flushed what it staged: what is left is news, for which nobody asks for anything.
        let _ = self.flush();
        for listener in self.listeners.iter_mut() {
            listener.inbox.push(&mut vec![Item::Ended(reason.to_owned())]);
            listener.inbox.close();
            listener.leaving = None;
            if let Some(attaching) = listener.attaching.take() {
                let _ = attaching.done.send(Err(SubscribeError::Closed { reason: reason.to_owned() }));
            }
        }
    }

    /// An inbox that takes no more for now, drops nothing, and would get what is published on `channel`.
    pub(crate) fn blocked(&self, reach: Reach, channel: &str, matches: impl Fn(&str) -> bool) -> Option<Arc<Inbox>> {
        let (kind, patterns) = match reach {
            Reach::Channel | Reach::ShardChannelFirst => (NameKind::Channel, Some(&self.patterns)),
            Reach::ShardChannel => (NameKind::ShardChannel, None),
        };
        let exact = self.find(kind, channel.as_bytes());
        let patterns = patterns.into_iter().flat_map(Index::ids);
        let entries = exact.into_iter().chain(patterns).filter_map(|id| self.names.get(id));
        let wanted = entries.filter(|entry| entry.name.kind == kind || matches(&entry.name.text));
        let inboxes = wanted.flat_map(|entry| &entry.interests).filter_map(|interest| {
            let listener = self.listeners.get(interest.listener)?;
            listener.inbox.blocks().then_some(&listener.inbox)
        });
        inboxes.into_iter().find(|inbox| inbox.is_blocked()).map(Arc::clone)
    }

    /// Whether nothing is subscribed or about to be.
    pub(crate) fn is_empty(&self) -> bool {
        self.names.len() == 0
    }

    /// The first name of an inbox that the server has not confirmed, and what it says if it will not for now.
    pub(crate) fn first_unconfirmed(&self, id: usize) -> Option<(String, Option<String>)> {
        let listener = self.listeners.get(id)?;
        let mut entries = listener.names.iter().filter_map(|&name| self.names.get(name));
        let entry = entries.find(|entry| entry.standing != Standing::Active)?;
        Some((entry.name.text.clone(), self.put_off.clone()))
    }

    /// An inbox that wants nothing yet.
    pub(super) fn listen(&mut self, inbox: Arc<Inbox>, names: usize) -> usize {
        self.listeners.insert(Listener {
            inbox,
            names: Vec::with_capacity(names),
            staged: Vec::new(),
            attaching: None,
            gaps_told_until: None,
            leaving: None,
        })
    }

    pub(super) fn subscribe(&mut self, listener: usize, name: Name, token: u32) {
        let id = match self.find(name.kind, name.text.as_bytes()) {
            Some(id) => id,
            None => self.insert(name),
        };
        let Some(entry) = self.names.get_mut(id) else { return };
        // The interests of one listener are pushed in one go, so a repeated name can only be the last.
        if entry.interests.last().is_some_and(|last| last.listener == listener) {
            return;
        }
        let late = entry.standing == Standing::Subscribing;
        entry.interests.push(Interest { listener, token, missed: false, leaving: false, late });
        if let Some(listener) = self.listeners.get_mut(listener) {
            listener.names.push(id);
        }
        // It stays subscribed for the new one, and whoever was about to leave it is left now.
        if entry.standing == Standing::Active {
            self.left(id);
        }
        self.wanted(id);
    }

    /// The inbox wants nothing any more.
    pub(super) fn withdraw(&mut self, id: usize) {
        let Some(listener) = self.listeners.get_mut(id) else { return };
        listener.staged.clear();
        let names = std::mem::take(&mut listener.names);
        self.touched.retain(|&touched| touched != id);
        for name in names {
            let Some(entry) = self.names.get_mut(name) else { continue };
            entry.interests.retain(|interest| interest.listener != id);
            if !entry.is_wanted() {
                self.unwanted(name);
            }
        }
    }

    pub(super) fn insert(&mut self, name: Name) -> NameId {
        let (kind, text) = (name.kind, name.text.clone());
        let standing = match self.confirmation {
            Confirmation::Immediate => Standing::Active,
            Confirmation::ByServer => Standing::Absent,
        };
        let entry = Entry {
            name,
            interests: SmallVec::new(),
            standing,
            in_line: false,
            alone: false,
            reported: false,
            lost: None,
        };
        let id = self.names.insert(entry);
        self.index(kind).insert(text.as_bytes(), id);
        id
    }

    pub(super) fn forget(&mut self, id: NameId) {
        if let Some(entry) = self.names.remove(id) {
            self.index(entry.name.kind).remove(entry.name(), id);
        }
    }

    pub(super) fn stage_for(&mut self, id: NameId, mut item: impl FnMut(u32) -> Item) -> bool {
        let Some(entry) = self.names.get(id) else { return false };
        for interest in &entry.interests {
            stage(&mut self.listeners, &mut self.touched, interest.listener, item(interest.token));
        }
        !entry.interests.is_empty()
    }

    fn unconfirmed(&self, id: usize) -> usize {
        let names = self.listeners.get(id).map_or(&[][..], |listener| &listener.names);
        names
            .iter()
            .filter(|&&name| self.names.get(name).is_some_and(|entry| entry.standing != Standing::Active))
            .count()
    }

    fn index(&mut self, kind: NameKind) -> &mut Index {
        match kind {
            NameKind::Channel => &mut self.channels,
            NameKind::ShardChannel => &mut self.shard_channels,
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
            .field("listeners", &self.listeners.len())
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

/// Apart from the registry's methods, so that a name's interests can be borrowed meanwhile.
pub(super) fn stage(listeners: &mut Arena<Listener>, touched: &mut Vec<usize>, id: usize, item: Item) {
    let Some(listener) = listeners.get_mut(id) else { return };
    if listener.staged.is_empty() {
        touched.push(id);
    }
    listener.staged.push(item);
}
