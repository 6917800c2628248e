//! The warning in `health` that nothing comes from a queue.

use crate::bus::handle::Bus;

/// Warns in `health` once it is raised, until it is cleared or dropped.
pub(super) struct Alarm<'a> {
    bus: &'a Bus,
    queue: &'static str,
    is_raised: bool,
}

impl<'a> Alarm<'a> {
    pub(super) fn new(bus: &'a Bus, queue: &'static str) -> Self {
        Self { bus, queue, is_raised: false }
    }

    pub(super) fn raise(&mut self) {
        self.is_raised = true;
        self.bus.stalled().insert(self.queue);
    }

    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.is_raised) {
            self.bus.stalled().remove(self.queue);
        }
    }
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}
