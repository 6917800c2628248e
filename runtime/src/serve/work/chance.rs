//! Chance, for pauses that are not to be in step with those of others.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// Numbers that nobody guesses, and nobody needs to be unable to guess.
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new() -> Self {
        // Never zero, of which nothing else would come.
        Self(RandomState::new().hash_one(0) | 1)
    }

    /// Any number. Marsaglia's xorshift, multiplied.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Between half of a time and the whole of it, after it was doubled so many times, up to the longest.
    pub(crate) fn pause(&mut self, first: Duration, longest: Duration, failures: u32) -> Duration {
        let length = first.saturating_mul(1 << failures.min(20)).min(longest);
        let half = length / 2;
        half + half.mul_f64((self.next() >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_differ() {
        let mut chance = Chance::new();
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(1));
        for (failures, whole) in [(0, 100), (1, 200), (3, 800), (4, 1_000), (60, 1_000)] {
            let whole = Duration::from_millis(whole);
            let pause = chance.pause(first, longest, failures);
            assert!((whole / 2..=whole).contains(&pause), "{failures}: {pause:?}");
        }
        assert_ne!(chance.next(), chance.next());
    }
}
