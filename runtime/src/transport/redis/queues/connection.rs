//! The connection that the queues of a bus share on one server or node: the `redis` crate's, over our own connector, and not made anew behind our back.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use redis::{Pipeline, Value, aio::MultiplexedConnection};
use tokio::{
    sync::Mutex as AsyncMutex,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    error::{ConnectError, chain},
    transport::{
        durable::task::Settled,
        life::Life,
        redis::{
            access::rule_for_told,
            client::{ClientDriver, patient_client},
            connector::Connector,
            line::lock,
            queues::{
                failure::Failure,
                scripts::{is_unknown, with_text},
                settling::Order,
            },
            retry::Retry,
            settings::Settings,
            stream::Stream,
            words,
        },
    },
};

/// What CLIENT LIST shows of the shared connection.
const SHARED_NAME: &str = "tidings-queue";

/// What the connections of one bus have in common.
pub(super) struct Context {
    pub(super) connector: Connector,
    pub(super) settings: Arc<Settings>,
    pub(super) life: Arc<Life>,
    /// Whether it was said that the access rules refuse to publish.
    pub(super) is_publishing_refused: Arc<AtomicBool>,
}

impl Context {
    /// What counted, of the answer to settlements. `None` says that it is none.
    pub(super) fn settled(&self, queue: &'static str, order: &Order, answer: &[u8]) -> Option<Vec<Settled>> {
        let (settled, refused) = order.settled(answer)?;
        if refused > 0 && !self.is_publishing_refused.swap(true, Ordering::Relaxed) {
            let rule = rule_for_told(&self.settings);
            tracing::warn!(
                queue,
                rule,
                "the server's access rules refuse to publish what tells of tasks; whoever waits for results looks now and then"
            );
        }
        Some(settled)
    }

    async fn open(&self, name: &str) -> Result<Stream, Failure> {
        let opened = self.connector.open_master(name).await;
        let opened = opened.map_err(|error| match error {
            ConnectError::Unauthorized { .. } | ConnectError::Tls { .. } => Failure::KeptOut(chain(&error)),
            _ => Failure::NotConnected(chain(&error)),
        })?;
        if opened.capabilities.mode == "cluster" && self.connector.cluster().is_none() {
            return Err(Failure::ClusterNode(opened.address));
        }
        if opened.capabilities.is_too_old_for_queues() {
            return Err(Failure::TooOld(opened.capabilities.version));
        }
        Ok(opened.stream)
    }

    /// Makes a connection after the pause that the attempts before call for, or as soon as another one could be made.
    pub(super) async fn open_in_time(&self, name: &str, retry: &mut Retry) -> Result<Stream, Failure> {
        let mut successes = self.connector.successes();
        tokio::select! {
            biased;
            reason = self.life.over() => return Err(Failure::Closed(reason.to_owned())),
            () = retry.pause(&mut successes, &self.settings.reconnect) => {}
        }
        let opened = tokio::select! {
            biased;
            reason = self.life.over() => Err(Failure::Closed(reason.to_owned())),
            opened = self.open(name) => opened,
        };
        if let Err(failure) = &opened
            && retry.failures.is_power_of_two()
        {
            tracing::warn!(connection = name, %failure, failures = retry.failures, "could not connect for queues");
        }
        opened
    }
}

/// The connection that a bus shares to one server or node: made when it is first needed, and again after it has failed.
pub(super) struct Shared {
    pub(super) context: Arc<Context>,
    live: Mutex<Option<Arc<Live>>>,
    /// Why the last attempt to connect failed.
    failed: Mutex<Option<String>>,
    /// Held by the one who makes the connection.
    retry: AsyncMutex<Retry>,
}

struct Live {
    connection: MultiplexedConnection,
    /// Whether there was an answer on it.
    has_answered: AtomicBool,
    /// Drives the connection; it has ended when the connection is lost.
    driver: Mutex<JoinSet<()>>,
}

impl Live {
    fn is_usable(&self) -> bool {
        let mut driver = lock(&self.driver);
        driver.try_join_next().is_none() && !driver.is_empty()
    }
}

impl Shared {
    pub(super) fn new(context: Arc<Context>) -> Self {
        let (live, failed) = Default::default();
        Self { context, live, failed, retry: AsyncMutex::default() }
    }

