//! Names that an inbox gives up on one connection, and takes up on another.
//!
//! The inbox stays attached all the while. It gets nothing more from here once a name is given up, and from there nothing before it was told of
//! the gap: so no message comes twice, and those of a name come in order.

use std::{sync::Arc, time::Instant};

use crate::transport::{
    contract::{Name, Wanted},
    inbox::Inbox,
    registry::{
        attached::{Entry, Loss, Registry, stage},
        standing::Standing,
    },
    status::{GapCause, NameKind},
};

impl Registry {
    /// Takes a name from an inbox. If it was promised messages of the name and misses some, since when and why; nothing if it misses none yet.
    /// An attach does not wait for the name any more.
    pub(crate) fn give_up(&mut self, id: usize, name: &Name) -> Option<Loss> {
        let place = self.find(name.kind, name.text.as_bytes())?;
        let entry = self.names.get_mut(place)?;
        let own = entry.interests.iter().position(|interest| interest.listener == id)?;
        let missed = entry.interests.remove(own).missed;
        let loss = entry.lost.as_deref().filter(|_| missed).cloned();
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

    /// Whether the server has confirmed the name, and nothing of it is missed.
    pub(crate) fn is_live(&self, name: &Name) -> bool {
        let entry = self.find(name.kind, name.text.as_bytes()).and_then(|place| self.names.get(place));
        entry.is_some_and(|entry| entry.standing == Standing::Active)
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
                entry.lost = Some(Box::new(loss));
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
    pub(crate) fn confirmed_names(&self, kind: NameKind) -> Vec<Name> {
        let has = |entry: &&Entry| entry.name.kind == kind && entry.standing == Standing::Active && entry.is_wanted();
        self.names.iter().filter(has).map(|entry| entry.name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::transport::registry::{
        attached::Confirmation,
        tests::{cause, channel, frame, inbox, refusal, settle, taken},
    };

    use super::*;

    fn loss(at: Instant) -> Loss {
        Loss { cause: GapCause::SlotMoved, at }
    }

    fn name(text: &str) -> Name {
        channel(text, 0).name
    }

    fn seconds(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_name_that_moves_is_told_of_once_it_is_confirmed_and_nothing_comes_from_where_it_was() {
        let (mut old, mut new) = (Registry::new(Confirmation::ByServer), Registry::new(Confirmation::ByServer));
        let (start, inbox) = (Instant::now(), inbox());
        let (id, _) = old.attach(Arc::clone(&inbox), vec![channel("a", 1), channel("b", 2)]);
        settle(&mut old, start);
        assert!(old.deliver(NameKind::Channel, b"a", frame));
        let _ = old.flush();
        assert!(old.give_up(id, &name("a")).is_none(), "it has missed nothing yet");
        assert!(!old.deliver(NameKind::Channel, b"a", frame));
        assert!(old.deliver(NameKind::Channel, b"b", frame));
        let _ = old.flush();
        assert_eq!(settle(&mut old, start), ["Unsubscribe a"]);

        let part = new.take_up(Arc::clone(&inbox), vec![(channel("a", 1), loss(start))], start);
        assert_eq!(settle(&mut new, seconds(start, 2)), ["Subscribe a"]);
        assert!(new.deliver(NameKind::Channel, b"a", frame));
        let _ = new.flush();
        assert_eq!(taken(&inbox), ["frame 1", "frame 2", "gap 2", "frame 1"]);
        // It stays attached where it is still.
        new.release(part);
        assert_eq!(settle(&mut new, start), ["Unsubscribe a"]);
        assert!(old.deliver(NameKind::Channel, b"b", frame));
        let _ = old.flush();
        assert_eq!(taken(&inbox), ["frame 2"]);
        old.release(id);
        assert_eq!(settle(&mut old, start), ["Unsubscribe b"]);
        assert!(old.is_empty());
    }

    #[test]
    fn a_name_is_live_from_when_it_is_confirmed_until_it_is_lost() {
        let mut registry = Registry::new(Confirmation::ByServer);
        let start = Instant::now();
        assert!(!registry.is_live(&name("a")));
        let (_, _attached) = registry.attach(inbox(), vec![channel("a", 1)]);
        assert!(!registry.is_live(&name("a")));
        settle(&mut registry, start);
        assert!(registry.is_live(&name("a")) && !registry.is_live(&name("b")));
        registry.connection_lost(&cause(), start);
        assert!(!registry.is_live(&name("a")));
    }

    #[test]
    fn of_several_losses_of_a_name_that_which_began_first_is_told() {
        let mut registry = Registry::new(Confirmation::ByServer);
        let start = Instant::now();
        let lost = |cause, at| Loss { cause, at: seconds(start, at) };
        let losses = [(GapCause::Timeout, 2), (GapCause::SlotMoved, 1), (cause(), 1), (GapCause::Timeout, 3)];
        for (cause, at) in losses {
            registry.take_up(inbox(), vec![(channel("a", 1), lost(cause, at))], start);
        }
        let last = registry.take_up(inbox(), vec![(channel("a", 1), lost(cause(), 4))], start);
        let told = registry.give_up(last, &name("a")).unwrap();
        assert_eq!((told.cause, told.at), (GapCause::SlotMoved, seconds(start, 1)));
    }

    #[test]
    fn a_name_that_was_lost_before_it_moves_keeps_its_loss() {
        let (mut old, mut new) = (Registry::new(Confirmation::ByServer), Registry::new(Confirmation::ByServer));
        let (start, inbox) = (Instant::now(), inbox());
        let (id, _) = old.attach(Arc::clone(&inbox), vec![channel("a", 1)]);
        settle(&mut old, start);
        old.connection_lost(&cause(), start);
        let loss = old.give_up(id, &name("a")).unwrap();
        assert_eq!((&loss.cause, loss.at), (&cause(), start));
        old.release(id);
        assert!(settle(&mut old, start).is_empty() && old.is_empty());
        let part = new.take_up(Arc::clone(&inbox), vec![(channel("a", 1), loss)], start);
        // And once more, before it was confirmed.
        let loss = new.give_up(part, &name("a")).unwrap();
        assert_eq!(loss.at, start);
        old.take_up(Arc::clone(&inbox), vec![(channel("a", 1), loss)], seconds(start, 1));
        settle(&mut old, seconds(start, 3));
        let _ = old.flush();
        assert_eq!(taken(&inbox), ["gap 3"]);
    }

    #[test]
    fn where_a_name_is_confirmed_already_the_gap_is_told_at_once_and_only_to_who_came() {
        let mut registry = Registry::new(Confirmation::ByServer);
        let (start, there, comes) = (Instant::now(), inbox(), inbox());
        let (_, _attached) = registry.attach(Arc::clone(&there), vec![channel("a", 1)]);
        settle(&mut registry, start);
        registry.take_up(Arc::clone(&comes), vec![(channel("a", 2), loss(start))], seconds(start, 1));
        registry.deliver(NameKind::Channel, b"a", frame);
        let _ = registry.flush();
        assert_eq!(
            (taken(&there), taken(&comes)),
            (vec!["frame 1".to_owned()], vec!["gap 1".to_owned(), "frame 2".to_owned()])
        );
        // Nor is somebody told who begins to want what comes.
        registry.take_up(Arc::clone(&comes), vec![(channel("b", 2), loss(start))], start);
        let (_, _attached) = registry.attach(Arc::clone(&there), vec![channel("b", 1)]);
        settle(&mut registry, seconds(start, 5));
        let _ = registry.flush();
        assert_eq!((taken(&there), taken(&comes)), (vec![], vec!["gap 5".to_owned()]));
    }

    #[test]
    fn an_attach_does_not_wait_for_a_name_that_was_given_up() {
        let mut registry = Registry::new(Confirmation::ByServer);
        let start = Instant::now();
        let (id, mut attached) = registry.attach(inbox(), vec![channel("a", 1), channel("b", 2)]);
        assert!(registry.give_up(id, &name("a")).is_none());
        assert!(attached.try_recv().is_err());
        assert_eq!(settle(&mut registry, start), ["Subscribe b"]);
        assert!(matches!(attached.try_recv(), Ok(Ok(()))));
        assert!(registry.give_up(id, &name("a")).is_none(), "it is not there twice");
    }

    #[test]
    fn who_takes_up_a_name_that_is_refused_is_told_and_keeps_it() {
        let mut registry = Registry::new(Confirmation::ByServer);
        let (start, inbox) = (Instant::now(), inbox());
        registry.take_up(Arc::clone(&inbox), vec![(channel("a", 1), loss(start))], start);
        let command = registry.next_command(crate::transport::registry::tests::BOUNDS).unwrap();
        registry.refused(command.names[0], refusal, seconds(start, 1));
        registry.rested(seconds(start, 1));
        settle(&mut registry, seconds(start, 2));
        let _ = registry.flush();
        assert_eq!(taken(&inbox), ["refused a", "gap 2"]);
    }

    #[test]
    fn a_name_that_is_found_missing_is_subscribed_anew() {
        let mut registry = Registry::new(Confirmation::ByServer);
        let (start, inbox) = (Instant::now(), inbox());
        let (_, _attached) = registry.attach(Arc::clone(&inbox), vec![channel("a", 1), channel("b", 1)]);
        assert!(!registry.found_missing(&name("a"), start), "nobody had thought so");
        settle(&mut registry, start);
        assert_eq!(registry.confirmed_names(NameKind::Channel), [name("a"), name("b")]);
        assert!(registry.found_missing(&name("a"), start));
        assert_eq!(registry.confirmed_names(NameKind::Channel), [name("b")]);
        assert_eq!(settle(&mut registry, seconds(start, 1)), ["Subscribe a"]);
        let _ = registry.flush();
        assert_eq!(taken(&inbox), ["gap 1"]);
    }
}
