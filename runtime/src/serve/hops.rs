//! Chains of messages and tasks that handlers return to each other: perhaps a loop.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// From so many hops on a chain is worth a word: more than any chain that somebody has thought of.
const MANY: u32 = 64;

/// How far what each handler returns is from the first of its chain. The driver and the workers of a service share it.
#[derive(Debug)]
pub(super) struct Hops {
    /// The most that each route has returned.
    by_route: Vec<AtomicU32>,
    is_told: AtomicBool,
}

impl Hops {
    pub(super) fn new(routes: usize) -> Self {
        Self { by_route: (0..routes).map(|_| AtomicU32::new(0)).collect(), is_told: AtomicBool::new(false) }
    }

    /// Notes what a route has returned. Once, when there were many hops for the first time: the routes that were on the way.
    pub(super) fn note(&self, route: usize, hops: u32) -> Option<Vec<usize>> {
        self.by_route[route].fetch_max(hops, Ordering::Relaxed);
        if hops < MANY || self.is_told.swap(true, Ordering::Relaxed) {
            return None;
        }
        // A loop has been in each of its handlers during the second half of that way, unless it is longer than that.
        let on_the_way = |(_, hops): &(usize, &AtomicU32)| hops.load(Ordering::Relaxed) >= MANY / 2;
        Some(self.by_route.iter().enumerate().filter(on_the_way).map(|(route, _)| route).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_told_once_with_all_of_its_handlers() {
        let hops = Hops::new(4);
        assert_eq!(hops.note(3, 1), None);
        for hop in 1..MANY {
            assert_eq!(hops.note(hop as usize % 3, hop), None);
        }
        assert_eq!(hops.note(1, MANY), Some(vec![0, 1, 2]));
        assert_eq!(hops.note(2, MANY + 1), None);
    }

    #[test]
    fn a_chain_that_only_touches_a_service_names_the_handler_that_it_was_in() {
        let hops = Hops::new(2);
        assert_eq!(hops.note(1, MANY), Some(vec![1]));
    }
}
