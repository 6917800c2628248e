//! Why a connection could not be made.

use std::{io, time::Duration};

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address cannot be understood.
    #[error("`{url}` is no address of a bus: {reason}")]
    #[non_exhaustive]
    InvalidUrl {
        /// Host and port, or the path of a unix socket, where it is certain that they are; never anything else of the address.
        url: String,
        /// What is wrong, and what to write.
        reason: String,
    },
    /// An option of the builder has a value outside of its range.
    #[error("invalid configuration: {0}")]
    InvalidConfig(String),
    /// The builder names servers, and the address or another setting says something else.
    #[error("`{setting}` contradicts what was given beside it: {reason}")]
    #[non_exhaustive]
    Contradiction {
        /// The method of the builder.
        setting: &'static str,
        /// What does not fit, and what to write.
        reason: String,
    },
    /// The server cannot be reached.
    #[error("no Redis server answers at {address}")]
    #[non_exhaustive]
    Unreachable {
        /// Host and port, or the path of a unix socket.
        address: String,
        /// The reason.
        source: io::Error,
    },
    /// The server did not answer in time.
    #[error("the Redis server at {address} did not answer within {timeout:?}")]
    #[non_exhaustive]
    TimedOut {
        /// Host and port, or the path of a unix socket.
        address: String,
        /// The connect timeout.
        timeout: Duration,
    },
    /// The server refused user or password.
    #[error("the Redis server at {address} refused the credentials: {reason}")]
    #[non_exhaustive]
    Unauthorized {
        /// Host and port, or the path of a unix socket.
        address: String,
        /// The server's words.
        reason: String,
    },
    /// TLS could not be established.
    #[error("no TLS with {address}: {reason}")]
    #[non_exhaustive]
    Tls {
        /// Host and port, or the path of a unix socket.
        address: String,
        /// The reason.
        reason: String,
    },
    /// No Sentinel has said where the master is.
    #[error(
        "none of the Sentinels {sentinels} says where the master is: {reason}; see whether one of them runs, and at this host and port"
    )]
    #[non_exhaustive]
    NoSentinel {
        /// Host and port of each.
        sentinels: String,
        /// What became of the attempt that says most.
        reason: String,
    },
    /// The Sentinels know no master of this name.
    #[error(
        "the Sentinels {sentinels} know no master `{name}`: write the name that `sentinel monitor` gives it in their configuration"
    )]
    #[non_exhaustive]
    UnknownMaster {
        /// The name in the address.
        name: String,
        /// Host and port of each.
        sentinels: String,
    },
    /// The server answered something that tidings cannot work with.
    #[error("the server at {address} cannot be used: {reason}")]
    #[non_exhaustive]
    Unusable {
        /// Host and port, or the path of a unix socket.
        address: String,
        /// The reason.
        reason: String,
    },
}
