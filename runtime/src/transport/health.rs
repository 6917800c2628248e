//! How a bus and its server are.

use std::{fmt, time::Duration};

use crate::{
    error::ConnectError,
    transport::status::{GapCause, Status, SubscriptionSnapshot},
};

/// A snapshot of a bus, as [`Bus::stats`](crate::Bus::stats) takes it. Nothing is asked of the server. `Debug` shows how many subscriptions there
/// are, and leaves out what is zero.
#[derive(Clone)]
#[non_exhaustive]
pub struct BusStats {
    /// How the bus is connected.
    pub status: Status,
    /// For how long the status has been what it is.
    pub status_since: Duration,
    /// How often the connection for subscriptions was made anew; on a Redis Cluster those to nodes that have inboxes of instances count too.
    pub reconnects: u64,
    /// Every subscription and service of the bus; the channels for answers and the inboxes of instances are not among them.
    pub subscriptions: Vec<SubscriptionSnapshot>,
    /// Requests and acknowledged publishes that wait for an answer.
    pub pending_requests: usize,
    /// Answers that came when nobody waited for them: late, double, or forged.
    pub unexpected_answers: u64,
    /// Requests that name a channel for their answer to which none may go: they are handled, and not answered. See
    /// [`BusBuilder::allow_replies_to`](crate::BusBuilder::allow_replies_to).
    pub disobeyed_requests: u64,
    /// The channel for answers, with the namespace: `tidings:replies:…`. Absent before the first request.
    pub reply_channel: Option<String>,
}

impl fmt::Debug for BusStats {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("BusStats");
        shown.field("status", &self.status).field("status_since", &self.status_since);
        shown.field("subscriptions", &self.subscriptions.len()).field("pending_requests", &self.pending_requests);
        let counts = [
            ("reconnects", self.reconnects),
            ("unexpected_answers", self.unexpected_answers),
            ("disobeyed_requests", self.disobeyed_requests),
        ];
        for (name, count) in counts.into_iter().filter(|&(_, count)| count > 0) {
            shown.field(name, &count);
        }
        shown.finish_non_exhaustive()
    }
}

/// How a server is: the answer of [`Bus::health`](crate::Bus::health).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// How long a PING took there and back. Connecting is not in it.
    pub round_trip: Duration,
    /// Host and port of the server that was asked, or the path of its socket: with Sentinels that of the master now, on a cluster that of one of its
    /// masters. Absent on memory.
    pub server: Option<String>,
    /// The server's version, such as `7.2.4`. Absent on memory, and where the server does not tell.
    pub server_version: Option<String>,
    /// The server's role: `master` or `replica`. Absent on memory.
    pub role: Option<String>,
    /// How the connection for subscriptions is.
    pub status: Status,
    /// What should be looked after. Empty when all is well.
    pub warnings: Vec<HealthWarning>,
}

impl Health {
    pub(crate) fn new(round_trip: Duration, status: Status) -> Self {
        let warnings = match &status {
            Status::Connected => Vec::new(),
            Status::Reconnecting { cause, server } => {
                vec![HealthWarning::Reconnecting { cause: cause.clone(), server: server.clone() }]
            }
            Status::Closed => vec![HealthWarning::Closed],
        };
        Self { round_trip, server: None, server_version: None, role: None, status, warnings }
    }

    /// Whether nothing needs looking after.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.warnings.is_empty()
    }
}

