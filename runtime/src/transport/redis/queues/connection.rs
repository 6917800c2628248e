//! The connection that the queues of a bus share on one server or node: the `redis` crate's, over our own connector, and not made anew behind our back.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use redis::{Pipeline, Value, aio::MultiplexedConnection};
use tokio::{
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
            retry::{Awaited, Retry},
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
        let opened = self.connector.open_followed(name).await;
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

/// The connection that a bus shares to one server or node: made when it is first needed, and again when it is needed after it has failed.
pub(super) struct Shared {
    pub(super) context: Arc<Context>,
    link: Arc<Link>,
    /// Makes the connection. Begun where somebody first needs one, and anew if the runtime that it was begun in is gone.
    keeper: Mutex<JoinSet<()>>,
}

/// What those who ask have in common with whoever makes the connection.
struct Link {
    context: Arc<Context>,
    live: Mutex<Option<Arc<Live>>>,
    /// Why the last attempt to connect failed.
    failed: Mutex<Option<Failure>>,
    /// Whether there was an answer since the last attempt to connect.
    has_answered: AtomicBool,
    awaited: Awaited<Failure>,
}

struct Live {
    connection: MultiplexedConnection,
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
        let (live, failed, has_answered, awaited) = Default::default();
        let link = Arc::new(Link { context: Arc::clone(&context), live, failed, has_answered, awaited });
        Self { context, link, keeper: Mutex::default() }
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
            self.link.forget(&live);
        } else if !self.link.has_answered.load(Ordering::Relaxed) {
            self.link.has_answered.store(true, Ordering::Relaxed);
        }
        answers
    }

    async fn live(&self, deadline: Instant) -> Result<Arc<Live>, Failure> {
        let late = |_| {
            let failed = lock(&self.link.failed).clone();
            Err(failed.unwrap_or_else(|| Failure::NotConnected("the connection is being made anew".to_owned())))
        };
        timeout_at(deadline, self.connected()).await.unwrap_or_else(late)
    }

    /// Closes the connection once those who wait for an answer have one, or no more time.
    pub(super) fn close(&self) {
        *lock(&self.link.live) = None;
    }

    /// The connection; waits until there is one, unless a failure will last. Whoever asks says for how long.
    async fn connected(&self) -> Result<Arc<Live>, Failure> {
        if let Some(live) = self.link.usable() {
            return Ok(live);
        }
        self.keep();
        tokio::select! {
            biased;
            reason = self.context.life.over() => Err(Failure::Closed(reason.to_owned())),
            live = self.link.awaited.made(|| self.link.usable()) => live,
        }
    }

    /// Has somebody make the connection.
    fn keep(&self) {
        let mut keeper = lock(&self.keeper);
        while keeper.try_join_next().is_some() {}
        if keeper.is_empty() {
            keeper.spawn(keep(Arc::clone(&self.link)));
        }
    }
}

/// Makes the connection when it is needed, until the bus has ended.
async fn keep(link: Arc<Link>) {
    let mut retry = Retry::default();
    while link.context.life.ended().is_none() {
        tokio::select! {
            _ = link.context.life.over() => {}
            () = link.awaited.wanted() => link.make(&mut retry).await,
        }
    }
}

impl Link {
    /// Makes the connection, with the reconnect policy's pauses between attempts, unless a failure will last.
    async fn make(&self, retry: &mut Retry) {
        while self.usable().is_none() {
            if self.has_answered.swap(false, Ordering::Relaxed) {
                retry.failures = 0;
            }
            match self.opened(retry).await {
                Ok((connection, driver)) => {
                    let mut tokio_task = JoinSet::new();
                    tokio_task.spawn(driver);
                    *lock(&self.live) = Some(Arc::new(Live { connection, driver: Mutex::new(tokio_task) }));
                    *lock(&self.failed) = None;
                }
                Err(failure) => {
                    *lock(&self.failed) = Some(failure.clone());
                    if !matches!(failure, Failure::NotConnected(_)) {
                        return self.awaited.tell(Some(failure));
                    }
                }
            }
        }
        self.awaited.tell(None);
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
