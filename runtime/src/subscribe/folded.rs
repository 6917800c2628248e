//! Log lines that would repeat.

use std::time::{Duration, Instant};

/// At most one line of a kind is written in this time.
const PAUSE: Duration = Duration::from_secs(1);

/// Folds lines of the same kind: the first is written, then at most one a second, which says how many it stands for.
#[derive(Debug, Default)]
pub(super) struct Folded {
    kinds: Vec<Kind>,
}

#[derive(Debug)]
struct Kind {
    name: &'static str,
    written: Instant,
    unwritten: u64,
}

impl Folded {
    /// For how many the line stands that is to be written now; nothing if it is to be left out.
    pub(super) fn line(&mut self, kind: &'static str, count: u64, now: Instant) -> Option<u64> {
        let Some(known) = self.kinds.iter_mut().find(|known| known.name == kind) else {
            self.kinds.push(Kind { name: kind, written: now, unwritten: 0 });
            return Some(count);
        };
        known.unwritten += count;
        if now.saturating_duration_since(known.written) < PAUSE {
            return None;
        }
        known.written = now;
        Some(std::mem::take(&mut known.unwritten))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_occurrence_is_in_one_line() {
        let (mut folded, start) = (Folded::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        let lines =
            [(0, "a", 1), (1, "a", 1), (2, "b", 5), (999, "a", 2), (1_000, "a", 1), (1_001, "a", 1), (5_000, "a", 1)];
        let written: Vec<_> = lines.map(|(millis, kind, count)| folded.line(kind, count, at(millis))).into();
        assert_eq!(written, [Some(1), None, Some(5), None, Some(4), None, Some(2)]);
    }
}
