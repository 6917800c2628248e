//! What the connections need of the configuration.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use crate::{
    config::{Config, Reconnect},
    time::LONGEST,
};

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The namespace and the colon after it; empty without a namespace.
    pub(super) prefix: String,
    pub(super) user: String,
    pub(super) payload_limit: usize,
    pub(super) command_timeout: Duration,
    pub(super) ping_interval: Duration,
    pub(super) ping_deadline: Duration,
    pub(super) reconnect: Reconnect,
    pub(super) publish_buffer: usize,
    pub(super) subscribers_first: bool,
}

impl Settings {
    pub(super) fn new(config: &Config, user: &str) -> Self {
        Self {
            prefix: config.namespace.as_ref().map_or_else(String::new, |namespace| format!("{namespace}:")),
            user: user.to_owned(),
            payload_limit: config.payload_limit,
            command_timeout: config.command_timeout.min(LONGEST),
            // A server that is asked without a pause has no time for anything else.
            ping_interval: config.ping_interval.clamp(SHORTEST, LONGEST),
            ping_deadline: config.ping_deadline.clamp(SHORTEST, LONGEST),
            publish_buffer: config.publish_buffer,
            subscribers_first: config.subscribers_first,
            reconnect: Reconnect {
                first_pause: config.reconnect.first_pause.min(LONGEST),
                longest_pause: config.reconnect.longest_pause.min(LONGEST),
                give_up_after: config.reconnect.give_up_after.map(|limit| limit.min(LONGEST)),
            },
        }
    }
}

/// What a timer can tell apart.
const SHORTEST: Duration = Duration::from_millis(1);

/// So many pauses in a row are prompt. Half as long on average as they can be, they take 75 seconds, and a minute in any case.
const PROMPT_FAILURES: u32 = 300;

impl Reconnect {
    /// The pause after so many failures in a row: drawn between zero and a length that doubles, up to [`Self::PROMPT`] in the first minute
    /// and up to the longest after it.
    pub(super) fn pause(&self, failures: u32) -> Duration {
        let longest =
            if failures < PROMPT_FAILURES { self.longest_pause.min(Self::PROMPT) } else { self.longest_pause };
        let longest = longest.max(self.first_pause);
        let length = self.first_pause.saturating_mul(2_u32.saturating_pow(failures.min(20))).min(longest);
        length.mul_f64(random_fraction())
    }
}

/// Between 0 and 1. The keys of the standard library's maps are random enough to spread clients.
fn random_fraction() -> f64 {
    let number = RandomState::new().hash_one(0) >> 11;
    number as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_first_minute_pauses_are_short() {
        let policy = Reconnect::default();
        let mut away = Duration::ZERO;
        let mut failures = 0;
        while away < Duration::from_secs(60) {
            let pause = policy.pause(failures);
            assert!(pause <= Duration::from_millis(500), "{pause:?} after {away:?}");
            (away, failures) = (away + pause, failures + 1);
        }
        assert!((0..100).any(|_| policy.pause(PROMPT_FAILURES) > Duration::from_secs(2)));
        let patient = Reconnect::default().first_pause(Duration::from_secs(20));
        assert!((0..100).any(|_| patient.pause(0) > Duration::from_secs(10)), "what was asked for counts");
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_are_spread() {
        let policy = Reconnect::default().first_pause(Duration::from_millis(100)).longest_pause(Duration::from_secs(1));
        for (failures, bound) in [(0, 100), (1, 200), (2, 400), (3, 500), (299, 500), (300, 1_000), (u32::MAX, 1_000)] {
            let pauses: Vec<_> = (0..200).map(|_| policy.pause(failures)).collect();
            let bound = Duration::from_millis(bound);
            assert!(pauses.iter().all(|pause| *pause <= bound));
            assert!(pauses.iter().any(|pause| *pause < bound / 2) && pauses.iter().any(|pause| *pause > bound / 2));
        }
    }
}
