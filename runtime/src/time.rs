//! The clocks, points in time that cannot overflow, and the time that a call inherits from its requester.

#[cfg(test)]
use std::sync::atomic::{AtomicI64, Ordering};
use std::{
    cell::RefCell,
    fmt,
    sync::{Arc, LazyLock, OnceLock},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use time::OffsetDateTime;

/// A year: whoever says `Duration::MAX` means "never", and a point in time must not overflow.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The clock of timers. A test that pauses tokio's time pauses this too.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// When a message arrived, in eight bytes, since every one that waits has it: nanoseconds, from an hour before the first one was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival(u64);

static ORIGIN: LazyLock<Instant> = LazyLock::new(|| {
    let now = Instant::now();
    now.checked_sub(Duration::from_secs(60 * 60)).unwrap_or(now)
});

impl Arrival {
    /// Of what has not arrived: later than all others.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    pub(crate) fn of(at: Instant) -> Self {
        // Centuries fit; the standard library would multiply 128 bits.
        let since = at.saturating_duration_since(*ORIGIN);
        Self(since.as_secs().saturating_mul(1_000_000_000).saturating_add(since.subsec_nanos().into()))
    }

    pub(crate) fn instant(self) -> Instant {
        *ORIGIN + Duration::from_nanos(self.0)
    }

    pub(crate) const fn nanos(self) -> u64 {
        self.0
    }

    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }
}

impl From<Instant> for Arrival {
    fn from(at: Instant) -> Self {
        Self::of(at)
    }
}

/// So long from now, a year at most.
pub(crate) fn deadline_after(time: Duration) -> tokio::time::Instant {
    tokio::time::Instant::now() + time.min(LONGEST)
}

/// The time of day, in milliseconds since the Unix epoch.
pub(crate) fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    #[cfg(test)]
    let millis = millis.saturating_add_signed(STEPPED.load(Ordering::Relaxed));
    millis
}

/// Shows a point in time as people and logs write it, in UTC and to the millisecond: `2026-11-26T14:15:06.007Z`.
pub(crate) struct TimeOfDay(pub(crate) SystemTime);

impl fmt::Debug for TimeOfDay {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).ok().and_then(|since| i128::try_from(since.as_nanos()).ok());
        let Some(time) = since.and_then(|nanos| OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()) else {
            return self.0.fmt(formatter); // before 1970, or after the year 9999
        };
        let (date, millis) = (time.date(), time.millisecond());
        write!(formatter, "{date}T{:02}:{:02}:{:02}.{millis:03}Z", time.hour(), time.minute(), time.second())
    }
}

/// How far a test has set the clock of this machine, in milliseconds.
#[cfg(test)]
static STEPPED: AtomicI64 = AtomicI64::new(0);

/// Held by the test that sets the clock.
#[cfg(test)]
pub(crate) static STEPS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Sets the clock of this machine forwards or back, for the time of day alone, as an administrator or NTP does.
#[cfg(test)]
pub(crate) fn step(millis: i64) {
    STEPPED.fetch_add(millis, Ordering::Relaxed);
}

thread_local! {
    /// When the requester of the call that is polled now stops waiting, once that is known.
    static ENDS: RefCell<Option<Arc<OnceLock<Instant>>>> = const { RefCell::new(None) };
}

/// Polls a call whose requester stops waiting at a point in time that becomes known meanwhile. What the call asks of others inherits it.
pub(crate) fn within<T>(ends: &Arc<OnceLock<Instant>>, poll: impl FnOnce() -> T) -> T {
    struct Restores(Option<Arc<OnceLock<Instant>>>);
    impl Drop for Restores {
        fn drop(&mut self) {
            ENDS.set(self.0.take());
        }
    }
    let _restores = Restores(ENDS.replace(Some(Arc::clone(ends))));
    poll()
}

/// When the requester of the call stops waiting that is polled now, if there is one and it does.
pub(crate) fn inherited() -> Option<Instant> {
    ENDS.with_borrow(|ends| ends.as_ref()?.get().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_call_decides_whose_time_is_inherited_also_after_a_panic() {
        let (outer, inner) = (Arc::<OnceLock<Instant>>::default(), Arc::<OnceLock<Instant>>::default());
        let end = Instant::now();
        assert_eq!(inherited(), None);
        within(&outer, || {
            assert_eq!(inherited(), None, "it is not known yet");
            outer.set(end).unwrap();
            assert_eq!(inherited(), Some(end));
            let panicked = std::panic::catch_unwind(|| within(&inner, || panic!("as it should")));
            assert!(panicked.is_err());
            assert_eq!(inherited(), Some(end));
        });
        assert_eq!(inherited(), None);
    }

    #[test]
    fn an_arrival_is_the_point_in_time_that_it_was_made_of() {
        for at in [Instant::now(), Instant::now() + LONGEST] {
            assert_eq!(Arrival::of(at).instant(), at);
        }
        let (earlier, later) = (Arrival::of(Instant::now()), Arrival::of(now() + Duration::from_nanos(1)));
        assert!(earlier.nanos() < later.nanos() && later.nanos() < Arrival::NEVER.nanos());
    }

    #[test]
    fn a_time_of_day_is_shown_as_people_write_it_and_an_odd_one_somehow() {
        let shown = |millis| format!("{:?}", TimeOfDay(UNIX_EPOCH + Duration::from_millis(millis)));
        assert_eq!(shown(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(shown(1_795_702_506_007), "2026-11-26T14:15:06.007Z");
        assert!(shown(i64::MAX as u64).contains("SystemTime"), "{}", shown(i64::MAX as u64));
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert!(format!("{:?}", TimeOfDay(before)).contains("SystemTime"));
    }
}
