//! Which node of a cluster has which slot.
//!
//! The map is asked of any node that answers: at first, at least once a minute, and whenever somebody finds that it is out of date (a MOVED, a name
//! that a node unsubscribed by itself, a node that is gone). Whoever depends on it watches it. A node for which the cluster is down is believed only where no
//! other one knows better: it may be cut off from those that have elected another.
//!
//! <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>, <https://redis.io/docs/latest/commands/cluster-slots/>

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use redis::{Value, cmd};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{
    error::{ConnectError, chain},
    time::deadline_after,
    transport::{
        contract::Name,
        redis::{
            access::is_refusal,
            client::patient_client,
            door::{Door, Opened, Role, Servers},
            followed::Followed,
            race::first,
            topology::{AddressMap, Endpoint},
            words,
        },
        status::NameKind,
    },
};

/// What CLIENT LIST shows of the connection that asks.
const NAME: &str = "tidings-slots";
/// The map is asked for again after so long at the latest.
const LOOK: Duration = Duration::from_secs(60);
/// And not more often than this. Once it was out of date it is asked for again after that, and then after twice as long each time: who was asked first may not have
/// heard of the change, and a master that has handed over takes shard channels as if it were one still.
const PAUSE: Duration = Duration::from_millis(100);
/// For so long it is waited for one that is up, after a node for which the cluster is down has said what it knows.
const DOUBT: Duration = Duration::from_millis(500);
/// Slots of a cluster.
pub(super) const SLOTS: u16 = 16_384;

/// The slot of a channel or key: of the part between its first braces, where there is one.
pub(super) fn slot(name: &[u8]) -> u16 {
    let tag = || {
        let open = name.iter().position(|&byte| byte == b'{')? + 1;
        let length = name[open..].iter().position(|&byte| byte == b'}').filter(|&length| length > 0)?;
        Some(&name[open..open + length])
    };
    crc16(tag().unwrap_or(name)) % SLOTS
}

/// Names that may go into one command: shard channels of one slot, and any others.
pub(super) fn group(name: &Name) -> u16 {
    match name.kind {
        NameKind::ShardChannel => slot(name.text.as_bytes()),
        NameKind::Channel | NameKind::Pattern => 0,
    }
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        let mut crc = crc ^ u16::from(byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
        }
        crc
    })
}

/// The masters of a cluster, and which slots each has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Slots {
    /// From a first slot to a last, in order.
    ranges: Vec<(u16, u16, Endpoint)>,
}

impl Slots {
    /// Of the answer of CLUSTER SLOTS; a node without an address is the one that was asked.
    fn read(answer: &Value, asked: &Endpoint, map: &AddressMap) -> Option<Self> {
        let Value::Array(ranges) = answer else { return None };
        let text = |value: &Value| match value {
            Value::BulkString(text) => Some(String::from_utf8_lossy(text).into_owned()),
            Value::SimpleString(text) => Some(text.clone()),
            Value::Nil => Some(String::new()),
            _ => None,
        };
        let number = |value: &Value| match value {
            Value::Int(number) => u16::try_from(*number).ok(),
            _ => None,
        };
        let range = |range: &Value| {
            let Value::Array(range) = range else { return None };
            let [first, last, master, ..] = range.as_slice() else { return None };
            let Value::Array(master) = master else { return None };
            let [host, port, ..] = master.as_slice() else { return None };
            let host = match (text(host)?.as_str(), asked) {
                ("" | "?", Endpoint::Network { host, .. }) => host.clone(),
                (host, _) => host.to_owned(),
            };
            let endpoint = map.reached(Endpoint::Network { host, port: number(port)? });
            let (first, last) = (number(first)?, number(last)?);
            (first <= last && last < SLOTS).then_some((first, last, endpoint))
        };
        let mut ranges: Vec<_> = ranges.iter().map(range).collect::<Option<_>>()?;
        ranges.sort_by_key(|&(first, ..)| first);
        // No slot has two masters.
        ranges.windows(2).all(|two| two[0].1 < two[1].0).then_some(Self { ranges })
    }

    /// Who has a slot; nobody where the cluster does not cover it.
    pub(super) fn owner(&self, slot: u16) -> Option<&Endpoint> {
        let at = self.ranges.partition_point(|&(_, last, _)| last < slot);
        self.ranges.get(at).filter(|(first, ..)| *first <= slot).map(|(_, _, endpoint)| endpoint)
    }

    /// The masters, each once.
    pub(super) fn nodes(&self) -> Vec<&Endpoint> {
        let mut nodes: Vec<&Endpoint> = Vec::new();
        for (_, _, endpoint) in &self.ranges {
            if !nodes.contains(&endpoint) {
                nodes.push(endpoint);
            }
        }
        nodes
    }

