//! One line for each scenario. `tests/faults/long` adds them up.

use std::time::Duration;

use tidings_tests::World;

use crate::{ledger::Verdict, seed::seed};

/// What a scenario has come to.
pub(crate) struct Report {
    scenario: String,
    fault: &'static str,
    faults: usize,
    verdict: Verdict,
    recoveries: Vec<Duration>,
}

impl Report {
    pub(crate) fn new(scenario: impl Into<String>, fault: &'static str, faults: usize) -> Self {
        Self { scenario: scenario.into(), fault, faults, verdict: Verdict::default(), recoveries: Vec::new() }
    }

    /// A scenario that runs on several transports.
    pub(crate) fn on(world: &World, scenario: &str, fault: &'static str, faults: usize) -> Self {
        Self::new(format!("{scenario}/{}", world.transport()), fault, faults)
    }

    /// Adds a journal's verdict, and the lengths of its gaps.
    pub(crate) fn add(&mut self, verdict: &Verdict) {
        self.recoveries.extend(&verdict.gaps);
        self.verdict.published += verdict.published;
        self.verdict.received += verdict.received;
        self.verdict.missed_in_gaps += verdict.missed_in_gaps;
        self.verdict.lagged += verdict.lagged;
        self.verdict.unreported += verdict.unreported;
        self.verdict.duplicates += verdict.duplicates;
        self.verdict.wrong += verdict.wrong;
    }

    pub(crate) fn messages(mut self, published: u64, received: u64) -> Self {
        self.verdict.published += published;
        self.verdict.received += received;
        self
    }

    /// Adds messages that were reported as dropped.
    pub(crate) fn dropped(mut self, count: u64) -> Self {
        self.verdict.lagged += count;
        self
    }

    pub(crate) fn recovered(&mut self, after: Duration) {
        self.recoveries.push(after);
    }

    /// What 99 of 100 recoveries took at most.
    pub(crate) fn p99(&self) -> Duration {
        let mut recoveries = self.recoveries.clone();
        recoveries.sort_unstable();
        percentile(&recoveries, 99)
    }

    /// Prints the line, and panics if anything was lost in silence, came twice, or was wrong.
    pub(crate) fn close(mut self) {
        self.recoveries.sort_unstable();
        let Verdict { published, received, missed_in_gaps, lagged, unreported, duplicates, wrong, .. } = &self.verdict;
        println!(
            "report {} seed={} {}={} published={published} received={received} missed_in_gaps={missed_in_gaps} lagged={lagged} \
             unreported={unreported} duplicates={duplicates} wrong={wrong} p50_ms={:.1} p99_ms={:.1}",
            self.scenario,
            seed(),
            self.fault,
            self.faults,
            percentile(&self.recoveries, 50).as_secs_f64() * 1_000.0,
            percentile(&self.recoveries, 99).as_secs_f64() * 1_000.0,
        );
        assert_eq!((*unreported, *duplicates, *wrong), (0, 0, 0), "seed {}", seed());
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    match sorted.len() {
        0 => Duration::ZERO,
        count => sorted[(count - 1) * percent / 100],
    }
}
