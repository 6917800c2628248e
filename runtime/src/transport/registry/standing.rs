//! What the server has confirmed, and what to ask of it next.
//!
//! ```text
//!            wanted                confirmed               unwanted
//!  Absent ───────────▶ Subscribing ─────────▶ Active ─────────────────▶ Unsubscribing ──▶ Absent
//!    ▲                      │ refused                                       confirmed
//!    └────── time ─────── Resting
//! ```
//!
//! A lost connection takes every name back to `Absent`. While a command is in flight the state waits for its answer, so a name
//! that is wanted again during its UNSUBSCRIBE is subscribed after that was confirmed. A refusal decides for those only who were there
//! when the server was asked: for whoever came later it is asked anew.

use std::time::Instant;

use crate::{
    error::SubscribeError,
    transport::{
        contract::Name,
        events::BusEvent,
        inbox::Item,
        registry::attached::{Confirmation, Entry, Loss, NameId, Registry, stage},
        status::{GapCause, NameKind},
    },
};

/// Where a name stands on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Absent,
    Subscribing,
    Active,
    Unsubscribing,
    /// The server would not; tried again at that time, or when a further inbox wants the name.
    Resting(Instant),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Subscribe,
    Unsubscribe,
}

/// One (S|P)SUBSCRIBE or (S|P)UNSUBSCRIBE. Its names count as asked for once it is returned.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) verb: Verb,
    pub(crate) kind: NameKind,
    pub(crate) names: Vec<NameId>,
}

struct Due {
    verb: Verb,
    kind: NameKind,
    alone: bool,
    length: usize,
    group: u16,
}

/// How much one command may hold, so that neither side buffers without bound and a refusal costs few repetitions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CommandBounds {
    pub(crate) names: usize,
    pub(crate) bytes: usize,
    /// Only names of one group go into one command.
    pub(crate) group: fn(&Name) -> u16,
}

/// Any names go together.
pub(crate) fn one_group(_name: &Name) -> u16 {
    0
}

impl Registry {
    pub(crate) fn name(&self, id: NameId) -> Option<&Name> {
        self.names.get(id).map(|entry| &entry.name)
    }

    pub(crate) fn is_wanted(&self, id: NameId) -> bool {
        self.names.get(id).is_some_and(Entry::is_wanted)
    }

    /// The name's place, for as long as the server or an inbox knows it.
    pub(crate) fn find(&self, kind: NameKind, name: &[u8]) -> Option<NameId> {
        match kind {
            NameKind::Channel => self.channels.get(name, &self.names),
            NameKind::ShardChannel => self.shard_channels.get(name, &self.names),
            NameKind::Pattern => self.patterns.get(name, &self.names),
        }
    }

    /// What to send next, or nothing when the server was asked for all that is wanted.
    pub(crate) fn next_command(&mut self, bounds: CommandBounds) -> Option<Command> {
        let mut command: Option<Command> = None;
        let (mut bytes, mut of) = (0, 0);
        while let Some(id) = self.unsettled.pop_front() {
            let Some(Due { verb, kind, alone, length, group }) = self.due(id, bounds.group) else { continue };
            bytes += length;
            let names = match &mut command {
                None => {
                    of = group;
                    &mut command.insert(Command { verb, kind, names: Vec::new() }).names
                }
                Some(open) if (open.verb, open.kind, of) == (verb, kind, group) && !alone && bytes <= bounds.bytes => {
                    &mut open.names
                }
                Some(_) => {
                    self.line_up_first(id);
                    break;
                }
            };
            names.push(id);
            let full = alone || names.len() >= bounds.names;
            self.asked(id, verb);
            if full {
                break;
            }
        }
        command
    }

    /// The server confirmed one name of a command.
    pub(crate) fn confirmed(&mut self, verb: Verb, id: NameId, now: Instant) {
        match verb {
            Verb::Subscribe => {
                self.put_off = None;
                self.activated(id, now);
            }
            Verb::Unsubscribe => self.gone(id),
        }
    }

    /// The server refused a command with several names: each is asked for in a command of its own.
    pub(crate) fn separate(&mut self, names: &[NameId]) {
        for &id in names {
            if let Some(entry) = self.names.get_mut(id) {
                entry.alone = true;
            }
            self.gone(id);
        }
    }

