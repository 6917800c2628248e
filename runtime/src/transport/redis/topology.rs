//! Where servers are.

use std::{fmt, path::PathBuf};

/// One server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Endpoint {
    Network {
        host: String,
        port: u16,
    },
    /// A unix socket of this machine.
    Local(PathBuf),
}

impl fmt::Display for Endpoint {
    /// Host and port, or the socket's path, as errors and log lines name it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network { host, port } if host.contains(':') => write!(formatter, "[{host}]:{port}"),
            Self::Network { host, port } => write!(formatter, "{host}:{port}"),
            Self::Local(path) => write!(formatter, "unix:{}", path.to_string_lossy().escape_debug()),
        }
    }
}

/// How the servers of a bus stand to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Topology {
    /// There is one.
    Single(Endpoint),
    /// One of several is the master, and these Sentinels know which one.
    Sentinels {
        sentinels: Vec<Endpoint>,
        /// What they call the master and its replicas.
        master: String,
    },
    /// Several share the slots, and these are nodes of them.
    Cluster { seeds: Vec<Endpoint> },
}

impl fmt::Display for Topology {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single(endpoint) => write!(formatter, "{endpoint}"),
            Self::Sentinels { sentinels, master } => {
                list(sentinels, formatter)?;
                write!(formatter, "/{master}")
            }
            Self::Cluster { seeds } => list(seeds, formatter),
        }
    }
}

fn list(endpoints: &[Endpoint], formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (number, endpoint) in endpoints.iter().enumerate() {
        write!(formatter, "{}{endpoint}", if number > 0 { "," } else { "" })?;
    }
    Ok(())
}

/// Servers announce addresses as they see each other. Where this program sees them at others, these stand in their place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AddressMap(Vec<(String, Endpoint)>);

impl AddressMap {
    pub(super) fn add(&mut self, announced: String, reached: Endpoint) {
        self.0.push((announced, reached));
    }

    pub(super) fn reached(&self, announced: Endpoint) -> Endpoint {
        let text = announced.to_string();
        match self.0.iter().find(|(from, _)| *from == text) {
            Some((_, reached)) => reached.clone(),
            None => announced,
        }
    }
}
