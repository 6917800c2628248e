//! Which message a handler works on next: order, concurrency and bounds, without a clock, a tokio task or a transport.
//!
//! Messages with the same key are worked on one after the other; which key a message has, if any, is decided by whoever gives it. A message
//! that a handler completes at once never enters this state. Only what has to wait does: a message whose key is busy waits in the key's lane,
//! and a lane that is free waits until the handler has room. A message without a key has a lane of its own.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Instant,
};

use crate::config::{Bounds, Overflow};

/// What waits in a lane.
pub(crate) trait Waits {
    /// Bytes, as they count for the bound.
    fn size(&self) -> usize;

    fn arrived(&self) -> Instant;
}

/// The state of one handler.
#[derive(Debug)]
pub(crate) struct Lanes<T> {
    concurrency: usize,
    bounds: Bounds,
    overflow: Overflow,
    running: usize,
    /// Lanes with a key that exist: those that run, and those with something waiting.
    by_key: HashMap<Box<[u8]>, usize>,
    lanes: Vec<Option<Lane<T>>>,
    vacant: Vec<usize>,
    /// Lanes that wait for room. Empty unless the handler is at its limit.
    ready: VecDeque<usize>,
    /// Everything that waits, oldest first, as (sequence number, lane). An entry whose item has left is stale.
    arrivals: VecDeque<(u64, usize)>,
    /// When what runs or waits has arrived, by sequence number.
    ages: BTreeMap<u64, Instant>,
    next_sequence: u64,
    messages: usize,
    bytes: usize,
    /// Whether it has dropped messages since the last time that nothing waited.
    behind: bool,
}

#[derive(Debug)]
struct Lane<T> {
    key: Option<Box<[u8]>>,
    waiting: VecDeque<(u64, T)>,
    /// The message that runs.
    running: Option<u64>,
}

/// A lane in which a message runs; to be given back to [`Lanes::finished`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LaneId(usize);

/// How much a handler has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) running: usize,
    pub(crate) waiting: usize,
    /// When the oldest of both has arrived.
    pub(crate) oldest: Option<Instant>,
}

impl<T: Waits> Lanes<T> {
    pub(crate) fn new(concurrency: usize, bounds: Bounds, overflow: Overflow) -> Self {
        Self {
            concurrency,
            bounds,
            overflow,
            running: 0,
            by_key: HashMap::new(),
            lanes: Vec::new(),
            vacant: Vec::new(),
            ready: VecDeque::new(),
            arrivals: VecDeque::new(),
            ages: BTreeMap::new(),
            next_sequence: 0,
            messages: 0,
            bytes: 0,
            behind: false,
        }
    }

    /// Whether a message with this key may start now.
    #[inline]
    pub(crate) fn has_room(&self, key: Option<&[u8]>) -> bool {
        self.running < self.concurrency && key.and_then(|key| self.by_key(key)).is_none()
    }

    /// Notes that a message which had room did not complete at once.
    pub(crate) fn started(&mut self, key: Option<&[u8]>, arrived: Instant) -> LaneId {
        let lane = self.open(key);
        let sequence = self.arrival(arrived);
        self.lane(lane).running = Some(sequence);
        self.running += 1;
        LaneId(lane)
    }

    /// Lets a message wait, and hands over what is dropped for it: perhaps itself.
    pub(crate) fn wait(&mut self, key: Option<&[u8]>, item: T, mut dropped: impl FnMut(T)) {
        if self.overflow == Overflow::DropNewest && !self.fits(item.size()) {
            return dropped(item);
        }
        let lane = key.and_then(|key| self.by_key(key)).unwrap_or_else(|| {
            let lane = self.open(key);
            self.ready.push_back(lane);
            lane
        });
        let sequence = self.arrival(item.arrived());
        self.messages += 1;
        self.bytes += item.size();
        self.lane(lane).waiting.push_back((sequence, item));
        self.arrivals.push_back((sequence, lane));
        self.forget_stale();
        if self.overflow == Overflow::DropOldest {
            self.drop_oldest(dropped);
        }
    }

    /// Whether it takes no more messages for now: it is full, and its overflow policy drops nothing.
    pub(crate) fn is_full(&self) -> bool {
        self.overflow == Overflow::BackPressure
            && (self.messages >= self.bounds.messages || self.bytes >= self.bounds.bytes)
    }