    /// The server cannot subscribe names now, and says this.
    pub(crate) fn put_off(&mut self, words: String) {
        self.put_off = Some(words);
    }

    /// The server cannot subscribe a name now; it is tried again at `retry`, and at once for whoever came after it was asked.
    pub(crate) fn postponed(&mut self, id: NameId, retry: Instant) {
        let is_late = |entry: &Entry| entry.interests.iter().any(|interest| interest.late);
        if !self.is_wanted(id) || self.names.get(id).is_some_and(is_late) {
            return self.gone(id);
        }
        if let Some(entry) = self.names.get_mut(id) {
            entry.standing = Standing::Resting(retry);
            self.resting.insert((retry, id));
        }
    }

    /// The server refused a name. Attaches that waited when it was asked fail and are rolled back; inboxes that had it are told, once for each
    /// loss.
    pub(crate) fn refused(&mut self, id: NameId, error: impl Fn(&Name) -> SubscribeError, retry: Instant) {
        let Some(entry) = self.names.get_mut(id) else { return };
        let report = !std::mem::replace(&mut entry.reported, true);
        let mut failed = Vec::new();
        for interest in &entry.interests {
            let Some(listener) = self.listeners.get_mut(interest.listener) else { continue };
            // Whoever is late waits on.
            match listener.attaching.take_if(|_| !interest.late) {
                Some(attaching) => {
                    let _ = attaching.done.send(Err(error(&entry.name)));
                    failed.push(interest.listener);
                }
                None if report && listener.attaching.is_none() => {
                    stage(&mut self.listeners, &mut self.touched, interest.listener, Item::Refused(error(&entry.name)));
                }
                None => {}
            }
        }
        if let (true, Some(events)) = (report || !failed.is_empty(), &self.events) {
            let (channel, reason) = (entry.name.text.clone(), error(&entry.name).to_string());
            events.tell(BusEvent::Refused { channel, reason });
        }
        // Resting before the roll-back, so that a name that nobody is left to want is forgotten by it.
        self.postponed(id, retry);
        for listener in failed {
            self.withdraw(listener);
        }
    }

    /// The server ended one subscription without being asked; tells whether there was one. While a command for the name is on its way
    /// nothing changes: its answer comes, and decides.
    pub(crate) fn name_lost(&mut self, id: NameId, cause: &GapCause, now: Instant) -> bool {
        if self.names.get(id).is_none_or(|entry| entry.standing != Standing::Active) {
            return false;
        }
        self.lose(id, cause, now);
        self.gone(id);
        true
    }

    /// The connection is gone, and with it every subscription.
    pub(crate) fn connection_lost(&mut self, cause: &GapCause, now: Instant) {
        self.resting.clear();
        self.put_off = None;
        for id in self.names.indices() {
            self.lose(id, cause, now);
            if let Some(entry) = self.names.get_mut(id) {
                entry.alone = false;
                entry.reported = false;
            }
            self.gone(id);
        }
    }

    /// Puts the names whose rest is over back in line, and tells when the next one's is.
    pub(crate) fn rested(&mut self, now: Instant) -> Option<Instant> {
        while let Some(&(retry, id)) = self.resting.first() {
            if retry > now {
                return Some(retry);
            }
            self.resting.pop_first();
            self.gone(id);
        }
        None
    }

    pub(super) fn wanted(&mut self, id: NameId) {
        match self.names.get(id).map(|entry| entry.standing) {
            Some(Standing::Absent) => self.line_up(id),
            Some(Standing::Resting(retry)) => {
                self.resting.remove(&(retry, id));
                self.gone(id);
            }
            // An answer is due and decides about the name; or the name stands in line for its UNSUBSCRIBE, which is then not sent.
            Some(Standing::Subscribing | Standing::Unsubscribing | Standing::Active) | None => {}
        }
    }

    pub(super) fn unwanted(&mut self, id: NameId) {
        let Some(entry) = self.names.get_mut(id) else { return };
        entry.lost = None;
        match entry.standing {
            _ if self.confirmation == Confirmation::Immediate => self.forget(id),
            Standing::Resting(retry) => {
                self.resting.remove(&(retry, id));
                self.gone(id);
            }
            Standing::Active | Standing::Absent => self.line_up(id),
            Standing::Subscribing | Standing::Unsubscribing => {}
        }
    }

