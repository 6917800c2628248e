//! The random numbers of a run.

use std::{
    env,
    ops::Range,
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A generator for one scenario: the run's seed, and the scenario's name so that no two draw the same numbers.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn of(scenario: &str) -> Self {
        let mixed =
            scenario.bytes().fold(seed(), |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Self(mixed)
    }

    /// The next number: SplitMix64.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    /// Lets a random time pass before the next fault.
    pub(crate) async fn pause(&mut self, milliseconds: Range<u64>) {
        tokio::time::sleep(Duration::from_millis(self.within(milliseconds))).await;
    }
}

/// The run's seed: `TIDINGS_SEED`, or the time. Printed once.
pub(crate) fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| {
        let given = env::var("TIDINGS_SEED").ok().and_then(|text| text.parse().ok());
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| u64::from(since.subsec_nanos()));
        let seed = given.unwrap_or_else(now);
        println!("TIDINGS_SEED={seed}");
        seed
    })
}

/// So many in the short form, and so many in the long one, which `TIDINGS_FAULTS=long` asks for.
pub(crate) fn sized<T>(short: T, long: T) -> T {
    if env::var("TIDINGS_FAULTS").is_ok_and(|form| form == "long") { long } else { short }
}