    /// Notes that messages were dropped; `true` for the first time since nothing waited.
    pub(crate) fn falls_behind(&mut self) -> bool {
        !std::mem::replace(&mut self.behind, true)
    }

    /// Notes that a lane's message is done, and returns the next message that runs in its place.
    pub(crate) fn finished(&mut self, LaneId(lane): LaneId) -> Option<(LaneId, T)> {
        self.running -= 1;
        if let Some(sequence) = self.lane(lane).running.take() {
            self.ages.remove(&sequence);
        }
        if self.lane(lane).waiting.is_empty() {
            self.close(lane);
        } else {
            self.ready.push_back(lane);
        }
        let next = self.ready.pop_front()?;
        let (sequence, item) = self.lane(next).waiting.pop_front()?;
        self.lane(next).running = Some(sequence);
        self.running += 1;
        self.messages -= 1;
        self.bytes -= item.size();
        self.behind &= self.messages > 0;
        Some((LaneId(next), item))
    }

    pub(crate) fn load(&self) -> Load {
        let oldest = self.ages.first_key_value().map(|(_, &arrived)| arrived);
        Load { running: self.running, waiting: self.messages, oldest }
    }

    /// The first always does: a message larger than the bound must not stop the handler.
    fn fits(&self, size: usize) -> bool {
        self.messages == 0 || (self.messages < self.bounds.messages && self.bytes + size <= self.bounds.bytes)
    }

    fn drop_oldest(&mut self, mut dropped: impl FnMut(T)) {
        // The newest message stays even when it alone is over the bound in bytes.
        while self.messages > 1 && (self.messages > self.bounds.messages || self.bytes > self.bounds.bytes) {
            let Some((sequence, lane)) = self.arrivals.pop_front() else { break };
            if !self.is_waiting(sequence, lane) {
                continue;
            }
            if let Some((_, item)) = self.lane(lane).waiting.pop_front() {
                self.ages.remove(&sequence);
                self.messages -= 1;
                self.bytes -= item.size();
                dropped(item);
            }
            let state = self.lane(lane);
            if state.waiting.is_empty() && state.running.is_none() {
                self.forget_ready(lane);
                self.close(lane);
            }
        }
    }

    fn forget_ready(&mut self, lane: usize) {
        // The lane of the oldest message is nearly always the one that waits longest.
        if self.ready.front() == Some(&lane) {
            self.ready.pop_front();
        } else {
            self.ready.retain(|&ready| ready != lane);
        }
    }

    /// Keeps the list of arrivals within twice what waits.
    fn forget_stale(&mut self) {
        if self.arrivals.len() > 2 * self.messages + 64 {
            let arrivals = std::mem::take(&mut self.arrivals);
            self.arrivals = arrivals.into_iter().filter(|&(sequence, lane)| self.is_waiting(sequence, lane)).collect();
        }
    }

    /// A lane is first in, first out, so an item waits exactly if the lane's first one is not younger. A lane that was closed and
    /// opened again holds only younger ones.
    fn is_waiting(&self, sequence: u64, lane: usize) -> bool {
        let first = self.lanes[lane].as_ref().and_then(|lane| lane.waiting.front());
        first.is_some_and(|&(first, _)| first <= sequence)
    }

    fn arrival(&mut self, arrived: Instant) -> u64 {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.ages.insert(sequence, arrived);
        sequence
    }

    #[inline]
    fn by_key(&self, key: &[u8]) -> Option<usize> {
        // Mostly nothing waits, and no key has to be hashed to know that.
        if self.by_key.is_empty() { None } else { self.by_key.get(key).copied() }
    }