    /// How many slots somebody has.
    pub(super) fn covered(&self) -> u16 {
        self.ranges.iter().map(|(first, last, _)| last - first + 1).sum()
    }
}

/// A cluster: knows who has which slot. Dropping it ends that.
pub(super) struct Cluster {
    found: Arc<Found>,
    _watcher: JoinSet<()>,
}

struct Found {
    seeds: Vec<Endpoint>,
    servers: Servers,
    map: AddressMap,
    known: watch::Sender<Arc<Slots>>,
    /// Told when the map is out of date.
    outdated: Notify,
}

impl Cluster {
    /// Has to be called within a tokio runtime, in which the map is kept.
    pub(super) fn start(seeds: Vec<Endpoint>, servers: Servers, map: AddressMap) -> Self {
        let found = Arc::new(Found { seeds, servers, map, known: watch::Sender::default(), outdated: Notify::new() });
        let mut watcher = JoinSet::new();
        watcher.spawn(watch(Arc::clone(&found)));
        Self { found, _watcher: watcher }
    }

    /// Who has which slot, as it is known; asks where nothing is known yet.
    pub(super) async fn slots(&self, deadline: Instant) -> Result<Arc<Slots>, ConnectError> {
        let known = Arc::clone(&self.found.known.borrow());
        if known.ranges.is_empty() { self.found.ask(deadline).await } else { Ok(known) }
    }

    /// Who has which slot, and each change of that.
    pub(super) fn changes(&self) -> watch::Receiver<Arc<Slots>> {
        self.found.known.subscribe()
    }

    /// Somebody has found that the map is out of date: it is asked for anew.
    pub(super) fn outdated(&self) {
        self.found.outdated.notify_one();
    }

    /// The node at an address that another one has named, where it named a host.
    pub(super) fn announced(&self, address: &str) -> Option<Endpoint> {
        let (host, port) = address.rsplit_once(':').filter(|(host, _)| !matches!(*host, "" | "?"))?;
        Some(self.found.map.reached(Endpoint::Network { host: host.to_owned(), port: port.parse().ok()? }))
    }

    /// Connects to some master: the first that answers, beginning with any of them. The connection fails when the node has left the map, where
    /// what is published there may reach nobody.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes what was made so far.
    pub(super) async fn open_any(&self, name: &str, deadline: Instant) -> Result<Opened, ConnectError> {
        let slots = self.slots(deadline).await?;
        let mut nodes: Vec<Endpoint> = slots.nodes().into_iter().cloned().collect();
        let count = nodes.len().max(1) as u64;
        nodes.rotate_left((RandomState::new().hash_one(0) % count) as usize);
        let open = async |node: Endpoint| {
            let door = self.found.servers.door(node.clone())?;
            let Opened { address, stream, capabilities } = door.open(Role::Master, name, deadline).await?;
            let is_there = move |slots: &Arc<Slots>| slots.nodes().contains(&&node);
            let stream = Followed::new(stream, self.changes(), is_there, "the node has left the map of the cluster");
            Ok(Opened { address, stream: Box::new(stream), capabilities })
        };
        let opened = first(nodes, deadline, |_| true, open).await;
        opened.map_err(|failure| {
            self.outdated();
            failure.unwrap_or_else(|| self.found.late())
        })
    }

    /// Connects to this node, which has to be a master.
    ///
    /// # Cancel safety
    ///
    /// As of [`open_any`](Self::open_any).
    pub(super) async fn open_node(
        &self,
        node: &Endpoint,
        name: &str,
        deadline: Instant,
    ) -> Result<Opened, ConnectError> {
        let opened = self.found.servers.door(node.clone())?.open(Role::Master, name, deadline).await;
        opened.inspect_err(|_| self.outdated())
    }

    /// Connects to whoever has the slot.
    ///
    /// # Cancel safety
    ///
    /// As of [`open_any`](Self::open_any).
    pub(super) async fn open_slot(&self, slot: u16, name: &str, deadline: Instant) -> Result<Opened, ConnectError> {
        let slots = self.slots(deadline).await?;
        match slots.owner(slot) {
            Some(node) => self.open_node(node, name, deadline).await,
            None => {
                self.outdated();
                Err(self.found.none(&format!("nobody has slot {slot}")))
            }
        }
    }
}

