//! Where servers are.

use std::fmt;

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Endpoint {
    /// Host and port, as errors and log lines name it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(formatter, "[{host}]:{port}") } else { write!(formatter, "{host}:{port}") }
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