    /// What a name from the line needs. One that is neither wanted nor known to the server is forgotten, and only here: its id
    /// is free when nothing refers to it.
    fn due(&mut self, id: NameId, group: fn(&Name) -> u16) -> Option<Due> {
        let entry = self.names.get_mut(id)?;
        entry.in_line = false;
        let wanted = entry.is_wanted();
        let (kind, length) = (entry.name.kind, entry.name.text.len());
        let due = |verb, alone| Some(Due { verb, kind, alone, length, group: group(&entry.name) });
        match entry.standing {
            Standing::Absent if wanted => due(Verb::Subscribe, entry.alone),
            Standing::Active if !wanted => due(Verb::Unsubscribe, false),
            Standing::Absent => {
                self.forget(id);
                None
            }
            _ => None,
        }
    }

    fn asked(&mut self, id: NameId, verb: Verb) {
        let Some(entry) = self.names.get_mut(id) else { return };
        entry.standing = match verb {
            Verb::Subscribe => Standing::Subscribing,
            Verb::Unsubscribe => Standing::Unsubscribing,
        };
        entry.interests.iter_mut().for_each(|interest| interest.late = false);
    }

    fn line_up(&mut self, id: NameId) {
        if let Some(entry) = self.names.get_mut(id)
            && !std::mem::replace(&mut entry.in_line, true)
        {
            self.unsettled.push_back(id);
        }
    }

    fn line_up_first(&mut self, id: NameId) {
        if let Some(entry) = self.names.get_mut(id) {
            entry.in_line = true;
            self.unsettled.push_front(id);
        }
    }

    fn activated(&mut self, id: NameId, now: Instant) {
        let Some(entry) = self.names.get_mut(id) else { return };
        entry.standing = Standing::Active;
        entry.alone = false;
        entry.reported = false;
        let lost = entry.lost.take();
        for interest in &mut entry.interests {
            let Some(listener) = self.listeners.get_mut(interest.listener) else { continue };
            listener.count_down();
            if let (true, Some(loss)) = (std::mem::take(&mut interest.missed), &lost) {
                let gap = listener.gap(loss, now);
                stage(&mut self.listeners, &mut self.touched, interest.listener, gap);
            }
        }
        if !entry.is_wanted() {
            self.line_up(id);
        }
    }

    /// The server does not have the name: it is asked for again if an inbox wants it, and forgotten if not.
    fn gone(&mut self, id: NameId) {
        self.left(id);
        if let Some(entry) = self.names.get_mut(id) {
            entry.standing = Standing::Absent;
            self.line_up(id);
        }
    }

