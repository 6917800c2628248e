//! A Redis Cluster of three masters, with a replica of each where a test needs them, as plain processes.

use std::{process::Command, time::Duration};

use tokio::sync::OnceCell;

use crate::{port, redis_server::RedisServer, wait::eventually};

/// A deadline for what takes a few seconds on an idle machine.
const SOON: Duration = Duration::from_secs(60);
/// How long nodes wait for each other where nobody is to be counted as gone, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(30);

/// A Redis Cluster of three masters. Dropping it kills them.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<RedisServer>,
}

/// How many masters a cluster has.
const MASTERS: usize = 3;

impl Cluster {
    /// After so long without an answer the others count a node as gone.
    pub const NODE_TIMEOUT: Duration = Duration::from_millis(1_500);

    /// The one that all tests of a binary share which break nothing on it, each in a namespace of its own: three masters without replicas. It starts when
    /// it is asked for the first time, and ends with the process.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Cluster> = OnceCell::const_new();
        SHARED.get_or_init(async || Self::of(MASTERS, PATIENCE).await).await
    }

    /// Three masters and three replicas of a test's own. Waits until every node says that all is well.
    pub async fn start() -> Self {
        Self::of(2 * MASTERS, Self::NODE_TIMEOUT).await
    }

    async fn of(count: usize, node_timeout: Duration) -> Self {
        let mut nodes = Vec::new();
        for _ in 0..count {
            let lines = [
                format!("cluster-port {}", port::free()),
                format!("cluster-node-timeout {}", node_timeout.as_millis()),
            ];
            let own = ["cluster-enabled yes", "cluster-config-file nodes.conf", "repl-diskless-sync-delay 0"];
            let lines: Vec<&str> = own.into_iter().chain(lines.iter().map(String::as_str)).collect();
            nodes.push(RedisServer::with_settings(&lines).await);
        }
        let cluster = Self { nodes };
        cluster.join().await;
        cluster
    }

    async fn join(&self) {
        let addresses: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        let (known, replicas) = (self.nodes.len(), self.nodes.len() / MASTERS - 1);
        let created = tokio::task::spawn_blocking(move || {
            let mut command = Command::new("redis-cli");
            command.args(["--cluster", "create"]).args(addresses).args(["--cluster-replicas", &replicas.to_string()]);
            command.arg("--cluster-yes");
            command.output().expect("redis-cli can be started")
        });
        let created = created.await.expect("redis-cli ends");
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
        for node in &self.nodes {
            eventually(SOON, async || {
                let info: String = node.try_command(&["CLUSTER", "INFO"]).await.unwrap_or_default();
                let role: String = node.try_command(&["INFO", "replication"]).await.unwrap_or_default();
                let is_level = role.contains("role:master") && role.contains(&format!("connected_slaves:{replicas}"))
                    || role.contains("master_link_status:up");
                info.contains("cluster_state:ok") && info.contains(&format!("cluster_known_nodes:{known}")) && is_level
            })
            .await;
        }
    }

    /// The address for `Bus::connect`, with two of its nodes.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis+cluster://127.0.0.1:{},127.0.0.1:{}", self.nodes[0].port(), self.nodes[1].port())
    }

    /// Those that are masters when it starts.
    #[must_use]
    pub fn masters(&self) -> &[RedisServer] {
        &self.nodes[..MASTERS]
    }

    /// The replica of a master, of a cluster that has them.
    pub async fn replica_of(&self, master: &RedisServer) -> &RedisServer {
        let id: String = master.command(&["CLUSTER", "MYID"]).await;
        let mut found = None;
        // The others tell it with some delay who has become a replica of it.
        eventually(SOON, async || {
            let replicas: Vec<String> = master.command(&["CLUSTER", "REPLICAS", &id]).await;
            let is_one = |node: &&RedisServer| replicas.iter().any(|line| line.contains(&format!(":{}@", node.port())));
            found = self.nodes.iter().find(is_one);
            found.is_some()
        })
        .await;
        found.expect("it is waited for")
    }

    /// All nodes: at first three masters and then their replicas.
    #[must_use]
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// The slot of a name, as the server says it.
    pub async fn slot(&self, name: &str) -> u16 {
        self.living().await.command(&["CLUSTER", "KEYSLOT", name]).await
    }

    /// The master that has a slot, as the others see it.
    pub async fn owner(&self, slot: u16) -> &RedisServer {
        let answer: Vec<Vec<redis::Value>> = self.living().await.command(&["CLUSTER", "SLOTS"]).await;
        let number = |value: &redis::Value| match value {
            redis::Value::Int(number) => u16::try_from(*number).expect("a slot or a port"),
            other => panic!("no number: {other:?}"),
        };
        let owner = answer.iter().find_map(|range| match range.as_slice() {
            [first, last, redis::Value::Array(master), ..] => {
                (number(first)..=number(last)).contains(&slot).then(|| number(&master[1]))
            }
            other => panic!("no range of slots: {other:?}"),
        });
        let port = owner.expect("somebody has it");
        self.nodes.iter().find(|node| node.port() == port).expect("it is one of ours")
    }

    /// Moves a slot with its keys to another master, and tells every node.
    pub async fn migrate(&self, slot: u16, to: &RedisServer) {
        if self.owner(slot).await.port() != to.port() {
            self.migration(slot, to).await.end().await;
        }
    }

    /// Begins to move a slot to another master than its own: its keys are where they were.
    pub async fn migration<'a>(&'a self, slot: u16, to: &'a RedisServer) -> Migration<'a> {
        let from = self.owner(slot).await;
        let id = async |node: &RedisServer| node.command::<String>(&["CLUSTER", "MYID"]).await;
        let (source, target, slot) = (id(from).await, id(to).await, slot.to_string());
        to.command::<String>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source]).await;
        from.command::<String>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target]).await;
        Migration { cluster: self, from, to, target, slot }
    }

    /// Waits until a slot has another owner than this.
    pub async fn another_than(&self, port: u16, slot: u16) {
        eventually(SOON, async || self.owner(slot).await.port() != port).await;
        let healthy = async || {
            let info: String = self.living().await.try_command(&["CLUSTER", "INFO"]).await.unwrap_or_default();
            info.contains("cluster_state:ok")
        };
        eventually(SOON, healthy).await;
    }

    /// A node that answers.
    async fn living(&self) -> &RedisServer {
        for node in &self.nodes {
            let answered = tokio::time::timeout(Duration::from_secs(1), node.try_command::<String>(&["PING"])).await;
            if matches!(answered, Ok(Ok(_))) {
                return node;
            }
        }
        panic!("no node answers");
    }
}