    /// Waits until there is a connection. An error says why there is none in time.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(super) async fn ready(&self, deadline: Instant) -> Result<(), Failure> {
        self.live(deadline).await.map(drop)
    }

    /// Sends commands together: an answer for each, errors of the server among them. A script that the server does not know is sent again with its text.
    ///
    /// # Cancel safety
    ///
    /// Once it was polled, the commands may be carried out or not.
    pub(super) async fn ask_until(&self, deadline: Instant, commands: &Pipeline) -> Result<Vec<Value>, Failure> {
        let live = self.live(deadline).await?;
        let answers = timeout_at(deadline, answered(&mut live.connection.clone(), commands)).await;
        let answers = answers.unwrap_or(Err(Failure::Late));
        let is_lost = match &answers {
            Ok(answers) => answers.iter().any(|answer| {
                // What a node has not, or not any more, is no fault of the connection.
                Failure::is_of_a_server_that_is_no_master(answer) && !Failure::is_of_another_node(answer)
            }),
            Err(_) => true,
        };
        if is_lost {
            self.context.connector.outdated();
            self.forget(&live);
        } else if !live.has_answered.swap(true, Ordering::Relaxed)
            && let Ok(mut retry) = self.retry.try_lock()
        {
            retry.failures = 0;
        }
        answers
    }

    async fn live(&self, deadline: Instant) -> Result<Arc<Live>, Failure> {
        let late = |_| {
            let reason = lock(&self.failed).clone();
            Err(Failure::NotConnected(reason.unwrap_or_else(|| "the connection is being made anew".to_owned())))
        };
        timeout_at(deadline, self.connected()).await.unwrap_or_else(late)
    }

    /// Closes the connection once those who wait for an answer have one, or no more time.
    pub(super) fn close(&self) {
        *lock(&self.live) = None;
    }

    /// The connection. Tries until there is one, unless the failure will last: whoever asks says for how long.
    async fn connected(&self) -> Result<Arc<Live>, Failure> {
        if let Some(live) = self.usable() {
            return Ok(live);
        }
        let mut retry = self.retry.lock().await;
        loop {
            if let Some(live) = self.usable() {
                return Ok(live);
            }
            match self.opened(&mut retry).await {
                Ok((connection, driver)) => {
                    let mut tokio_task = JoinSet::new();
                    tokio_task.spawn(driver);
                    let live = Arc::new(Live {
                        connection,
                        has_answered: AtomicBool::new(false),
                        driver: Mutex::new(tokio_task),
                    });
                    *lock(&self.live) = Some(Arc::clone(&live));
                    *lock(&self.failed) = None;
                    return Ok(live);
                }
                Err(Failure::NotConnected(reason)) => *lock(&self.failed) = Some(reason),
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn opened(&self, retry: &mut Retry) -> Result<(MultiplexedConnection, ClientDriver), Failure> {
        let stream = self.context.open_in_time(SHARED_NAME, retry).await?;
        let connected = timeout(self.context.settings.command_timeout, patient_client(stream)).await;
        let late = |_| Failure::NotConnected("the server did not answer in time".to_owned());
        connected.map_err(late)?.map_err(|error| Failure::NotConnected(words::of(&error)))
    }

    fn usable(&self) -> Option<Arc<Live>> {
        lock(&self.live).as_ref().filter(|live| live.is_usable()).map(Arc::clone)
    }

    fn forget(&self, lost: &Arc<Live>) {
        let mut live = lock(&self.live);
        if live.as_ref().is_some_and(|live| Arc::ptr_eq(live, lost)) {
            *live = None;
        }
    }
}

async fn answered(connection: &mut MultiplexedConnection, commands: &Pipeline) -> Result<Vec<Value>, Failure> {
    let mut answers = sent(connection, commands).await?;
    let (mut places, mut unknown) = (Vec::new(), Pipeline::new());
    for (at, (command, answer)) in commands.cmd_iter().zip(&answers).enumerate() {
        if is_unknown(answer)
            && let Some(command) = with_text(command)
        {
            places.push(at);
            unknown.add_command(command);
        }
    }
    if !places.is_empty() {
        for (at, answer) in places.into_iter().zip(sent(connection, &unknown).await?) {
            answers[at] = answer;
        }
    }
    Ok(answers)
}

async fn sent(connection: &mut MultiplexedConnection, commands: &Pipeline) -> Result<Vec<Value>, Failure> {
    let answers = connection.send_packed_commands(commands, 0, commands.len()).await;
    let answers = answers.map_err(|error| Failure::Lost(words::of(&error)))?;
    if answers.len() == commands.len() { Ok(answers) } else { Err(Failure::Unreadable) }
}
