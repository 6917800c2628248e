//! When leases are renewed, when those of others are looked at, and how long a reader waits.

use std::time::{Duration, Instant};

/// So long a reader waits at most: a connection that is dead is noticed by then.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// So long it is at least between two looks at the leases of others.
const SHORTEST_ROUND: Duration = Duration::from_millis(50);

/// How long a reader waits, where the next delayed task is due after so long.
pub(crate) fn wait_for(next_due: Option<Duration>) -> Duration {
    next_due.map_or(LONGEST_WAIT, |next_due| next_due.min(LONGEST_WAIT))
}

/// How long the lease of a task is renewed whose handler began then: until one lease after its timeout. A handler that has not given way by
/// then loses its task. `None` where the handler may take as long as it wants.
pub(crate) fn renewed_until(began: Instant, timeout: Option<Duration>, lease: Duration) -> Option<Instant> {
    began.checked_add(timeout?.saturating_add(lease))
}

/// The rounds of what keeps the leases of one queue.
#[derive(Debug)]
pub(crate) struct Rounds {
    lease: Duration,
    /// When the leases are renewed next, and the heartbeat is given.
    renew: Instant,
    /// When it is looked next whether leases of others are over.
    look: Instant,
    /// When they were renewed last.
    renewed: Instant,
    /// Until then nothing is reclaimed.
    grace: Instant,
}

impl Rounds {
    /// Of an instance that has just connected. Its heartbeat is due at once.
    pub(crate) fn new(lease: Duration, now: Instant) -> Self {
        Self { lease, renew: now, look: now + lease, renewed: now, grace: now + lease }
    }

    /// It has connected again: the leases of others may be over only because nobody could renew them, so nothing is reclaimed for one lease. Its own
    /// are renewed at once.
    pub(crate) fn connected(&mut self, now: Instant) {
        self.renew = now;
        self.be_patient(now);
    }

    /// When there is something to do.
    pub(crate) fn next(&self) -> Instant {
        self.renew.min(self.look)
    }

    pub(crate) fn is_time_to_renew(&self, now: Instant) -> bool {
        now >= self.renew
    }

    /// The leases were renewed, asked for at this time and answered at that one. After a pause in which a lease may have ended, of the server or of this
    /// process, the others had it too: some of them may have renewed theirs up to a third of it earlier.
    pub(crate) fn renewed(&mut self, asked: Instant, answered: Instant) {
        if answered.saturating_duration_since(self.renewed) > self.lease / 3 * 2 {
            self.be_patient(answered);
        }
        self.renewed = answered;
        self.renew = asked + self.lease / 3;
    }

    /// They could not be renewed; it is tried again before long.
    pub(crate) fn not_renewed(&mut self, now: Instant) {
        self.renew = now + (self.lease / 12).clamp(SHORTEST_ROUND, Duration::from_secs(1));
    }

    pub(crate) fn is_time_to_look(&self, now: Instant) -> bool {
        now >= self.look && self.may_reclaim(now)
    }

    /// Whether tasks of others may be taken from them.
    pub(crate) fn may_reclaim(&self, now: Instant) -> bool {
        now >= self.grace
    }

    /// For how long others could renew their leases, as far as this instance knows: a lease, or longer, where tasks of others may be taken from them.
    pub(crate) fn patience(&self, now: Instant) -> Duration {
        (now + self.lease).saturating_duration_since(self.grace)
    }

    /// Whether the server, or this process, stood still between this question after the leases of others and its answer: then the others could not renew
    /// them either, and may not have had their turn yet.
    pub(crate) fn stood_still(&mut self, asked: Instant, answered: Instant) -> bool {
        let stood_still = answered.saturating_duration_since(asked) > self.lease / 3;
        if stood_still {
            self.be_patient(answered);
        }
        stood_still
    }

    /// It was looked, and the next lease of those that are held now can be over after so long. One that is taken from now on is not over before a
    /// whole lease.
    pub(crate) fn looked(&mut self, now: Instant, next: Option<Duration>) {
        let next = next.unwrap_or(self.lease).clamp(SHORTEST_ROUND.min(self.lease), self.lease);
        self.look = (now + next).max(self.grace);
    }

    /// It could not be looked.
    pub(crate) fn not_looked(&mut self, now: Instant) {
        self.look = (now + Duration::from_secs(1).min(self.lease)).max(self.grace);
    }

    fn be_patient(&mut self, now: Instant) {
        self.grace = now + self.lease;
        self.look = self.look.max(self.grace);
    }
}

/// The server's time of day, as far as this process knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerTime {
    /// In milliseconds.
    at: u64,
    /// When it was that, by this machine's clock.
    read: Instant,
}

impl ServerTime {
    pub(crate) fn new(at: u64, read: Instant) -> Self {
        Self { at, read }
    }

    pub(crate) fn at(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.read).as_millis();
        self.at.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }
}