impl Found {
    /// Asks whichever node answers first: those that are known, and then those of the address.
    async fn ask(&self, deadline: Instant) -> Result<Arc<Slots>, ConnectError> {
        let known = Arc::clone(&self.known.borrow());
        let mut nodes: Vec<Endpoint> = known.nodes().into_iter().cloned().collect();
        nodes.extend(self.seeds.iter().filter(|seed| !known.nodes().contains(seed)).cloned());
        let tells = |error: &ConnectError| !matches!(error, ConnectError::Unreachable { .. });
        let (doubtful, mut doubts) = watch::channel(Slots::default());
        let asked = first(nodes, deadline, tells, async |node: Endpoint| {
            let (slots, is_up) = self.ask_one(node, deadline).await?;
            if is_up {
                return Ok(slots);
            }
            doubtful.send_if_modified(|known| {
                let is_more = slots.covered() > known.covered();
                if is_more {
                    *known = slots;
                }
                is_more
            });
            Err(self.none("the cluster is down"))
        });
        let doubted = async {
            let _ = doubts.changed().await;
            sleep(DOUBT).await;
        };
        let told = tokio::select! {
            told = asked => told,
            () = doubted => Err(None),
        };
        let slots = told.or_else(|error| match doubtful.borrow().clone() {
            slots if slots.ranges.is_empty() => Err(error),
            slots => Ok(slots),
        });
        let slots = Arc::new(slots.map_err(|error| error.unwrap_or_else(|| self.late()))?);
        self.known.send_if_modified(|known| {
            let has_changed = **known != *slots;
            if has_changed {
                *known = Arc::clone(&slots);
            }
            has_changed
        });
        Ok(slots)
    }

    /// Who has which slot, as one node knows it, and whether the cluster is up for it.
    async fn ask_one(&self, node: Endpoint, deadline: Instant) -> Result<(Slots, bool), ConnectError> {
        let door = self.servers.door(node)?;
        let Opened { stream, capabilities, .. } = door.open(Role::Any, NAME, deadline).await?;
        if capabilities.mode != "cluster" {
            let scheme = if self.servers.trust.is_some() { "rediss" } else { "redis" };
            let advice = match capabilities.mode.as_str() {
                "sentinel" => format!("it is a Sentinel: write `{scheme}+sentinel://{}/name`", door.address()),
                _ => format!("it is no node of a cluster: write `{scheme}://{}`", door.address()),
            };
            return Err(door.unusable(&advice));
        }
        let asked = async {
            let (mut connection, driver) = patient_client(stream).await.map_err(|error| words::of(&error))?;
            let (mut question, mut state) = (cmd("CLUSTER"), cmd("CLUSTER"));
            let asked = async {
                let answer = question.arg("SLOTS").query_async::<Value>(&mut connection).await;
                // Who may not ask for the state believes what it is told.
                let info = state.arg("INFO").query_async::<String>(&mut connection).await.unwrap_or_default();
                Ok((answer.map_err(|error| words::of(&error))?, !info.contains("cluster_state:fail")))
            };
            tokio::select! {
                answer = asked => answer,
                () = driver => Err("it closed the connection".to_owned()),
            }
        };
        let answer = timeout_at(deadline, asked).await.map_err(|_| door.late())?;
        let (answer, is_up) = answer.map_err(|reason| self.untold(&door, &reason))?;
        let slots = Slots::read(&answer, &door.endpoint, &self.map);
        let slots = slots.ok_or_else(|| door.unusable("it does not say who has which slot"))?;
        if slots.ranges.is_empty() {
            return Err(door.unusable("it is a node of a cluster that has no slots yet"));
        }
        Ok((slots, is_up))
    }

    fn untold(&self, door: &Door, reason: &str) -> ConnectError {
        if !is_refusal(reason) {
            return door.unusable(reason);
        }
        let rule = format!("ACL SETUSER {} +cluster|slots", self.servers.login.user());
        door.unusable(&format!("{reason}; a rule that allows it: `{rule}`"))
    }

    fn none(&self, reason: &str) -> ConnectError {
        ConnectError::Unusable { address: self.address(), reason: reason.to_owned() }
    }

    /// No node has answered in time.
    fn late(&self) -> ConnectError {
        ConnectError::TimedOut { address: self.address(), timeout: self.servers.timeout }
    }

    fn address(&self) -> String {
        let seeds: Vec<String> = self.seeds.iter().map(ToString::to_string).collect();
        seeds.join(", ")
    }
}

