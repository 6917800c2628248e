//! How many services of a bus take the same name: as many answers come from one receiver that the server counts.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{bus::handle::Bus, transport::contract::Name};

/// The names that services take on the connection that they share.
#[derive(Debug, Default)]
pub(crate) struct ServedNames {
    services: Mutex<HashMap<Name, usize>>,
}

/// A service's names. Dropping it forgets the service.
#[derive(Debug)]
pub(crate) struct Served {
    all: Arc<ServedNames>,
    names: Vec<Name>,
}

impl Served {
    /// How many services take the name, this one included.
    pub(crate) fn services(&self, name: usize) -> usize {
        self.names.get(name).and_then(|name| self.all.lock().get(name).copied()).unwrap_or(1)
    }

    /// How many services take the name that is written so, this one included.
    pub(crate) fn sharing(&self, text: &[u8]) -> usize {
        let name = self.names.iter().position(|name| name.text.as_bytes() == text);
        name.map_or(1, |name| self.services(name))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let mut services = self.all.lock();
        for name in &self.names {
            if let Some(count) = services.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    services.remove(name);
                }
            }
        }
    }
}

impl ServedNames {
    fn lock(&self) -> MutexGuard<'_, HashMap<Name, usize>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bus {
    /// Notes that a service takes these names on the shared connection. One with a connection of its own gives none.
    pub(crate) fn served(&self, names: Vec<Name>) -> Served {
        let all = Arc::clone(&self.shared.served);
        let mut services = all.lock();
        names.iter().for_each(|name| *services.entry(name.clone()).or_default() += 1);
        drop(services);
        Served { all, names }
    }
}