/// Something that will lose messages or does so already. `Display` says what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HealthWarning {
    /// The server closes the connection of each subscriber of a message that the bus may publish.
    #[non_exhaustive]
    OutputBuffer {
        /// The server's hard limit for subscribers, in bytes.
        limit: u64,
        /// The bus's payload limit, in bytes.
        payload_limit: usize,
    },
    /// The server is a replica: what is published there reaches only its own subscribers.
    Replica,
    /// The address names one server, and that is a node of a cluster: channels work, requests only by chance, and queues not at all.
    #[non_exhaustive]
    ClusterNode {
        /// Host and port of the node.
        address: String,
    },
    /// No node of the cluster answers for some slots: requests to instances whose inbox is there fail, and as the cluster is set up, all others too.
    #[non_exhaustive]
    UncoveredSlots {
        /// How many of 16,384.
        slots: u16,
    },
    /// A node of the cluster is in another state than `ok`.
    #[non_exhaustive]
    NodeState {
        /// Host and port of the node.
        node: String,
        /// What the node that was asked says of it: `fail?` when only it misses the node, `fail` when most masters do; of itself that its
        /// `cluster_state` is `fail`.
        state: String,
    },
    /// The server does not let the bus read what it would check, as a rule because of its access rules.
    #[non_exhaustive]
    Unchecked {
        /// The command.
        command: &'static str,
        /// The server's words.
        reason: String,
        /// The command that would allow all checks, where access rules refuse this one.
        rule: Option<String>,
    },
    /// The connection for subscriptions is being made anew.
    #[non_exhaustive]
    Reconnecting {
        /// Why it was lost.
        cause: GapCause,
        /// The server that was lost, or that is tried, as host and port, where it is known.
        server: Option<String>,
    },
    /// The bus gave up reconnecting.
    Closed,
    /// The bus uses queues, and the server writes no append-only file: what was accepted since its last snapshot is lost when it dies.
    NoAppendOnlyFile,
    /// The bus uses queues, and the server makes no snapshots.
    NoSnapshots,
    /// The bus uses queues, and the server could not write to its append-only file: it refuses tasks, and gives none out.
    AppendOnlyFileFails,
    /// The bus uses queues, and the server's last snapshot failed: it refuses tasks and gives none out, unless its `stop-writes-on-bgsave-error` is
    /// `no`.
    SnapshotsFail,
    /// The bus uses queues, and the server removes keys where it needs memory: tasks are lost with them, or what is known of their keys.
    #[non_exhaustive]
    Evicts {
        /// The server's policy.
        policy: String,
    },
    /// The bus uses queues, and the server has used nine tenths of its `maxmemory`, or more: at the limit it refuses tasks, and works off those that
    /// it has.
    #[non_exhaustive]
    MemoryFull {
        /// What counts towards the limit, in bytes.
        used: u64,
        /// The server's `maxmemory`, in bytes.
        limit: u64,
    },
    /// The bus uses queues, and the server has fewer replicas than its `min-replicas-to-write`: it refuses tasks, and gives none out.
    #[non_exhaustive]
    TooFewReplicas {
        /// Replicas that are connected and do not lag.
        good: u32,
        /// How many there have to be.
        wanted: u32,
    },
    /// The bus uses queues, and the access rules do not let it wake its readers: a pause, a shutdown and a task that is due earlier than those
    /// before take up to a second.
    #[non_exhaustive]
    Unwakeable {
        /// The server's words.
        reason: String,
        /// The command that would allow it, where access rules refuse it.
        rule: Option<String>,
    },
    /// A service of this bus takes nothing from a queue although something is due, and connects anew until it does.
    #[non_exhaustive]
    QueueStalled {
        /// The queue's template.
        queue: &'static str,
    },
    /// Several groups of services take the same request: each is executed by an instance of one of them.
    #[non_exhaustive]
    SeveralGroups {
        /// The wire name of the request.
        message: String,
        /// The groups, in alphabetical order.
        groups: Vec<String>,
    },
}

impl fmt::Display for HealthWarning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutputBuffer { limit, payload_limit } => write!(
                formatter,
                "a message of {limit} bytes makes the server disconnect its subscribers, and the bus allows {payload_limit}: lower \
                 `payload_limit`, or run `CONFIG SET client-output-buffer-limit \"pubsub {wanted} {soft} 60\"`",
                wanted = payload_limit.saturating_mul(4),
                soft = payload_limit.saturating_mul(2),
            ),
            Self::Replica => formatter.write_str(
                "the server is a replica, and what is published there reaches only its own subscribers: connect to the master",
            ),
            Self::ClusterNode { address } => write!(
                formatter,
                "{address} is a node of a cluster: requests work there only where it has the slots of all that they need, and queues do not; \
                 write `redis+cluster://{address}` in the address"
            ),
            Self::UncoveredSlots { slots } => write!(
                formatter,
                "no node of the cluster answers for {slots} slots of 16384, so requests fail: start the nodes that had them, or run \
                 `redis-cli --cluster fix`"
            ),
            Self::NodeState { node, state } => write!(
                formatter,
                "the node {node} of the cluster is in the state `{state}`: look at it and at the network, or remove it with `redis-cli --cluster del-node`"
            ),
            Self::Unchecked { command, reason, rule } => {
                write!(formatter, "`{command}` was refused, so what it tells was not checked: {reason}")?;
                allowed_by(rule.as_deref(), formatter)
            }
            Self::Reconnecting { cause, server } => reconnecting(cause, server.as_deref(), formatter),
            Self::Closed => formatter.write_str("the bus gave up reconnecting: connect a new one"),
            Self::QueueStalled { queue } => write!(
                formatter,
                "nothing is taken from the queue {queue} although something is due: look at the server's log, and at what stands between"
            ),
            Self::SeveralGroups { message, groups } => write!(
                formatter,
                "each `{message}` is executed by one of the groups {}: give them one name with `group`, or another message to each",
                groups.join(", ")
            ),
            Self::NoAppendOnlyFile
            | Self::NoSnapshots
            | Self::AppendOnlyFileFails
            | Self::SnapshotsFail
            | Self::Evicts { .. }
            | Self::MemoryFull { .. }
            | Self::TooFewReplicas { .. }
            | Self::Unwakeable { .. } => queues_at_risk(self, formatter),
        }
    }
}

