//! Which part of a queue is served first.
//!
//! Parts that are equally good are a group, and take turns: whoever was served last comes last. Between groups it is strict or weighted.

use std::{collections::HashMap, sync::Arc};

use crate::{
    channel::template::Template,
    message::facts::Turns,
    serve::policy::parts::rank,
    transport::durable::{
        contract::{QueueSpec, Take},
        task::Entry,
    },
};

/// Whose turn it is.
#[derive(Debug)]
pub(crate) struct Rotation {
    /// The best first.
    groups: Vec<Group>,
    is_weighted: bool,
    /// The group of each part.
    places: Vec<usize>,
    by_channel: HashMap<Arc<str>, usize>,
}

#[derive(Debug)]
struct Group {
    parts: Vec<usize>,
    /// Whose turn it is among the parts.
    first: usize,
    weight: u32,
    /// How far it is behind its share; the sum of all is 0.
    credit: i64,
}

/// What is to be done with what was brought and what was taken.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    /// In this order.
    pub(crate) start: Vec<Entry>,
    /// There is no place for them: settle them as displaced.
    pub(crate) back: Vec<Entry>,
}

impl Rotation {
    /// The parts are those of [`QueueSpec::parts`], in that order.
    pub(crate) fn new(queue: &QueueSpec, template: &Template, turns: Turns) -> Self {
        let ranks: Vec<usize> = queue.parts.iter().map(|channel| rank(channel, template, turns)).collect();
        let mut distinct = ranks.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let weight = |rank: usize| match turns {
            Turns::Weighted(_, weights) => weights.get(rank).copied().unwrap_or(1).max(1),
            Turns::Equal | Turns::Strict(_) => 1,
        };
        let group = |&rank: &usize| Group {
            parts: (0..ranks.len()).filter(|&part| ranks[part] == rank).collect(),
            first: 0,
            weight: weight(rank),
            credit: 0,
        };
        let groups: Vec<Group> = distinct.iter().map(group).collect();
        let place = |rank: &usize| distinct.binary_search(rank).unwrap_or_default();
        let by_channel = queue.parts.iter().enumerate().map(|(part, channel)| (Arc::clone(channel), part)).collect();
        Self {
            places: ranks.iter().map(place).collect(),
            groups,
            is_weighted: matches!(turns, Turns::Weighted(..)),
            by_channel,
        }
    }

    /// What to take where so many places are free, which those that a blocked read brought have not filled yet: they count among them.
    ///
    /// As many more are asked for of what is better than the worst of them: those start before it, and take its place if they fill them all.
    pub(crate) fn look(&mut self, free: usize, brought: &[Entry]) -> Take {
        let want = free.saturating_sub(brought.len());
        let order = if self.is_weighted { self.weighted(want) } else { self.in_order(free.max(1)) };
        let worst = brought.iter().filter_map(|entry| self.place(entry)).max();
        let further = match worst {
            Some(worst) if !self.is_weighted => {
                let better = order.iter().take_while(|(part, _)| self.places[*part] < worst).count();
                if better == 0 { (0, 0) } else { (better, brought.len().min(free)) }
            }
            _ => (0, 0),
        };
        Take { settlements: Vec::new(), order, want, further }
    }

    /// What starts in so many free places, of what a blocked read brought and what the look after it took, and what goes back. What was taken is
    /// told to those who take turns.
    pub(crate) fn choose(&mut self, free: usize, brought: Vec<Entry>, taken: Vec<Entry>) -> Choice {
        for entry in brought.iter().chain(&taken) {
            self.served(entry);
        }
        let mut start = brought;
        start.extend(taken);
        if !self.is_weighted {
            // Stable: what was brought is older than what was taken of the same part.
            start.sort_by_key(|entry| self.place(entry).unwrap_or(usize::MAX));
        }
        let back = start.split_off(free.min(start.len()));
        Choice { start, back }
    }

    /// One group after the other. Within a group each part has a share of what is wanted before one has more.
    fn in_order(&self, want: usize) -> Vec<(usize, usize)> {
        let mut order = Vec::new();
        for (at, group) in self.groups.iter().enumerate() {
            let share = want.div_ceil(group.parts.len());
            order.extend(group.in_turn().map(|part| (part, share)));
            // The last group has what is left when all are asked once more.
            if group.parts.len() > 1 && at + 1 < self.groups.len() {
                order.extend(group.in_turn().map(|part| (part, want)));
            }
        }
        order
    }

    /// Each group has its share of what is wanted. What it does not use is for whoever comes first.
    fn weighted(&mut self, want: usize) -> Vec<(usize, usize)> {
        let mut shares = vec![0_usize; self.groups.len()];
        let mut turns = Vec::new();
        for _ in 0..want {
            let Some(next) = self.next_turn() else { break };
            if shares[next] == 0 {
                turns.push(next);
            }
            shares[next] += 1;
        }
        turns.extend((0..self.groups.len()).filter(|&group| shares[group] == 0));
        let mut order = Vec::new();
        for group in turns {
            let (share, parts) = (shares[group], self.groups[group].parts.len());
            let even = |(at, part)| (part, share / parts + usize::from(at < share % parts));
            order.extend(self.groups[group].in_turn().enumerate().map(even));
        }
        order
    }

    /// Smooth weighted turns: nobody waits longer than its weight says, and the turns of one are spread over those of the others.
    fn next_turn(&mut self) -> Option<usize> {
        let sum: i64 = self.groups.iter().map(|group| i64::from(group.weight)).sum();
        for group in &mut self.groups {
            group.credit += i64::from(group.weight);
        }
        // The first of those with most.
        let next = (0..self.groups.len()).max_by_key(|&group| (self.groups[group].credit, std::cmp::Reverse(group)))?;
        self.groups[next].credit -= sum;
        Some(next)
    }

    fn served(&mut self, entry: &Entry) {
        let Some(&part) = self.by_channel.get(&entry.at.channel) else { return };
        let group = &mut self.groups[self.places[part]];
        if let Some(at) = group.parts.iter().position(|&other| other == part) {
            group.first = (at + 1) % group.parts.len();
        }
    }

    /// The group of an entry.
    fn place(&self, entry: &Entry) -> Option<usize> {
        self.by_channel.get(&entry.at.channel).map(|&part| self.places[part])
    }
}

impl Group {
    /// Its parts, beginning with the one whose turn it is.
    fn in_turn(&self) -> impl Iterator<Item = usize> {
        self.parts[self.first..].iter().chain(&self.parts[..self.first]).copied()
    }
}