/// Keeps the map up to date.
async fn watch(found: Arc<Found>) {
    let (mut failures, mut pause) = (0_u32, LOOK);
    loop {
        let is_outdated = timeout(pause, found.outdated.notified()).await.is_ok();
        pause = if is_outdated { PAUSE } else { LOOK.min(2 * pause) };
        match found.ask(deadline_after(found.servers.timeout)).await {
            Ok(_) => failures = 0,
            Err(error) => {
                failures = failures.saturating_add(1);
                if failures.is_power_of_two() {
                    tracing::warn!(reason = chain(&error), failures, "no node of the cluster says who has which slot");
                }
            }
        }
        sleep(PAUSE).await;
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Cluster").field("seeds", &self.found.seeds).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use crate::transport::redis::login::Login;

    use super::*;

    /// A node that says for so many answers that it has all slots, and then that another one has them.
    async fn node_that_hears_late(tokio_tasks: &mut JoinSet<()>, answers: usize) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut owners = std::iter::repeat_n(port, answers).chain(std::iter::repeat(1));
        tokio_tasks.spawn(async move {
            // Each question has a connection of its own, and they come one after the other.
            while let Ok((stream, _)) = listener.accept().await {
                answer_as_node(stream, &mut owners).await;
            }
        });
        Endpoint::Network { host: "127.0.0.1".to_owned(), port }
    }

    async fn answer_as_node(mut stream: TcpStream, owners: &mut impl Iterator<Item = u16>) {
        const HELLO: &str = "%3\r\n$5\r\nproto\r\n:3\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$4\r\nmode\r\n$7\r\ncluster\r\n";
        let mut words = [0; 256];
        while let Ok(length @ 1..) = stream.read(&mut words).await {
            let words = String::from_utf8_lossy(&words[..length]);
            let answer = match () {
                () if words.contains("HELLO") => HELLO.to_owned(),
                () if words.contains("SLOTS") => {
                    let owner = owners.next().unwrap();
                    format!("*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$9\r\n127.0.0.1\r\n:{owner}\r\n$2\r\nid\r\n")
                }
                () => "$16\r\ncluster_state:ok\r\n".to_owned(),
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_map_that_was_out_of_date_is_asked_for_again_until_somebody_has_heard_of_the_change() {
        let mut tokio_tasks = JoinSet::new();
        // The first look, and three that bring nothing new.
        let node = node_that_hears_late(&mut tokio_tasks, 4).await;
        let servers = Servers { login: Login::default(), trust: None, timeout: Duration::from_secs(10) };
        let cluster = Cluster::start(vec![node.clone()], servers, AddressMap::default());
        let known = cluster.slots(Instant::now() + LOOK).await.unwrap();
        assert_eq!(known.owner(0), Some(&node));
        let (mut changes, found) = (cluster.changes(), Instant::now());
        cluster.outdated();
        let changed = changes.wait_for(|slots| slots.owner(0) != Some(&node));
        assert!(timeout(LOOK / 2, changed).await.is_ok(), "it is not left until the next look");
        // A pause after each look, and as long again, twice and four times as long.
        assert!(found.elapsed() >= PAUSE * 10, "{:?}", found.elapsed());
    }

    #[test]
    fn slots_are_those_of_the_server() {
        // As CLUSTER KEYSLOT says.
        for (name, expected) in [
            ("", 0),
            ("123456789", 12_739),
            ("foo", 12_182),
            ("{foo}bar", 12_182),
            ("a{foo}{bar}", 12_182),
            ("{}foo", slot(b"{}foo")),
        ] {
            assert_eq!(slot(name.as_bytes()), expected, "{name}");
        }
        assert_ne!(slot(b"{}foo"), slot(b"foo"));
        assert_eq!(slot(b"shop:tidings:queues:{tasks:<p>}:new:tasks:a"), slot(b"tasks:<p>"));
    }

    #[test]
    fn a_map_says_who_has_a_slot_and_what_nobody_has() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let range = |first, last, host, port| {
            let master = Value::Array(vec![text(host), Value::Int(port), text("id"), Value::Array(Vec::new())]);
            Value::Array(vec![Value::Int(first), Value::Int(last), master])
        };
        let answer = Value::Array(vec![range(8_000, 16_383, "b", 2), range(0, 99, "", 1), range(100, 100, "b", 2)]);
        let node = |host: &str, port| Endpoint::Network { host: host.to_owned(), port };
        let mut map = AddressMap::default();
        map.add("b:2".to_owned(), node("c", 3));
        let slots = Slots::read(&answer, &node("asked", 9), &map).unwrap();
        for (slot, owner) in [
            (0, Some("asked:1")),
            (99, Some("asked:1")),
            (100, Some("c:3")),
            (101, None),
            (7_999, None),
            (16_383, Some("c:3")),
        ] {
            assert_eq!(slots.owner(slot).map(ToString::to_string).as_deref(), owner, "{slot}");
        }
        assert_eq!((slots.nodes().len(), slots.covered()), (2, 101 + 8_384));
        assert_eq!(Slots::read(&Value::Int(1), &node("a", 1), &map), None);
        for wrong in
            [vec![range(5, 4, "a", 1)], vec![range(0, 16_384, "a", 1)], vec![range(0, 9, "a", 1), range(9, 12, "b", 2)]]
        {
            assert_eq!(Slots::read(&Value::Array(wrong), &node("a", 1), &map), None);
        }
    }
}