    /// Notes who is to be told of a gap once the name is confirmed again.
    fn lose(&mut self, id: NameId, cause: &GapCause, now: Instant) {
        let Some(entry) = self.names.get_mut(id) else { return };
        if entry.standing != Standing::Active {
            return;
        }
        for interest in &mut entry.interests {
            match self.listeners.get_mut(interest.listener).and_then(|listener| listener.attaching.as_mut()) {
                // Nothing was promised yet.
                Some(attaching) => attaching.unconfirmed += 1,
                None => interest.missed = true,
            }
        }
        entry.lost = Some(Box::new(Loss { cause: cause.clone(), at: now }));
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::sync::oneshot::Receiver;

    use crate::transport::registry::{
        attached::Attached,
        tests::{BOUNDS, cause, channel, inbox, refusal, settle, taken},
    };

    use super::*;

    const PAUSE: Duration = Duration::from_secs(5);

    fn asked(registry: &mut Registry) -> Vec<NameId> {
        registry.next_command(BOUNDS).map_or_else(Vec::new, |command| command.names)
    }

    fn is_refused(mut attached: Receiver<Attached>) -> bool {
        matches!(attached.try_recv(), Ok(Err(SubscribeError::Refused { .. })))
    }

    #[test]
    fn a_refusal_that_an_abandoned_attempt_has_left_behind_does_not_end_the_next_one() {
        let mut registry = Registry::new(Confirmation::ByServer);
        let now = Instant::now();
        let (id, first) = registry.attach(inbox(), vec![channel("a", 1), channel("b", 2)]);
        let names = asked(&mut registry);
        registry.separate(&names);
        let (a, b) = (asked(&mut registry)[0], asked(&mut registry)[0]);
        registry.refused(a, refusal, now + PAUSE);
        assert!(is_refused(first));
        registry.detach(id);
        // What was refused is allowed by now, and the refusal of the other name is still on its way.
        let (_, mut next) = registry.attach(inbox(), vec![channel("a", 1), channel("b", 2)]);
        assert_eq!(asked(&mut registry), [a]);
        registry.confirmed(Verb::Subscribe, a, now);
        registry.refused(b, refusal, now + PAUSE);
        assert!(next.try_recv().is_err(), "it is still waiting");
        assert_eq!(settle(&mut registry, now), ["Subscribe b"], "at once");
        assert!(matches!(next.try_recv(), Ok(Ok(()))));
    }

    #[test]
    fn whoever_is_late_for_a_question_has_it_asked_once_more_and_is_refused_by_its_answer() {
        let mut registry = Registry::new(Confirmation::ByServer);
        let now = Instant::now();
        let (_, early) = registry.attach(inbox(), vec![channel("a", 1)]);
        let names = asked(&mut registry);
        let (_, mut late) = registry.attach(inbox(), vec![channel("a", 1)]);
        registry.refused(names[0], refusal, now + PAUSE);
        assert!(is_refused(early) && late.try_recv().is_err());
        assert_eq!(asked(&mut registry), names);
        registry.refused(names[0], refusal, now + PAUSE);
        assert!(is_refused(late));
        assert!(settle(&mut registry, now).is_empty() && registry.is_empty());
    }

    #[test]
    fn a_confirmation_is_one_for_whoever_came_after_the_question_too() {
        let mut registry = Registry::new(Confirmation::ByServer);
        let now = Instant::now();
        let (id, _early) = registry.attach(inbox(), vec![channel("a", 1)]);
        let names = asked(&mut registry);
        registry.detach(id);
        let (_, mut late) = registry.attach(inbox(), vec![channel("a", 1)]);
        registry.confirmed(Verb::Subscribe, names[0], now);
        assert!(matches!(late.try_recv(), Ok(Ok(()))));
        assert!(settle(&mut registry, now).is_empty());
        // From then on it is asked for as everybody is: one refusal, after a loss, is told.
        registry.connection_lost(&cause(), now);
        let (_, other) = registry.attach(inbox(), vec![channel("a", 2)]);
        let names = asked(&mut registry);
        registry.refused(names[0], refusal, now + PAUSE);
        assert!(is_refused(other));
        assert!(settle(&mut registry, now).is_empty());
        assert_eq!(registry.rested(now), Some(now + PAUSE));
    }

    #[test]
    fn who_had_the_name_is_told_of_a_refusal_whoever_has_come_since() {
        let mut registry = Registry::new(Confirmation::ByServer);
        let (now, there) = (Instant::now(), inbox());
        let (_, _attached) = registry.attach(Arc::clone(&there), vec![channel("a", 1)]);
        settle(&mut registry, now);
        registry.connection_lost(&cause(), now);
        let names = asked(&mut registry);
        let (_, mut late) = registry.attach(inbox(), vec![channel("a", 1)]);
        registry.refused(names[0], refusal, now + PAUSE);
        assert_eq!(settle(&mut registry, now + PAUSE), ["Subscribe a"], "at once");
        assert!(matches!(late.try_recv(), Ok(Ok(()))));
        let _ = registry.flush();
        assert_eq!(taken(&there), ["refused a", "gap 5"]);
    }

    #[test]
    fn what_was_put_off_before_somebody_came_is_asked_for_at_once() {
        let mut registry = Registry::new(Confirmation::ByServer);
        let now = Instant::now();
        let (_, _early) = registry.attach(inbox(), vec![channel("a", 1)]);
        let names = asked(&mut registry);
        let (_, _late) = registry.attach(inbox(), vec![channel("a", 1)]);
        registry.postponed(names[0], now + PAUSE);
        assert_eq!(asked(&mut registry), names);
        registry.postponed(names[0], now + PAUSE);
        assert!(asked(&mut registry).is_empty(), "nobody has come since");
        assert_eq!(registry.rested(now + PAUSE), None);
        assert_eq!(asked(&mut registry), names);
    }
}
