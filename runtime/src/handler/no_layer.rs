//! What stands in for layers without the feature `tower`: there are none, and asking for one is a compile error.

use std::{future::Ready, sync::Arc};

use crate::{
    bus::handle::Bus,
    handler::{contract::Router, outcome::Ended},
    message::delivery::Delivery,
    route::entry::Route,
};

/// None can be made.
#[doc(hidden)]
#[derive(Debug)]
pub enum HandlerLayer {}

/// Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a layer needs the feature `tower` of `tidings`",
    label = "no layers without the feature `tower`",
    note = "write `tidings = {{ version = \"…\", features = [\"tower\"] }}` in `Cargo.toml`"
)]
pub trait HandlerLayers {}

/// Called by generated code.
#[doc(hidden)]
pub fn handler_layer<L: HandlerLayers>(_layer: L) -> HandlerLayer {
    unreachable!("no type is a layer without the feature `tower`")
}

/// No layers.
#[derive(Debug)]
pub(crate) struct Layers;

impl Layers {
    pub(crate) fn new<R: Router>(_router: &Arc<R>, _around: Vec<HandlerLayer>) -> Self {
        Self
    }

    pub(crate) fn around(&self, _route: usize) -> Option<&HandlerLayer> {
        None
    }
}

impl HandlerLayer {
    pub(crate) fn invoke(
        &self,
        _entry: &'static Route,
        _route: usize,
        _delivery: &mut Delivery,
        _bus: &Bus,
    ) -> Ready<Ended> {
        match *self {}
    }
}
