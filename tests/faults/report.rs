//! One line for each scenario. `tests/faults/long` adds them up.

use std::time::Duration;

use crate::{ledger::Verdict, seed::seed};

/// What a scenario has come to.
pub(crate) struct Report {
    scenario: &'static str,
    fault: &'static str,
    faults: usize,
    verdict: Verdict,
    recoveries: Vec<Duration>,
}

impl Report {
    pub(crate) fn new(scenario: &'static str, fault: &'static str, faults: usize) -> Self {
        Self { scenario, fault, faults, verdict: Verdict::default(), recoveries: Vec::new() }
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

    /// Prints the line, and panics if anything was lost in silence, came twice, or was wrong.
    pub(crate) fn close(mut self) {
        self.recoveries.sort_unstable();
        let percentile = |percent: usize| match self.recoveries.len() {
            0 => Duration::ZERO,
            count => self.recoveries[(count - 1) * percent / 100],
        };
        let Verdict { published, received, missed_in_gaps, lagged, unreported, duplicates, wrong, .. } = &self.verdict;
        println!(
            "report {} seed={} {}={} published={published} received={received} missed_in_gaps={missed_in_gaps} lagged={lagged} \
             unreported={unreported} duplicates={duplicates} wrong={wrong} p50_ms={:.1} p99_ms={:.1}",
            self.scenario,
            seed(),
            self.fault,
            self.faults,
            percentile(50).as_secs_f64() * 1_000.0,
            percentile(99).as_secs_f64() * 1_000.0,
        );
        assert_eq!((*unreported, *duplicates, *wrong), (0, 0, 0), "seed {}", seed());
    }
}
