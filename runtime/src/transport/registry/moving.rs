//! Names that an inbox gives up on one connection, and takes up on another.
//!
//! The inbox stays attached all the while. It gets nothing more from here once a name is given up, and from there nothing before it was told of
//! the gap: so no message comes twice, and those of a name come in order.

use std::{sync::Arc, time::Instant};

use crate::transport::{
    contract::{Name, Wanted},
    inbox::Inbox,
    registry::{
        attached::{Loss, Registry, stage},
        standing::Standing,
    },
    status::GapCause,
};

impl Registry {
    /// Takes a name from an inbox. If it was promised messages of the name and misses some, since when and why; nothing if it misses none yet.
    /// An attach does not wait for the name any more.
    pub(crate) fn give_up(&mut self, id: usize, name: &Name) -> Option<Loss> {
        let place = self.find(name.kind, name.text.as_bytes())?;
        let entry = self.names.get_mut(place)?;
        let own = entry.interests.iter().position(|interest| interest.listener == id)?;
        let missed = entry.interests.remove(own).missed;
        let loss = entry.lost.clone().filter(|_| missed);
        let is_wanted = entry.is_wanted();
        if let Some(listener) = self.listeners.get_mut(id) {
            listener.names.retain(|&name| name != place);
            if entry.standing != Standing::Active {
                listener.count_down();
            }
        }
        if !is_wanted {
            self.unwanted(place);
        }
        loss
    }

    /// Adds an inbox that was promised messages of its names before, on another connection. It is told of the gap as soon as a name is
    /// confirmed here; at once where one is already. Follow with [`flush`](Self::flush).
    pub(crate) fn take_up(&mut self, inbox: Arc<Inbox>, names: Vec<(Wanted, Loss)>, now: Instant) -> usize {
        let id = self.listen(inbox, names.len());
        if self.closed.is_some() {
            return id;
        }
        for (Wanted { name, token }, loss) in names {
            let key = (name.kind, name.text.clone());
            self.subscribe(id, name, token);
            let Some(place) = self.find(key.0, key.1.as_bytes()) else { continue };
            let Some(entry) = self.names.get_mut(place) else { continue };
            if entry.standing == Standing::Active {
                if let Some(listener) = self.listeners.get_mut(id) {
                    let gap = listener.gap(&loss, now);
                    stage(&mut self.listeners, &mut self.touched, id, gap);
                }
                continue;
            }
            let own = entry.interests.iter_mut().filter(|interest| interest.listener == id);
            own.for_each(|interest| interest.missed = true);
            // One loss is kept for all who want the name: that which began first.
            if entry.lost.as_ref().is_none_or(|lost| loss.at < lost.at) {
                entry.lost = Some(loss);
            }
        }
        id
    }

    /// Removes an inbox that stays attached elsewhere.
    pub(crate) fn release(&mut self, id: usize) -> Option<Arc<Inbox>> {
        self.withdraw(id);
        self.listeners.remove(id).map(|listener| listener.inbox)
    }

    /// The server does not have a name after all, as an answer to another question has shown; tells whether anybody had thought so.
    pub(crate) fn found_missing(&mut self, name: &Name, now: Instant) -> bool {
        let place = self.find(name.kind, name.text.as_bytes());
        place.is_some_and(|place| self.name_lost(place, &GapCause::SlotMoved, now))
    }

    /// The names of a kind that the server has confirmed, and somebody wants.
    pub(crate) fn confirmed_names(&self, kind: crate::transport::status::NameKind) -> Vec<Name> {
        let has = |entry: &&super::attached::Entry| {
            entry.name.kind == kind && entry.standing == Standing::Active && entry.is_wanted()
        };
        self.names.iter().filter(has).map(|entry| entry.name.clone()).collect()
    }
}
