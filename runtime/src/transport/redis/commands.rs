//! The connection for commands: it is shared by all publishers, and made anew when it is lost.
//!
//! Not on the `redis` crate, whose pipeline costs a channel, two more copies of the payload and about a third more CPU for each command, lets
//! commands overtake each other when it is full, and does not say of a lost command whether it was sent. Scripts, streams and clusters, which
//! that crate knows, need connections of their own in any case.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::Mutex as AsyncMutex,
    time::{Instant, sleep_until, timeout_at},
};

use crate::{
    error::{ConnectError, PublishError, chain},
    transport::{
        contract::{Lined, Parcel, Published},
        redis::{
            access::{is_refusal, missing_rule},
            connector::{Connector, Opened},
            pipeline::{Answered, Pipeline, Response, Unanswered},
            settings::Settings,
        },
    },
};

/// What CLIENT LIST shows.
const CLIENT_NAME: &str = "tidings";

/// Publishes for everybody on one connection, which the next publisher makes anew when it is lost. Dropping it closes the connection.
pub(super) struct Commands {
    connector: Connector,
    settings: Arc<Settings>,
    link: Mutex<Current>,
    /// Held by the one publisher that makes the connection anew.
    retry: AsyncMutex<Retry>,
}

#[derive(Default)]
struct Current {
    live: Option<Arc<OpenPipeline>>,
    /// Why the last attempt to connect failed.
    failed: Option<String>,
}

struct OpenPipeline {
    pipeline: Pipeline,
    counts_receivers: bool,
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
    /// Publishes go out in the order in which they are first polled; while the connection is being made anew, those that wait for
    /// it may overtake each other. Await one before starting the next where that matters.
    ///
    /// <https://redis.io/docs/latest/commands/publish/>
    ///
    /// # Cancel safety
    ///
    /// Dropping it before its first poll sends nothing; later, the message may or may not be published.
    pub(super) async fn publish(&self, parcel: &Parcel) -> Published {
        self.publish_until(Instant::now() + self.settings.command_timeout, parcel).await
    }

    async fn publish_until(&self, deadline: Instant, parcel: &Parcel) -> Published {
        loop {
            let live = match self.live() {
                Some(live) => live,
                None => match timeout_at(deadline, self.reconnected()).await {
                    Ok(live) => live.map_err(|reason| not_connected(parcel, reason))?,
                    Err(_) => return Err(not_connected(parcel, self.reason())),
                },
            };
            let answered = live.pipeline.send(publish_words(parcel));
            let lost = |_| Err(Unanswered::Lost("the connection's tokio task has ended".to_owned()));
            match timeout_at(deadline, answered).await.map(|answered| answered.unwrap_or_else(lost)).ok() {
                // The connection was lost since `live` looked: another one will do.
                Some(Err(Unanswered::NotSent)) => {}
                answered => return self.result(&live, parcel, answered),
            }
        }
    }

    /// PUBLISH of each message, written together: one round trip. Those whose connection was lost before they were
    /// sent are published again, one by one. All of it within one command timeout.
    ///
    /// # Cancel safety
    ///
    /// As for [`publish`](Self::publish), for each of them.
    pub(super) async fn publish_all(&self, parcels: &[Parcel], lined: Option<Lined>) -> Vec<Published> {
        let deadline = Instant::now() + self.settings.command_timeout;
        let live = match self.live() {
            Some(live) => live,
            None => match timeout_at(deadline, self.reconnected()).await {
                Ok(Ok(live)) => live,
                _ => return parcels.iter().map(|parcel| Err(not_connected(parcel, self.reason()))).collect(),
            },
        };
        let answers = live.pipeline.send_all(parcels.iter().map(publish_words));
        drop(lined);
        let mut answers = answers.until(deadline).await.into_iter();
        let mut results = Vec::with_capacity(parcels.len());
        for parcel in parcels {
            results.push(match answers.next() {
                Some(Err(Unanswered::NotSent)) => self.publish_until(deadline, parcel).await,
                answer => self.result(&live, parcel, answer),
            });
        }
        results
    }

    /// What an answer means; there is none when the time is over.
    fn result(&self, live: &OpenPipeline, parcel: &Parcel, answered: Option<Answered>) -> Published {
        let template = parcel.template;
        match answered {
            Some(Ok(Response::Integer(receivers))) => Ok(live.counts_receivers.then_some(receivers)),
            Some(Ok(Response::Error(words))) => Err(self.refused(words, parcel)),
            Some(Err(Unanswered::NotSent)) => Err(not_connected(parcel, self.reason())),
            Some(Err(Unanswered::Lost(reason))) => Err(PublishError::ConnectionLost { template, reason }),
            None => {
                // Without this, a server that vanished without a word would cost every later publish its timeout too.
                live.pipeline.retire();
                Err(PublishError::TimedOut { template, timeout: self.settings.command_timeout })
            }
        }
    }

    fn live(&self) -> Option<Arc<OpenPipeline>> {
        self.link().live.as_ref().filter(|live| live.pipeline.is_usable()).map(Arc::clone)
    }

    /// Makes the connection anew, one caller at a time, with the reconnect policy's pauses between attempts. Ends with the reason of a
    /// failure that will last.
    async fn reconnected(&self) -> Result<Arc<OpenPipeline>, String> {
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
                        tracing::warn!(
                            error = chain(&error),
                            failures = retry.failures,
                            "could not reconnect for commands"
                        );
                    }
                    let is_lasting = matches!(error, ConnectError::Unauthorized { .. } | ConnectError::Tls { .. });
                    self.link().failed = Some(chain(&error));
                    if is_lasting {
                        return Err(chain(&error));
                    }
                }
            }
        }
    }

    async fn open(&self) -> Result<(), ConnectError> {
        let Opened { stream, capabilities } = self.connector.open_master(CLIENT_NAME).await?;
        let live =
            OpenPipeline { pipeline: Pipeline::start(stream), counts_receivers: capabilities.counts_receivers() };
        let mut link = self.link();
        // Those who wait for an answer on the old connection hold it until they have one, or no more time.
        link.live = Some(Arc::new(live));
        link.failed = None;
        Ok(())
    }

    fn refused(&self, reason: String, parcel: &Parcel) -> PublishError {
        let Parcel { template, channel, .. } = parcel;
        if !is_refusal(&reason) {
            return PublishError::Server { template, reason };
        }
        let rule = missing_rule(&self.settings.user, &reason, "publish", channel);
        PublishError::Refused { channel: channel.clone(), reason, rule }
    }

    fn reason(&self) -> String {
        self.link().failed.clone().unwrap_or_else(|| "the connection is being made anew".to_owned())
    }

    fn link(&self) -> MutexGuard<'_, Current> {
        // No code that can panic runs under the lock.
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn publish_words(parcel: &Parcel) -> [&[u8]; 3] {
    [b"PUBLISH", parcel.channel.as_bytes(), &parcel.payload]
}

fn not_connected(parcel: &Parcel, reason: String) -> PublishError {
    PublishError::NotConnected { template: parcel.template, reason }
}

impl fmt::Debug for Commands {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Commands").field("connected", &self.live().is_some()).finish_non_exhaustive()
    }
}
