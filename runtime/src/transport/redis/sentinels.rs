//! Which server is the master, as Sentinels say.
//!
//! A Sentinel is asked before each connection, and one is listened to all the time: as soon as another server is the master, every connection to
//! the one before fails (`followed`). Of two that say different things, the one that knows the later election is believed.
//!
//! <https://redis.io/docs/latest/develop/reference/sentinel-clients/>

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo, RedisError,
    aio::MultiplexedConnection, cmd,
};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{
    config::Reconnect,
    error::{ConnectError, chain},
    time::deadline_after,
    transport::redis::{
        access::{is_refusal, rule_for_sentinels},
        client::ClientDriver,
        door::{Door, Opened, Role, Servers},
        followed::Followed,
        race::first,
        topology::{AddressMap, Endpoint},
        words,
    },
};

/// What CLIENT LIST of a Sentinel shows.
const NAME: &str = "tidings-sentinel";
/// A Sentinel that is listened to is asked as often, and has answered by then.
const LOOK: Duration = Duration::from_secs(5);

/// Finds the master, and follows it. Dropping it ends that.
pub(super) struct Sentinels {
    found: Arc<Found>,
    _watcher: JoinSet<()>,
}

struct Found {
    sentinels: Vec<Door>,
    /// What they call the master.
    name: String,
    servers: Servers,
    map: AddressMap,
    known: watch::Sender<Option<Master>>,
    /// The one that has answered last is asked first.
    first: AtomicUsize,
}

/// The master.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Master {
    /// Each election has a higher one.
    epoch: u64,
    endpoint: Endpoint,
}

impl Sentinels {
    /// Has to be called within a tokio runtime, in which a Sentinel is listened to.
    pub(super) fn start(
        sentinels: Vec<Door>,
        name: String,
        servers: Servers,
        map: AddressMap,
        reconnect: Reconnect,
    ) -> Self {
        let (known, first) = (watch::Sender::new(None), AtomicUsize::new(0));
        let found = Arc::new(Found { sentinels, name, servers, map, known, first });
        let mut watcher = JoinSet::new();
        watcher.spawn(watch(Arc::clone(&found), reconnect));
        Self { found, _watcher: watcher }
    }

    /// Connects to the master and signs in.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes what was made so far.
    pub(super) async fn open(&self, name: &str, deadline: Instant) -> Result<Opened, ConnectError> {
        let found = &self.found;
        let asked = found.ask(deadline).await?;
        let known = found.learn(&asked);
        if known == asked {
            return found.open(known, name, deadline).await;
        }
        // A Sentinel that was cut off says what was true before the last election; one that was set up anew counts elections from the beginning.
        let half = Instant::now() + deadline.saturating_duration_since(Instant::now()) / 2;
        match found.open(known, name, half).await {
            Ok(opened) => Ok(opened),
            Err(_) => {
                let opened = found.open(asked.clone(), name, deadline).await?;
                found.known.send_replace(Some(asked));
                Ok(opened)
            }
        }
    }
}

impl Found {
    async fn open(&self, master: Master, name: &str, deadline: Instant) -> Result<Opened, ConnectError> {
        let door = self.servers.door(master.endpoint.clone())?;
        let Opened { address, stream, capabilities } = door.open(Role::Master, name, deadline).await?;
        let reason = "another server is the master now, as the Sentinels say";
        let is_master = move |known: &Option<Master>| known.as_ref() == Some(&master);
        let stream = Box::new(Followed::new(stream, self.known.subscribe(), is_master, reason));
        Ok(Opened { address, stream, capabilities })
    }

    /// Asks the Sentinels, until one answers.
    async fn ask(&self, deadline: Instant) -> Result<Master, ConnectError> {
        let tells = |error: &ConnectError| matches!(error, ConnectError::UnknownMaster { .. });
        let ask = async |at: usize| {
            let (mut connection, driver) = self.connect(at, deadline, |_| ()).await?;
            let master = tokio::select! {
                master = self.master(&mut connection, at) => master,
                () = driver => Err(self.sentinels[at].unusable("it closed the connection")),
            }?;
            self.first.store(at, Ordering::Relaxed);
            Ok(master)
        };
        let failure = match first(self.in_turn(), deadline, tells, ask).await {
            Ok(master) => return Ok(master),
            Err(Some(error @ (ConnectError::UnknownMaster { .. } | ConnectError::Unauthorized { .. }))) => {
                return Err(error);
            }
            Err(Some(error)) => chain(&error),
            Err(None) => format!("no answer within {:?}", self.servers.timeout),
        };
        Err(ConnectError::NoSentinel { sentinels: self.shown(), reason: failure })
    }

    /// The one that answered last, and then the others.
    fn in_turn(&self) -> Vec<usize> {
        let (count, first) = (self.sentinels.len(), self.first.load(Ordering::Relaxed));
        (0..count).map(|index| (first + index) % count).collect()
    }

