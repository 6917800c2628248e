//! What goes wrong on a connection for queues, and what it means for whoever asked.

use std::fmt;

use redis::Value;

use crate::{
    error::{EnqueueError, QueueError},
    transport::redis::{
        access::{is_refusal, is_refusal_in_script, rule_for_queues},
        settings::Settings,
        words,
    },
};

/// What goes wrong on a connection for queues.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// Nothing was sent.
    NotConnected(String),
    /// The server takes no connection of this user, and will not before somebody changes that. Nothing was sent.
    KeptOut(String),
    /// The address names one server, and that is a node of a cluster. Nothing was sent.
    ClusterNode(String),
    /// The server has this version, and queues need a newer one. Nothing was sent.
    TooOld(String),
    /// The bus is closed. Nothing was sent.
    Closed(String),
    /// No answer in time.
    Late,
    /// The connection was lost before an answer came.
    Lost(String),
    /// The server's words, cleaned.
    Server(String),
    /// The answer is none of ours.
    Unreadable,
}

impl Failure {
    /// Of the error that an answer is.
    pub(super) fn of(answer: &Value) -> Option<Self> {
        let Value::ServerError(error) = answer else { return None };
        let text = format!("{} {}", error.code(), error.details().unwrap_or_default());
        Some(Self::Server(words::cleaned(text.as_bytes())))
    }

    /// What becomes of tasks behind one that failed so, if they are not to be sent either: whoever enqueues many waits for one timeout, and not for one
    /// with each part of them.
    pub(super) fn behind(&self) -> Option<Self> {
        match self {
            Self::Lost(_) | Self::Server(_) | Self::Unreadable => None,
            Self::Late => {
                Some(Self::NotConnected("it was not sent, as those before it were not answered in time".to_owned()))
            }
            other => Some(other.clone()),
        }
    }

    pub(super) fn check(answer: Value) -> Result<Value, Self> {
        Self::of(&answer).map_or(Ok(answer), Err)
    }

    /// Whether the answer says that the next connection may lead to another server, or to this one when it is ready.
    pub(super) fn is_of_a_server_that_is_no_master(answer: &Value) -> bool {
        matches!(answer, Value::ServerError(error) if is_no_master(error.code()))
    }

    /// Whether a node of a cluster has done nothing, because the slot is not its own, or not any more, or is not served at all for now.
    pub(super) fn is_of_another_node(answer: &Value) -> bool {
        matches!(answer, Value::ServerError(error) if words::is_elsewhere(error.code()))
    }

    pub(super) fn for_queue(self, queue: &'static str, settings: &Settings) -> QueueError {
        match self {
            Self::NotConnected(reason) | Self::KeptOut(reason) | Self::Lost(reason) => {
                QueueError::NotConnected { queue, reason }
            }
            Self::ClusterNode(address) => QueueError::ClusterNode { queue, address },
            Self::TooOld(version) => QueueError::ServerTooOld { queue, version },
            Self::Closed(reason) => QueueError::Closed { queue, reason },
            Self::Late => QueueError::TimedOut { queue, timeout: settings.command_timeout },
            Self::Unreadable => QueueError::Server { queue, reason: UNREADABLE.to_owned() },
            Self::Server(reason) => match words::code(&reason) {
                "NOGROUP" => QueueError::Gone { queue, reason },
                // Of a key that was deleted 7.0 says it so. Who else is not blocked any more has lost its master, and the connection with it.
                "UNBLOCKED" if reason.contains("no longer exists") => QueueError::Gone { queue, reason },
                "UNBLOCKED" => QueueError::NotConnected { queue, reason },
                code if is_no_master(code) => QueueError::NotConnected { queue, reason: explained(&reason) },
                _ if is_refused(&reason) => {
                    QueueError::Refused { queue, rule: rule_for_queues(settings, &reason), reason }
                }
                _ => QueueError::Server { queue, reason },
            },
        }
    }

    pub(super) fn for_enqueue(&self, queue: &'static str, settings: &Settings) -> EnqueueError {
        match self {
            Self::NotConnected(reason) | Self::KeptOut(reason) => {
                EnqueueError::NotConnected { queue, reason: reason.clone() }
            }
            Self::ClusterNode(address) => EnqueueError::ClusterNode { queue, address: address.clone() },
            Self::TooOld(version) => EnqueueError::ServerTooOld { queue, version: version.clone() },
            Self::Closed(reason) => EnqueueError::Closed { queue, reason: reason.clone() },
            Self::Late => {
                EnqueueError::Undecided { queue, reason: format!("no answer within {:?}", settings.command_timeout) }
            }
            Self::Lost(reason) => EnqueueError::Undecided { queue, reason: reason.clone() },
            Self::Unreadable => EnqueueError::Undecided { queue, reason: UNREADABLE.to_owned() },
            Self::Server(reason) => {
                let reason = reason.clone();
                match words::code(&reason) {
                    "OOM" => EnqueueError::ServerFull { queue, reason },
                    code if is_no_master(code) => EnqueueError::NotConnected { queue, reason: explained(&reason) },
                    _ if is_refused(&reason) => {
                        EnqueueError::Refused { queue, rule: rule_for_queues(settings, &reason), reason }
                    }
                    _ => EnqueueError::Server { queue, reason },
                }
            }
        }
    }
}

pub(super) const UNREADABLE: &str = "an answer that cannot be read";

fn is_no_master(code: &str) -> bool {
    matches!(code, "READONLY" | "LOADING" | "MASTERDOWN") || words::is_elsewhere(code)
}

/// Of a server that has just started, what that means.
fn explained(words: &str) -> String {
    match words::code(words) {
        "LOADING" => {
            format!("the server has just started and still reads its data; it serves queues once it has ({words})")
        }
        _ => words.to_owned(),
    }
}

fn is_refused(words: &str) -> bool {
    is_refusal(words) || is_refusal_in_script(words)
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected(reason)
            | Self::KeptOut(reason)
            | Self::Closed(reason)
            | Self::Lost(reason)
            | Self::Server(reason) => formatter.write_str(reason),
            Self::ClusterNode(address) => {
                write!(formatter, "{address} is a node of a cluster: write `redis+cluster://`")
            }
            Self::TooOld(version) => write!(formatter, "queues need Redis 7.0 or newer, and the server is {version}"),
            Self::Late => formatter.write_str("no answer in time"),
            Self::Unreadable => formatter.write_str(UNREADABLE),
        }
    }
}
