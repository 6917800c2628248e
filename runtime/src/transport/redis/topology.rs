//! Where servers are.

use std::{fmt, path::PathBuf};

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

impl Topology {
    /// The server to connect to.
    pub(super) fn endpoint(&self) -> &Endpoint {
        match self {
            Self::Single(endpoint) => endpoint,
        }
    }
}
