//! The connection for commands, on the `redis` crate's pipeline: many publishers share it, and their commands travel together.
//!
//! The crate gets a connection that is made, encrypted and signed in by us; it never reconnects and never subscribes here. None of its types
//! leaves this module.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use redis::{
    AsyncConnectionConfig, Cmd, IntoConnectionInfo, RedisError, ServerError, Value, aio::MultiplexedConnection,
};
use tokio::{
    sync::Mutex as AsyncMutex,
    task::{JoinSet, unconstrained},
    time::{Instant, sleep_until, timeout_at},
};

use crate::{error::ConnectError, transport::PublishFailure};

use super::{connection::Connector, settings::Settings};

/// What CLIENT LIST shows.
const CLIENT_NAME: &str = "tidings";
/// Commands that may wait for the pipeline's task. They keep their order as long as there is room, so there is a lot of it; a place that
/// is not taken costs nothing, and each command belongs to a publish that waits for its answer, for the command timeout at most.
const PIPELINE_BUFFER: usize = 64 * 1024;

/// See the module's documentation. Dropping it closes the connection.
pub(super) struct Commands {
    connector: Connector,
    settings: Arc<Settings>,
    link: Mutex<Link>,
    /// Held by the one publisher that makes the connection anew.
    retry: AsyncMutex<Retry>,
}

#[derive(Default)]
struct Link {
    live: Option<Live>,
    /// Why the last attempt to connect failed.
    failed: Option<String>,
    /// The task of the live connection; it is stopped when the next one takes its place, or when this is dropped.
    task: JoinSet<()>,
}

#[derive(Clone)]
struct Live {
    connection: MultiplexedConnection,
    /// Set when the connection is of no further use.
    broken: Arc<AtomicBool>,
    /// A cluster's node counts only its own subscribers.
    counts_receivers: bool,
}

