//! What stands in for metrics without the feature `metrics`: nothing, at no cost.

use std::time::Duration;

use crate::observe::label::Label;

#[derive(Debug)]
pub(crate) struct Meters;

impl Meters {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn are_on(&self) -> bool {
        false
    }

    pub(crate) fn publish(&self, _template: &'static str) -> Option<Timer> {
        None
    }

    pub(crate) fn request(&self, _template: &'static str) -> Option<Timer> {
        None
    }

    pub(crate) fn handling(&self, _handler: &'static str, _template: &'static str) -> Option<Timer> {
        None
    }

    pub(crate) fn published(&self, _template: &'static str, _label: Label) {}

    pub(crate) fn tasks(&self, _template: &'static str, _state: &'static str, _count: u64) {}

    pub(crate) fn oldest(&self, _template: &'static str, _oldest: Duration) {}
}

#[derive(Debug)]
pub(crate) enum Timer {}

impl Timer {
    pub(crate) fn ended(&self, _label: Label) {
        match *self {}
    }
}

#[derive(Debug)]
pub(crate) struct Counted;

impl Counted {
    pub(crate) fn new(_name: &'static str, _labels: &[(&'static str, &'static str)]) -> Self {
        Self
    }

    #[inline]
    pub(crate) fn add(&self, _count: u64) {}
}

#[derive(Debug)]
pub(crate) struct ConnectionGauge;

impl ConnectionGauge {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn went_up(&self) {}

    pub(crate) fn went_down(&self) {}
}
