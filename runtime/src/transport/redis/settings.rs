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
pub(super) struct Settings {
    /// The namespace and the colon after it; empty without a namespace.
    pub(super) prefix: String,
    pub(super) user: String,
    pub(super) payload_limit: usize,
    pub(super) command_timeout: Duration,
    pub(super) ping_interval: Duration,
    pub(super) ping_deadline: Duration,
    pub(super) reconnect: Reconnect,
    pub(super) publish_buffer: usize,
}

impl Settings {
    pub(super) fn new(config: &Config, user: &str) -> Self {
        Self {
            prefix: config.namespace.as_ref().map_or_else(String::new, |namespace| format!("{namespace}:")),
            user: user.to_owned(),
            payload_limit: config.payload_limit,
            command_timeout: config.command_timeout.min(LONGEST),
            ping_interval: config.ping_interval.min(LONGEST),
            ping_deadline: config.ping_deadline.min(LONGEST),
            publish_buffer: config.publish_buffer,
            reconnect: Reconnect {
                first_pause: config.reconnect.first_pause.min(LONGEST),
                longest_pause: config.reconnect.longest_pause.min(LONGEST),
                give_up_after: config.reconnect.give_up_after.map(|limit| limit.min(LONGEST)),
            },
        }
    }
}

impl Reconnect {
    /// The pause after so many failures in a row: drawn between zero and a length that doubles up to the longest.
    pub(super) fn pause(&self, failures: u32) -> Duration {
        let longest = self.longest_pause.max(self.first_pause);
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
    fn pauses_double_up_to_the_longest_and_are_spread() {
        let policy = Reconnect::default().first_pause(Duration::from_millis(100)).longest_pause(Duration::from_secs(1));
        for (failures, bound) in [(0, 100), (1, 200), (2, 400), (3, 800), (4, 1_000), (u32::MAX, 1_000)] {
            let pauses: Vec<_> = (0..200).map(|_| policy.pause(failures)).collect();
            let bound = Duration::from_millis(bound);
            assert!(pauses.iter().all(|pause| *pause <= bound));
            assert!(pauses.iter().any(|pause| *pause < bound / 2) && pauses.iter().any(|pause| *pause > bound / 2));
        }
    }
}