/// Marks a connection as broken when its task ends, whatever ended it.
struct Ended(Arc<AtomicBool>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[derive(Default)]
struct Retry {
    failures: u32,
    not_before: Option<Instant>,
}

impl Commands {
    pub(super) async fn start(connector: Connector, settings: Arc<Settings>) -> Result<Self, ConnectError> {
        let commands = Self { connector, settings, link: Mutex::default(), retry: AsyncMutex::default() };
        commands.open().await?;
        Ok(commands)
    }

    /// PUBLISH; waits for a connection to be made anew if there is none. All of it within the command timeout.
    ///
    /// Publishes go out in the order in which they are first polled. While the connection is being made anew, or more than
    /// [`PIPELINE_BUFFER`] wait, they may overtake each other: await one before starting the next where that matters.
    ///
    /// <https://redis.io/docs/latest/commands/publish/>
    ///
    /// # Cancel safety
    ///
    /// Dropping it before its first poll sends nothing; later, the message may or may not be published.
    pub(super) async fn publish(&self, channel: &str, payload: &[u8]) -> Result<Option<u64>, PublishFailure> {
        let deadline = Instant::now() + self.settings.command_timeout;
        let mut live = match self.live() {
            Some(live) => live,
            None => match timeout_at(deadline, self.reconnected()).await {
                Ok(live) => live?,
                Err(_) => return Err(PublishFailure::NotConnected(self.reason())),
            },
        };
        // 64: the lengths and line ends around three words.
        let mut command = Cmd::with_capacity(3, channel.len() + payload.len() + 64);
        command.arg("PUBLISH").arg(channel).arg(payload);
        // Unconstrained, so that the first poll puts the command in line: tokio's budget would let a later one overtake it.
        let answer = unconstrained(live.connection.send_packed_command(&command));
        match timeout_at(deadline, answer).await {
            Ok(Ok(Value::Int(receivers))) => Ok(live.counts_receivers.then_some(receivers.unsigned_abs())),
            Ok(Ok(Value::ServerError(error))) => Err(self.refused(&error, channel)),
            Ok(Ok(_)) => {
                // An answer to another command: nothing on this connection can be trusted any more.
                live.broken.store(true, Ordering::Release);
                Err(PublishFailure::ConnectionLost("the server's answers are out of step".to_owned()))
            }
            Ok(Err(error)) => Err(self.failed(&error, &live)),
            Err(_) => {
                // Without this, a server that vanished without a word would cost every later publish its timeout too.
                live.broken.store(true, Ordering::Release);
                Err(PublishFailure::TimedOut(self.settings.command_timeout))
            }
        }
    }

    fn live(&self) -> Option<Live> {
        self.link().live.as_ref().filter(|live| !live.broken.load(Ordering::Acquire)).cloned()
    }

    /// Makes the connection anew, one caller at a time, with the reconnect policy's pauses between attempts.
    async fn reconnected(&self) -> Result<Live, PublishFailure> {
        let mut retry = self.retry.lock().await;
        loop {
            if let Some(live) = self.live() {
                return Ok(live);
            }
            if let Some(not_before) = retry.not_before {
                sleep_until(not_before).await;
            }
            // Set before the attempt: if the caller is dropped meanwhile, the next one must not try at once.
            retry.not_before = Some(Instant::now() + self.settings.reconnect.pause(retry.failures));
            retry.failures = retry.failures.saturating_add(1);
            match self.open().await {
                Ok(()) => {
                    retry.failures = 0;
                    tracing::info!("connected for commands again");
                }
                Err(error) => {
                    if retry.failures.is_power_of_two() {
                        tracing::warn!(%error, failures = retry.failures, "could not reconnect for commands");
                    }
                    let is_lasting = matches!(error, ConnectError::Unauthorized { .. } | ConnectError::Tls { .. });
                    self.link().failed = Some(error.to_string());
                    if is_lasting {
                        return Err(PublishFailure::NotConnected(error.to_string()));
                    }
                }
            }
        }
    }

    async fn open(&self) -> Result<(), ConnectError> {
        let (stream, hello) = self.connector.open(CLIENT_NAME).await?;
        if hello.role != "master" {
            return Err(self.connector.unusable(&format!(
                "its role is {}: what is published there reaches only its own subscribers; connect to the master",
                hello.role
            )));
        }
        // The connection is signed in already: with these settings the crate sends nothing of its own.
        let nothing = self.connector.unusable("the pipeline cannot be set up");
        let info = ("127.0.0.1", 0_u16).into_connection_info().map_err(|_| nothing)?;
        let info = info.redis_settings().clone().set_skip_set_lib_name();
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(PIPELINE_BUFFER);
        let (connection, driver) = MultiplexedConnection::new_with_config(&info, stream, config)
            .await
            .map_err(|error| self.connector.unusable(&error.to_string()))?;
        let broken = Arc::new(AtomicBool::new(false));
        let live = Live { connection, broken: Arc::clone(&broken), counts_receivers: hello.mode != "cluster" };
        let mut link = self.link();
        link.task.abort_all();
        link.task = JoinSet::new();
        let ended = Ended(broken);
        link.task.spawn(async move {
            let _ended = ended;
            driver.await;
        });
        link.live = Some(live);
        link.failed = None;
        Ok(())
    }

    fn refused(&self, error: &ServerError, channel: &str) -> PublishFailure {
        let reason = match error.details() {
            Some(details) => format!("{} {details}", error.code()),
            None => error.code().to_owned(),
        };
        if error.code() != "NOPERM" {
            return PublishFailure::Server(reason);
        }
        let user = &self.settings.user;
        let rule = match reason.contains("run the '") {
            true => format!("ACL SETUSER {user} +publish"),
            false => format!("ACL SETUSER {user} &{channel}"),
        };
        PublishFailure::Refused { channel: channel.to_owned(), reason, rule }
    }

    /// The crate does not say whether the command was sent, so it may have been.
    fn failed(&self, error: &RedisError, live: &Live) -> PublishFailure {
        live.broken.store(true, Ordering::Release);
        PublishFailure::ConnectionLost(error.to_string())
    }

    fn reason(&self) -> String {
        self.link().failed.clone().unwrap_or_else(|| "the connection is being made anew".to_owned())
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        // No code that can panic runs under the lock.
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Commands {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Commands").field("connected", &self.live().is_some()).finish_non_exhaustive()
    }
}
