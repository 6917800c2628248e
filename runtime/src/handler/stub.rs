//! What stands in where a macro has failed, so that no second error follows from the first.

use crate::{
    bus::handle::Bus,
    channel::template::{Segment, Template},
    handler::{
        contract::Router,
        layer::HandlerLayer,
        outcome::Outcome,
        returned::{Returns, Takes},
    },
    message::{delivery::Delivery, facts::Facts, older::Answered},
    route::{
        entry::{HandlerOptions, Route},
        routes::Routes,
    },
};

/// The route of a handler whose macro has failed, so that no second error follows from the first.
#[doc(hidden)]
#[must_use]
pub const fn stub_route(handler: &'static str, segments: &'static [Segment]) -> Route {
    Route::new(handler, handler, Facts::stub(Template::new(handler, segments)), HandlerOptions::DEFAULT)
}

/// Messages whose derive has failed: their handlers may return anything.
#[doc(hidden)]
#[derive(Debug)]
pub enum AnyAnswer {}

impl Answered for AnyAnswer {
    type Types = ();
    const IS_AWAITED: bool = false;
    const IS_KNOWN: bool = false;
}

impl<T> Takes<Returns<T>> for AnyAnswer {
    fn outcome_of(_returned: Returns<T>, _delivery: &Delivery, _bus: &Bus) -> Outcome {
        Outcome::Done
    }
}

/// A router to stand in where `routes![…]` has failed, so that no second error follows from the first.
#[doc(hidden)]
#[derive(Debug)]
pub struct StubRouter;

impl StubRouter {
    pub fn with_state<S>(self, _state: S) -> Self {
        self
    }
}

impl Router for StubRouter {
    type Itself = Self;

    const ROUTES: Routes = Routes::of(&[]);

    fn itself(self) -> Self {
        self
    }

    fn layers() -> Vec<Option<fn() -> HandlerLayer>> {
        Vec::new()
    }

    async fn dispatch(&self, _route: usize, _delivery: &mut Delivery, _bus: &Bus) -> Outcome {
        Outcome::Done
    }
}
