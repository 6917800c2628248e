//! What a server can do, as it says in its greeting.

/// What HELLO says of the server: version, role and mode. Each connection keeps what its own server said.
///
/// <https://redis.io/docs/latest/commands/hello/>
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// Such as `7.0.15`.
    pub(crate) version: String,
    /// `master`, `replica`, or nothing where a proxy leaves it out.
    pub(crate) role: String,
    /// `standalone`, `cluster` or `sentinel`.
    pub(crate) mode: String,
}

impl Capabilities {
    /// Whether what is published there reaches everybody: on a replica only its own subscribers hear it.
    pub(super) fn is_master(&self) -> bool {
        self.role == "master"
    }

    /// Whether it is known to be too old for queues, whose scripts begin with a line that Redis 7.0 was the first to read.
    pub(super) fn is_too_old_for_queues(&self) -> bool {
        let major = self.version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        major.is_some_and(|major| major < 7)
    }

    /// Whether PUBLISH counts all who receive: a cluster's node counts only its own subscribers.
    pub(super) fn counts_receivers(&self) -> bool {
        self.mode != "cluster"
    }
}