/// A slot on its way from one master to another.
#[derive(Debug)]
pub struct Migration<'a> {
    cluster: &'a Cluster,
    from: &'a RedisServer,
    to: &'a RedisServer,
    /// Its id.
    target: String,
    slot: String,
}

impl Migration<'_> {
    /// Moves keys of the slot, each of which has to be there.
    pub async fn keys(&self, keys: &[String]) {
        let port = self.to.port().to_string();
        let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        words.extend(keys.iter().map(String::as_str));
        let moved: String = self.from.command(&words).await;
        assert_eq!(moved, "OK", "{keys:?}");
    }

    /// Moves the keys that are left and then the slot, and tells every node.
    pub async fn end(self) {
        let Self { cluster, from, to, target, slot } = &self;
        loop {
            let keys: Vec<String> = from.command(&["CLUSTER", "GETKEYSINSLOT", slot, "100"]).await;
            if keys.is_empty() {
                break;
            }
            self.keys(&keys).await;
        }
        for node in [to, from] {
            node.command::<String>(&["CLUSTER", "SETSLOT", slot, "NODE", target]).await;
        }
        for node in &cluster.nodes {
            // A replica does not take it, and learns it from its master.
            let _ = node.try_command::<String>(&["CLUSTER", "SETSLOT", slot, "NODE", target]).await;
        }
    }
}
