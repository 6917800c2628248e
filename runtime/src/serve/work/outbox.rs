//! Settlements on their way to the server.

use std::collections::VecDeque;

use crate::{
    serve::holdings::HoldingId,
    transport::durable::task::{Settled, Settlement},
};

/// Settlements that are to be carried out, and those that are on their way.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Vec<Due>,
    /// One batch at most is on its way by itself, and one with each take that is under way; the oldest first.
    under_way: [VecDeque<Vec<Due>>; 2],
}

/// How a batch travels.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    WithTake = 0,
    Alone = 1,
}

#[derive(Debug)]
struct Due {
    settlement: Settlement,
    holding: Option<HoldingId>,
    /// Whether it was sent before, without an answer: the server may have carried it out.
    was_sent: bool,
}

/// What has become of a batch.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    /// To be released.
    pub(super) holdings: Vec<HoldingId>,
    /// Those that were not the instance's any more.
    pub(super) stale: Vec<HoldingId>,
}

/// So many settlements travel at once at most: what a script carries out in a few milliseconds.
const LARGEST: usize = 1_000;

impl Outbox {
    pub(super) fn add(&mut self, settlement: Settlement, holding: Option<HoldingId>) {
        self.waiting.push(Due { settlement, holding, was_sent: false });
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Settlements that are not known to be carried out.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.under_way.iter().flatten().map(Vec::len).sum::<usize>()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts what waits on its way.
    pub(super) fn send(&mut self, way: Way) -> Vec<Settlement> {
        let count = self.waiting.len().min(LARGEST);
        let batch: Vec<Due> = self.waiting.drain(..count).collect();
        let settlements = batch.iter().map(|due| due.settlement.clone()).collect();
        self.under_way[way as usize].push_back(batch);
        settlements
    }

    /// The server has answered to the oldest of those batches.
    pub(super) fn arrived(&mut self, way: Way, settled: &[Settled]) -> Arrived {
        let batch = self.under_way[way as usize].pop_front().unwrap_or_default();
        let mut arrived = Arrived::default();
        for (due, settled) in batch.into_iter().zip(settled.iter().map(Some).chain(std::iter::repeat(None))) {
            match settled {
                Some(settled) => {
                    let is_stale = *settled == Settled::Stale && !due.was_sent;
                    if is_stale { &mut arrived.stale } else { &mut arrived.holdings }.extend(due.holding);
                }
                // It said nothing of this one.
                None => self.waiting.push(Due { was_sent: true, ..due }),
            }
        }
        arrived
    }

    /// No answer comes to any of those batches: they are sent again, before those that wait. What was carried out counts once.
    pub(super) fn lost(&mut self, way: Way) {
        let batches = std::mem::take(&mut self.under_way[way as usize]);
        self.waiting.splice(..0, batches.into_iter().flatten().map(|due| Due { was_sent: true, ..due }));
    }
}
