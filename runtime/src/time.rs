//! The clocks, and points in time that cannot overflow.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A year: whoever says `Duration::MAX` means "never", and a point in time must not overflow.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The clock of timers. A test that pauses tokio's time pauses this too.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// So long from now, a year at most.
pub(crate) fn deadline_after(time: Duration) -> tokio::time::Instant {
    tokio::time::Instant::now() + time.min(LONGEST)
}

/// The time of day, in milliseconds since the Unix epoch.
pub(crate) fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