/// What puts tasks at risk, or has nobody work on them.
fn queues_at_risk(warning: &HealthWarning, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    match warning {
        HealthWarning::NoAppendOnlyFile => formatter.write_str(
            "the server writes no append-only file, so a crash loses tasks that it had accepted: run `CONFIG SET appendonly yes`",
        ),
        HealthWarning::NoSnapshots => formatter.write_str(
            "the server makes no snapshots, so without an append-only file a restart loses every task, and with one there is no other \
             copy: run `CONFIG SET save \"3600 1 300 100\"`",
        ),
        HealthWarning::AppendOnlyFileFails => formatter.write_str(
            "the server cannot write to its append-only file, and neither accepts tasks nor gives them out: look at its log, and at its disk",
        ),
        HealthWarning::SnapshotsFail => formatter.write_str(
            "the server's last snapshot failed, and until one succeeds it neither accepts tasks nor gives them out, unless \
             `stop-writes-on-bgsave-error` is `no`: look at its log, at its disk and its memory, and run `BGSAVE`",
        ),
        HealthWarning::Evicts { policy } => evicts(policy, formatter),
        HealthWarning::MemoryFull { used, limit } => write!(
            formatter,
            "the server has used {used} of the {limit} bytes of its `maxmemory`, {}: have tasks worked off, or raise it with \
             `CONFIG SET maxmemory`",
            if used < limit { "and refuses tasks from there on" } else { "and refuses tasks" }
        ),
        HealthWarning::TooFewReplicas { good, wanted } => write!(
            formatter,
            "the server has {good} of the {wanted} replicas that it wants, and neither accepts tasks nor gives them out: look at the \
             replicas, or lower `min-replicas-to-write`"
        ),
        HealthWarning::Unwakeable { reason, rule } => {
            write!(formatter, "readers of queues cannot be woken and look every second: {reason}")?;
            allowed_by(rule.as_deref(), formatter)
        }
        _ => Ok(()),
    }
}

fn allowed_by(rule: Option<&str>, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    rule.map_or(Ok(()), |rule| write!(formatter, "; a rule that allows it: `{rule}`"))
}

fn evicts(policy: &str, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    // No task has a time to live; keys of deduplication and of handlers that run once have one.
    let removed =
        if policy.starts_with("volatile") { "what it knows of keys, so that tasks may run twice" } else { "tasks" };
    write!(
        formatter,
        "the server's policy for a full memory is {policy}, which removes {removed}: run `CONFIG SET maxmemory-policy noeviction`"
    )
}

fn reconnecting(cause: &GapCause, server: Option<&str>, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    let connection = server.map_or_else(|| "a connection".to_owned(), |server| format!("the connection to {server}"));
    write!(
        formatter,
        "{connection} is being made anew ({cause}), and nothing is received over it meanwhile: look at the server and the network"
    )
}

/// Why the server's health is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HealthError {
    /// The server cannot be reached, or refuses.
    #[error("the server cannot be asked")]
    Connect(#[from] ConnectError),
    /// The server did not answer in time.
    #[error("the server did not answer within {timeout:?}")]
    #[non_exhaustive]
    TimedOut {
        /// The command timeout.
        timeout: Duration,
    },
    /// The server answered with an error, or the connection was lost.
    #[error("the server did not tell: {reason}")]
    #[non_exhaustive]
    Server {
        /// What happened.
        reason: String,
    },
}
