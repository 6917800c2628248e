//! When what runs has arrived, the oldest of it at hand.

use std::{collections::VecDeque, time::Instant};

/// When what runs has arrived. Adding, removing and asking for the oldest take no longer the more there is.
#[derive(Debug, Default)]
pub(super) struct Ages {
    /// Whether it runs still; the first one does.
    arrivals: VecDeque<(Instant, bool)>,
    /// The number of the first one.
    first: u64,
}

impl Ages {
    /// Something begins; the number is what it ends with.
    pub(super) fn begin(&mut self, arrived: Instant) -> u64 {
        self.arrivals.push_back((arrived, true));
        self.first + self.arrivals.len() as u64 - 1
    }

    pub(super) fn end(&mut self, number: u64) {
        let at = number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some((_, runs)) = at.and_then(|at| self.arrivals.get_mut(at)) {
            *runs = false;
        }
        while let Some((_, false)) = self.arrivals.front() {
            self.arrivals.pop_front();
            self.first += 1;
        }
    }

    pub(super) fn oldest(&self) -> Option<Instant> {
        self.arrivals.front().map(|(arrived, _)| *arrived)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_oldest_is_the_first_that_runs_still() {
        let mut ages = Ages::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let [first, second, third] = [1, 2, 3].map(|seconds| ages.begin(at(seconds)));
        assert_eq!(ages.oldest(), Some(at(1)));
        ages.end(second);
        assert_eq!(ages.oldest(), Some(at(1)));
        ages.end(first);
        assert_eq!(ages.oldest(), Some(at(3)));
        let fourth = ages.begin(at(4));
        ages.end(third);
        assert_eq!(ages.oldest(), Some(at(4)));
        ages.end(fourth);
        assert_eq!((ages.oldest(), ages.arrivals.len()), (None, 0));
    }
}
