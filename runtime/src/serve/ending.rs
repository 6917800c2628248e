//! How a service's tokio task ends: told in every case, also where nothing of it runs any more.

use std::thread;

use tokio::sync::watch;

use crate::{
    bus::handle::Bus,
    error::ShutdownError,
    route::{entry::Route, routes::Routes},
    serve::driver::Phase,
    transport::events::BusEvent,
};

/// Tells how a service's tokio task ends.
pub(super) struct Ending {
    bus: Bus,
    routes: Routes,
    phases: watch::Receiver<Phase>,
    /// Whether it was told.
    told: bool,
}

impl Ending {
    pub(super) fn new(bus: Bus, routes: Routes, phases: watch::Receiver<Phase>) -> Self {
        Self { bus, routes, phases, told: false }
    }

    pub(super) async fn observed(
        mut self,
        run: impl Future<Output = Result<(), ShutdownError>>,
    ) -> Result<(), ShutdownError> {
        let result = run.await;
        self.tell(&result);
        result
    }

    fn tell(&mut self, result: &Result<(), ShutdownError>) {
        self.told = true;
        match result {
            Ok(()) if matches!(*self.phases.borrow(), Phase::Dropped) => {}
            Ok(()) => tracing::info!("a service has stopped"),
            Err(error @ ShutdownError::BusClosed { .. }) => {
                tracing::error!(%error, handlers = ?names(self.routes), "a service has ended")
            }
            Err(error) => tracing::warn!(%error, "a service did not finish in time"),
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if self.told || matches!(*self.phases.borrow(), Phase::Dropped) {
            return;
        }
        let reason = if thread::panicking() {
            "its tokio task has panicked"
        } else {
            "the runtime of its tokio task was shut down"
        };
        let handlers = names(self.routes);
        tracing::error!(reason, ?handlers, "a service has ended without being asked to");
        self.bus.tell(BusEvent::ServiceEnded { handlers, reason: reason.to_owned() });
    }
}

fn names(routes: Routes) -> Vec<&'static str> {
    routes.iter().map(Route::handler).collect()
}