    async fn connect(
        &self,
        at: usize,
        deadline: Instant,
        on_push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<(MultiplexedConnection, ClientDriver), ConnectError> {
        let door = &self.sentinels[at];
        let Opened { stream, capabilities, .. } = door.open(Role::Any, NAME, deadline).await?;
        if capabilities.mode != "sentinel" {
            let scheme = if self.servers.trust.is_some() { "rediss" } else { "redis" };
            let (what, scheme) = match capabilities.mode.as_str() {
                "cluster" => ("a node of a cluster", format!("{scheme}+cluster")),
                _ => ("a Redis server", scheme.to_owned()),
            };
            return Err(door.unusable(&format!("it is {what} and no Sentinel: write `{scheme}://{}`", door.address())));
        }
        let push = move |info| {
            on_push(info);
            Ok::<_, redis::aio::SendError>(())
        };
        let config =
            AsyncConnectionConfig::new().set_response_timeout(Some(self.servers.timeout)).set_push_sender(push);
        // Greeted already; the crate greets once more where it is to take what the server says unasked.
        let signed_in = RedisConnectionInfo::default().set_skip_set_lib_name().set_protocol(ProtocolVersion::RESP3);
        let made = timeout_at(deadline, MultiplexedConnection::new_with_config(&signed_in, stream, config)).await;
        let made = made.map_err(|_| door.late())?.map_err(|error| door.unusable(&words::of(&error)))?;
        Ok((made.0, Box::pin(made.1)))
    }

    /// While a failover goes on, the Sentinel that carries it out says by SENTINEL MASTER the epoch of the new election and the address of the old master. So
    /// that is not asked where the master is, and it is asked first: a new address with an old epoch is right, and soon told again.
    ///
    /// <https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/#sentinel-commands>
    async fn master(&self, connection: &mut MultiplexedConnection, at: usize) -> Result<Master, ConnectError> {
        let mut question = cmd("SENTINEL");
        question.arg("MASTER").arg(&self.name);
        let told = match question.query_async::<HashMap<String, String>>(connection).await {
            Ok(told) => told,
            Err(error) if error.detail().is_some_and(|words| words.contains("No such master")) => {
                return Err(ConnectError::UnknownMaster { name: self.name.clone(), sentinels: self.shown() });
            }
            Err(error) => return Err(self.refused(at, &error)),
        };
        let epoch = told.get("config-epoch").and_then(|epoch| epoch.parse().ok());
        let epoch = epoch.ok_or_else(|| self.sentinels[at].unusable("it does not say which election was the last"))?;
        let mut question = cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name);
        let address = question.query_async::<(String, u16)>(connection).await;
        let (host, port) = address.map_err(|error| self.refused(at, &error))?;
        Ok(Master { epoch, endpoint: self.map.reached(Endpoint::Network { host, port }) })
    }

    /// A Sentinel does not answer what it is asked; with the rule that allows it, where its access rules are why.
    fn refused(&self, at: usize, error: &RedisError) -> ConnectError {
        let (door, words) = (&self.sentinels[at], words::of(error));
        match is_refusal(&words) {
            true => {
                let rule = rule_for_sentinels(door.login.user(), &words);
                door.unusable(&format!("{words}; a rule that allows it, on each Sentinel: `{rule}`"))
            }
            false => door.unusable(&words),
        }
    }

    /// Believes whoever knows the later election; the master as it is known then.
    fn learn(&self, told: &Master) -> Master {
        let mut now_known = told.clone();
        self.known.send_if_modified(|known| match known {
            Some(known) if known.epoch >= told.epoch => {
                now_known = known.clone();
                false
            }
            _ => {
                let moved = known.as_ref().is_some_and(|known| known.endpoint != told.endpoint);
                if moved {
                    tracing::warn!(master = %self.name, server = %told.endpoint, "the Sentinels name another master");
                }
                *known = Some(told.clone());
                true
            }
        });
        now_known
    }

    /// Listens to a Sentinel until it is lost.
    async fn listen(&self, at: usize) -> Result<(), ConnectError> {
        let told = Arc::new(Notify::new());
        let tell = Arc::clone(&told);
        // A later one that is told before this one was looked at is the same look.
        let on_push = move |info: PushInfo| {
            if matches!(info.kind, PushKind::Message) {
                tell.notify_one();
            }
        };
        let (mut connection, mut driver) = self.connect(at, deadline_after(self.servers.timeout), on_push).await?;
        let listening = async {
            let subscribe = cmd("SUBSCRIBE").arg("+switch-master").exec_async(&mut connection).await;
            subscribe.map_err(|error| self.refused(at, &error))?;
            loop {
                let master = self.master(&mut connection, at).await?;
                self.learn(&master);
                self.first.store(at, Ordering::Relaxed);
                let _ = timeout(LOOK, told.notified()).await;
            }
        };
        tokio::select! {
            ended = listening => ended,
            () = &mut driver => Err(self.sentinels[at].unusable("it closed the connection")),
        }
    }

    fn shown(&self) -> String {
        let shown: Vec<String> = self.sentinels.iter().map(Door::address).collect();
        shown.join(", ")
    }
}

/// Listens to one Sentinel, and to another one when that is lost.
async fn watch(found: Arc<Found>, reconnect: Reconnect) {
    let (mut failures, mut told) = (0_u32, HashMap::new());
    loop {
        for at in found.in_turn() {
            let began = Instant::now();
            let Err(error) = found.listen(at).await else { continue };
            failures = if began.elapsed() > LOOK { 0 } else { failures.saturating_add(1) };
            let reason = chain(&error);
            // Ever more rarely, but whenever it is for another reason.
            let is_new = told.get(&at) != Some(&reason);
            if is_new || failures.is_power_of_two() {
                let sentinel = found.sentinels[at].address();
                tracing::warn!(sentinel, reason, failures, "a Sentinel is not heard");
            }
            if is_new {
                told.insert(at, reason);
            }
        }
        sleep(reconnect.pause(failures)).await;
    }
}

impl fmt::Debug for Sentinels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sentinels").field("name", &self.found.name).finish_non_exhaustive()
    }
}