    fn open(&mut self, key: Option<&[u8]>) -> usize {
        let lane = Lane { key: key.map(Box::from), waiting: VecDeque::new(), running: None };
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.lanes.push(None);
            self.lanes.len() - 1
        });
        if let Some(key) = &lane.key {
            self.by_key.insert(key.clone(), index);
        }
        self.lanes[index] = Some(lane);
        index
    }

    fn close(&mut self, lane: usize) {
        if let Some(closed) = self.lanes[lane].take() {
            if let Some(key) = &closed.key {
                self.by_key.remove(key);
            }
            self.vacant.push(lane);
        }
    }

    fn lane(&mut self, lane: usize) -> &mut Lane<T> {
        self.lanes[lane].as_mut().expect("a lane is closed only when nothing runs or waits in it")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    impl Waits for u32 {
        fn size(&self) -> usize {
            10
        }

        fn arrived(&self) -> Instant {
            Instant::now()
        }
    }

    /// How many were dropped.
    fn wait<T: Waits>(lanes: &mut Lanes<T>, key: &[u8], item: T) -> u64 {
        let mut dropped = 0;
        lanes.wait(Some(key), item, |_| dropped += 1);
        dropped
    }

    fn started<T: Waits>(lanes: &mut Lanes<T>, key: &[u8]) -> LaneId {
        lanes.started(Some(key), Instant::now())
    }

    fn lanes(concurrency: usize, messages: usize) -> Lanes<u32> {
        lanes_with(concurrency, messages, Overflow::DropOldest)
    }

    fn lanes_with(concurrency: usize, messages: usize, overflow: Overflow) -> Lanes<u32> {
        Lanes::new(concurrency, Bounds { messages, bytes: usize::MAX }, overflow)
    }

    #[test]
    fn one_channel_is_worked_on_in_order() {
        let mut lanes = lanes(8, 100);
        let running = started(&mut lanes, b"a");
        assert!(!lanes.has_room(Some(b"a")));
        assert!(lanes.has_room(Some(b"b")));
        wait(&mut lanes, b"a", 1);
        wait(&mut lanes, b"a", 2);
        let (running, item) = lanes.finished(running).unwrap();
        assert_eq!(item, 1);
        assert!(!lanes.has_room(Some(b"a")));
        let (running, item) = lanes.finished(running).unwrap();
        assert_eq!(item, 2);
        assert_eq!(lanes.finished(running), None);
        assert!(lanes.has_room(Some(b"a")));
    }

    #[test]
    fn the_limit_holds_and_channels_take_turns() {
        let mut lanes = lanes(1, 100);
        let running = started(&mut lanes, b"a");
        assert!(!lanes.has_room(Some(b"b")));
        wait(&mut lanes, b"a", 1);
        wait(&mut lanes, b"b", 2);
        wait(&mut lanes, b"a", 3);
        let mut order = Vec::new();
        let mut next = lanes.finished(running);
        while let Some((running, item)) = next {
            order.push(item);
            next = lanes.finished(running);
        }
        assert_eq!(order, [2, 1, 3]);
    }

    #[test]
    fn the_oldest_are_dropped_and_counted() {
        let mut lanes = lanes(1, 2);
        let running = started(&mut lanes, b"a");
        assert_eq!(wait(&mut lanes, b"b", 1), 0);
        assert_eq!(wait(&mut lanes, b"a", 2), 0);
        assert_eq!(wait(&mut lanes, b"a", 3), 1);
        assert_eq!(wait(&mut lanes, b"c", 4), 1);
        let (running, item) = lanes.finished(running).unwrap();
        assert!(item == 3 || item == 4, "{item}");
        assert!(lanes.finished(running).is_some());
        assert_eq!(lanes.load().waiting, 0);
    }

    #[test]
    fn the_newest_are_dropped_where_that_was_chosen() {
        let mut lanes = lanes_with(1, 2, Overflow::DropNewest);
        let mut running = Some(started(&mut lanes, b"a"));
        let dropped: u64 = (1..=5).map(|n| wait(&mut lanes, b"a", n)).sum();
        assert_eq!((dropped, lanes.is_full()), (3, false));
        assert!(lanes.falls_behind() && !lanes.falls_behind());
        let mut ran = Vec::new();
        while let Some((next, item)) = running.and_then(|running| lanes.finished(running)) {
            ran.push(item);
            running = Some(next);
        }
        assert_eq!(ran, [1, 2]);
        assert!(lanes.falls_behind(), "it had caught up");
    }

    #[test]
    fn with_back_pressure_nothing_is_dropped_and_whoever_asks_is_told() {
        let mut lanes = lanes_with(1, 2, Overflow::BackPressure);
        let running = started(&mut lanes, b"a");
        assert_eq!((wait(&mut lanes, b"a", 1), lanes.is_full()), (0, false));
        assert_eq!((wait(&mut lanes, b"a", 2), lanes.is_full()), (0, true));
        assert_eq!((wait(&mut lanes, b"b", 3), lanes.load().waiting), (0, 3));
        let (running, _) = lanes.finished(running).unwrap();
        assert!(lanes.is_full());
        lanes.finished(running).unwrap();
        assert!(!lanes.is_full());
    }

    #[test]
    fn without_a_key_everything_runs_at_once_up_to_the_limit_and_then_in_turn() {
        let mut lanes = lanes(2, 100);
        let first = lanes.started(None, Instant::now());
        assert!(lanes.has_room(None));
        let second = lanes.started(None, Instant::now());
        assert!(!lanes.has_room(None));
        for item in 1..=3 {
            lanes.wait(None, item, |_| panic!("there is room"));
        }
        assert_eq!((lanes.load().running, lanes.load().waiting), (2, 3));
        let (third, item) = lanes.finished(second).unwrap();
        assert_eq!(item, 1);
        let (fourth, item) = lanes.finished(first).unwrap();
        assert_eq!(item, 2);
        let (fifth, item) = lanes.finished(fourth).unwrap();
        assert_eq!(item, 3);
        assert_eq!((lanes.finished(third), lanes.finished(fifth)), (None, None));
        assert!(lanes.has_room(None) && lanes.by_key.is_empty() && lanes.ages.is_empty());
    }

    #[test]
    fn the_oldest_is_the_first_that_arrived_of_what_runs_or_waits() {
        let start = Instant::now();
        let at = |seconds| start + std::time::Duration::from_secs(seconds);
        let mut lanes = lanes(2, 100);
        assert_eq!(lanes.load(), Load { running: 0, waiting: 0, oldest: None });
        let first = lanes.started(Some(b"a"), at(1));
        let second = lanes.started(Some(b"b"), at(2));
        assert_eq!(lanes.load(), Load { running: 2, waiting: 0, oldest: Some(at(1)) });
        assert_eq!(lanes.finished(first), None);
        assert_eq!(lanes.load(), Load { running: 1, waiting: 0, oldest: Some(at(2)) });
        assert_eq!(lanes.finished(second), None);
        assert_eq!(lanes.load().oldest, None);
    }

    /// As many bytes as it says.
    impl Waits for usize {
        fn size(&self) -> usize {
            *self
        }

        fn arrived(&self) -> Instant {
            Instant::now()
        }
    }

    fn weighing_lanes(bytes: usize, overflow: Overflow) -> Lanes<usize> {
        Lanes::new(1, Bounds { messages: 1_000, bytes }, overflow)
    }

    #[test]
    fn what_has_left_no_longer_counts_for_the_bound_in_bytes() {
        let mut lanes = weighing_lanes(100, Overflow::DropOldest);
        let running = started(&mut lanes, b"a");
        assert_eq!([40, 40, 20].map(|size| wait(&mut lanes, b"a", size)), [0, 0, 0], "the bound itself is allowed");
        assert_eq!(wait(&mut lanes, b"a", 1), 1);
        assert_eq!(wait(&mut lanes, b"a", 39), 0, "what was dropped makes room");
        let (_, item) = lanes.finished(running).unwrap();
        assert_eq!((item, wait(&mut lanes, b"a", 40)), (40, 0), "and so does what runs");
        assert_eq!(wait(&mut lanes, b"a", 2), 1);
        assert_eq!(wait(&mut lanes, b"a", 500), 4, "the newest stays, however large it is");
        assert_eq!(lanes.load().waiting, 1);
    }

    #[test]
    fn a_newest_that_does_not_fit_in_bytes_is_dropped() {
        let mut lanes = weighing_lanes(100, Overflow::DropNewest);
        let running = started(&mut lanes, b"a");
        assert_eq!([60, 41, 40, 1].map(|size| wait(&mut lanes, b"a", size)), [0, 1, 0, 1]);
        lanes.finished(running).unwrap();
        assert_eq!([60, 1].map(|size| wait(&mut lanes, b"a", size)), [0, 1]);
    }

    #[test]
    fn with_back_pressure_bytes_fill_it_too() {
        let mut lanes = weighing_lanes(100, Overflow::BackPressure);
        let running = started(&mut lanes, b"a");
        assert_eq!((wait(&mut lanes, b"a", 99), lanes.is_full()), (0, false));
        assert_eq!((wait(&mut lanes, b"a", 1), lanes.is_full()), (0, true));
        lanes.finished(running).unwrap();
        assert!(!lanes.is_full());
    }

    #[test]
    fn it_is_behind_until_nothing_waits() {
        let mut lanes = lanes(1, 100);
        let running = started(&mut lanes, b"a");
        wait(&mut lanes, b"a", 1);
        wait(&mut lanes, b"a", 2);
        assert!(lanes.falls_behind());
        let (running, _) = lanes.finished(running).unwrap();
        assert!(!lanes.falls_behind(), "one still waits");
        lanes.finished(running).unwrap();
        assert!(lanes.falls_behind());
    }

    #[test]
    fn the_oldest_of_all_lanes_is_dropped_also_where_an_older_one_ran() {
        let mut lanes = lanes(1, 1);
        let running = started(&mut lanes, b"a");
        wait(&mut lanes, b"a", 1);
        let (running, _) = lanes.finished(running).unwrap();
        assert_eq!((wait(&mut lanes, b"b", 2), wait(&mut lanes, b"a", 3)), (0, 1));
        assert_eq!(lanes.finished(running).unwrap().1, 3);
    }

    #[test]
    fn the_list_of_arrivals_is_bounded_and_looked_through_only_when_half_of_it_is_stale() {
        let mut lanes = lanes(1, 1_000);
        let mut running = started(&mut lanes, b"a");
        (0..200).for_each(|item| assert_eq!(wait(&mut lanes, b"a", item), 0));
        let mut finish = |lanes: &mut Lanes<u32>, times| {
            for _ in 0..times {
                running = lanes.finished(running).unwrap().0;
            }
        };
        finish(&mut lanes, 100);
        wait(&mut lanes, b"a", 200);
        assert_eq!((lanes.load().waiting, lanes.arrivals.len()), (101, 201));
        finish(&mut lanes, 101);
        wait(&mut lanes, b"a", 201);
        assert_eq!((lanes.load().waiting, lanes.arrivals.len()), (1, 1));
        for item in 0..1_000 {
            finish(&mut lanes, 1);
            wait(&mut lanes, b"a", item);
            assert!(lanes.arrivals.len() <= 66);
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Arrive(u8),
        Finish(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![(0u8..4).prop_map(Step::Arrive), (0usize..8).prop_map(Step::Finish)];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// Nothing is lost but what is counted, nothing overtakes within a channel, and the limits hold.
        #[test]
        fn every_message_runs_or_is_counted(
            steps in steps(), concurrency in 1usize..4, bound in 1usize..6, newest in any::<bool>(),
        ) {
            let overflow = if newest { Overflow::DropNewest } else { Overflow::DropOldest };
            let mut lanes = lanes_with(concurrency, bound, overflow);
            let mut running: Vec<(LaneId, u8)> = Vec::new();
            let mut channel_of = HashMap::new();
            let mut last_of: HashMap<u8, u32> = HashMap::new();
            let (mut arrived, mut ran, mut dropped) = (0u32, 0u32, 0u64);
            let mut start = |channel: u8, item: u32| {
                ran += 1;
                let last = last_of.insert(channel, item);
                last.is_none_or(|last| last < item)
            };
            for step in steps.into_iter().chain(std::iter::repeat_n(Step::Finish(0), 300)) {
                match step {
                    Step::Arrive(channel) => {
                        arrived += 1;
                        channel_of.insert(arrived, channel);
                        if lanes.has_room(Some(&[channel])) {
                            prop_assert!(start(channel, arrived));
                            running.push((started(&mut lanes, &[channel]), channel));
                        } else {
                            dropped += wait(&mut lanes, &[channel], arrived);
                        }
                    }
                    Step::Finish(_) if running.is_empty() => {}
                    Step::Finish(which) => {
                        let (lane, _) = running.swap_remove(which % running.len());
                        if let Some((lane, item)) = lanes.finished(lane) {
                            let channel = channel_of[&item];
                            prop_assert!(start(channel, item));
                            running.push((lane, channel));
                        }
                    }
                }
                let mut channels: Vec<u8> = running.iter().map(|&(_, channel)| channel).collect();
                channels.sort_unstable();
                channels.dedup();
                prop_assert_eq!(channels.len(), running.len());
                prop_assert!(running.len() <= concurrency);
                prop_assert!(lanes.load().waiting <= bound);
            }
            prop_assert!(running.is_empty());
            prop_assert_eq!(u64::from(ran) + dropped, u64::from(arrived));
            prop_assert!(lanes.by_key.is_empty() && lanes.ready.is_empty());
        }
    }
}
