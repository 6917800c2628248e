//! What goes to the node that has the slot, on clusters of two masters or three.

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
};

use redis::Value;

use crate::transport::{
    health::HealthWarning,
    redis::cluster::{SLOTS, slot},
};

use super::*;

/// Masters without replicas.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Server>,
}

impl Cluster {
    /// Each has the same share of the slots.
    pub(crate) async fn start(count: u16, options: &[&str]) -> Self {
        let share = |at: u16| u32::from(SLOTS) * u32::from(at) / u32::from(count);
        let shares = (0..count).map(|at| (share(at) as u16, share(at + 1) as u16 - 1)).collect();
        Self::with_slots(shares, options).await
    }

    async fn with_slots(shares: Vec<(u16, u16)>, options: &[&str]) -> Self {
        let mut nodes: Vec<Server> = Vec::new();
        for (at, (first, last)) in shares.iter().enumerate() {
            let bus = free_port().to_string();
            let own = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", &bus];
            let node = Server::start_with(&[&own[..], options].concat());
            node.run(&format!("CLUSTER SET-CONFIG-EPOCH {}", at + 1));
            node.run(&format!("CLUSTER ADDSLOTSRANGE {first} {last}"));
            if let Some(other) = nodes.first() {
                other.run(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", node.port));
            }
            nodes.push(node);
        }
        let cluster = Self { nodes };
        for node in &cluster.nodes {
            eventually("a cluster", || {
                let info = node.text("CLUSTER INFO");
                info.contains("cluster_state:ok") && info.contains(&format!("cluster_size:{}", shares.len()))
            })
            .await;
        }
        cluster
    }

    fn url(&self) -> String {
        self.nodes[0].url().replace("redis://", "redis+cluster://")
    }

    pub(crate) async fn bus(&self) -> Redis {
        self.bus_with(config()).await
    }

    pub(super) async fn bus_with(&self, config: Config) -> Redis {
        Redis::connect(&self.url(), &config).await.unwrap()
    }

    /// Which node has the slot of a name.
    pub(super) fn owner(&self, name: &str) -> usize {
        let ranges: Vec<(u16, u16, Vec<Value>)> = redis::from_redis_value(self.nodes[0].run("CLUSTER SLOTS")).unwrap();
        let slot = slot(name.as_bytes());
        let (.., master) = ranges.iter().find(|(first, last, _)| (*first..=*last).contains(&slot)).unwrap();
        let Value::Int(port) = master[1] else { panic!("{master:?}") };
        self.nodes.iter().position(|node| i64::from(node.port) == port).unwrap()
    }

    /// A name whose slot is there.
    fn name_at(&self, node: usize) -> String {
        (0..).map(|number| format!("inbox:{number}")).find(|name| self.owner(name) == node).unwrap()
    }

    fn id(&self, node: usize) -> String {
        self.nodes[node].text("CLUSTER MYID")
    }

    /// From now on a node sends on what it does not have any more.
    pub(super) fn begin_to_move(&self, slot: u16, from: usize, to: usize) {
        self.nodes[to].run(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", self.id(from)));
        self.nodes[from].run(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", self.id(to)));
    }

    pub(super) fn end_to_move(&self, slot: u16, from: usize, to: usize) {
        let keys: Vec<String> =
            redis::from_redis_value(self.nodes[from].run(&format!("CLUSTER GETKEYSINSLOT {slot} 100"))).unwrap();
        for key in keys {
            self.nodes[from].run(&format!("MIGRATE 127.0.0.1 {} {key} 0 5000", self.nodes[to].port));
        }
        let id = self.id(to);
        for node in [to, from].into_iter().chain(0..self.nodes.len()) {
            self.nodes[node].run(&format!("CLUSTER SETSLOT {slot} NODE {id}"));
        }
    }

    pub(super) fn moves(&self, slot: u16, from: usize, to: usize) {
        self.begin_to_move(slot, from, to);
        self.end_to_move(slot, from, to);
    }

    /// How many connections for commands a node has.
    fn connections(&self, node: usize) -> usize {
        let list = self.nodes[node].text("CLIENT LIST");
        list.lines().filter(|line| line.contains(" name=tidings ")).count()
    }
}

/// Whoever is subscribed to a shard channel, without this crate.
struct Listener {
    lines: Lines<BufReader<TcpStream>>,
}

impl Listener {
    async fn on(node: &Server, channel: &str) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", node.port)).await.unwrap();
        stream.write_all(format!("SSUBSCRIBE {channel}\r\n").as_bytes()).await.unwrap();
        let mut listener = Self { lines: BufReader::new(stream).lines() };
        while listener.line().await != ":1" {}
        listener
    }

    async fn line(&mut self) -> String {
        tokio::time::timeout(DEADLINE, self.lines.next_line()).await.unwrap().unwrap().unwrap()
    }

    async fn payload(&mut self) -> String {
        while self.line().await != "smessage" {}
        for _ in 0..3 {
            self.line().await;
        }
        self.line().await
    }
}

fn to_shard(channel: &str, payload: &str) -> Parcel {
    Parcel { reach: Reach::ShardChannel, ..parcel(channel, payload) }
}

fn claim(key: &str) -> Claim {
    Claim { template: "a", key: key.to_owned(), holds: Duration::from_secs(60) }
}

fn patient() -> Config {
    Config { command_timeout: DEADLINE, ..config() }
}

fn hasty() -> Config {
    Config { command_timeout: Duration::from_millis(700), connect_timeout: Duration::from_millis(500), ..config() }
}

#[tokio::test]
async fn what_belongs_to_a_slot_goes_to_its_node_and_is_counted_there() {
    let cluster = Cluster::start(2, &[]).await;
    let redis = cluster.bus().await;
    assert_eq!(cluster.connections(0) + cluster.connections(1), 1, "others are made when they are needed");
    for node in [0, 1] {
        let name = cluster.name_at(node);
        assert_eq!(redis.publish(to_shard(&name, "1")).await.unwrap(), Some(0));
        let mut listener = Listener::on(&cluster.nodes[node], &name).await;
        assert_eq!(redis.publish(to_shard(&name, "2")).await.unwrap(), Some(1));
        assert_eq!(listener.payload().await, "2");
        assert_eq!(redis.publish(parcel(&name, "3")).await.unwrap(), None);
        assert!(redis.claim(claim(&name)).await.unwrap());
        assert!(!redis.claim(claim(&name)).await.unwrap());
    }
    assert_eq!((redis.publish_atomically(vec![parcel("a", "1"), parcel("b", "2")])).await.unwrap(), [None, None]);
    assert_eq!(redis.publish_atomically((0..40).map(|_| parcel("a", "1")).collect()).await.unwrap(), [None; 40]);
    assert_eq!(cluster.connections(0) + cluster.connections(1), 3);
    assert!(redis.health().await.unwrap().is_well(), "{:?}", redis.health().await);
    redis.close("enough");
    for node in [0, 1] {
        eventually("all are closed", || cluster.connections(node) == 0).await;
        let error = redis.publish(to_shard(&cluster.name_at(node), "4")).await.unwrap_err();
        assert!(matches!(error, PublishError::Closed { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_batch_for_several_nodes_keeps_its_order_and_tells_when_it_is_in_line() {
    let cluster = Cluster::start(2, &[]).await;
    let redis = cluster.bus().await;
    let names = [cluster.name_at(0), cluster.name_at(1)];
    let mut listeners =
        [Listener::on(&cluster.nodes[0], &names[0]).await, Listener::on(&cluster.nodes[1], &names[1]).await];
    let parcels = (0..300).map(|number| match number % 3 {
        2 => parcel("news", "3"),
        at => to_shard(&names[at], &number.to_string()),
    });
    let (lined, in_line) = tokio::sync::oneshot::channel();
    let (results, told) = tokio::join!(redis.publish_all(parcels.collect(), Some(lined)), in_line);
    assert!(told.is_err(), "it is told by being dropped");
    for (at, result) in results.into_iter().enumerate() {
        assert_eq!(result.unwrap(), (at % 3 != 2).then_some(1), "{at}");
    }
    for number in 0..300 {
        if let Some(listener) = listeners.get_mut(number % 3) {
            assert_eq!(listener.payload().await, number.to_string());
        }
    }
    for node in [0, 1] {
        let info = cluster.nodes[node].text("INFO commandstats");
        assert!(info.contains("cmdstat_spublish:calls=100,"), "{info}");
    }
}

#[tokio::test]
async fn a_slot_that_has_moved_is_found_at_its_new_node() {
    let cluster = Cluster::start(2, &[]).await;
    let redis = cluster.bus_with(patient()).await;
    let name = cluster.name_at(0);
    let moving = slot(name.as_bytes());
    assert_eq!(redis.publish(to_shard(&name, "1")).await.unwrap(), Some(0));
    assert!(redis.claim(claim(&name)).await.unwrap());
    for (round, (from, to)) in [(0, 1), (1, 0), (0, 1)].into_iter().enumerate() {
        cluster.moves(moving, from, to);
        let mut listener = Listener::on(&cluster.nodes[to], &name).await;
        match round {
            0 => assert_eq!(redis.publish(to_shard(&name, "2")).await.unwrap(), Some(1)),
            1 => assert!(!redis.claim(claim(&name)).await.unwrap(), "it has moved too"),
            _ => {}
        }
        let batch = (0..50).map(|number| to_shard(&name, &format!("batch {number}"))).collect();
        let results = redis.publish_all(batch, None).await;
        assert!(results.iter().all(|result| matches!(result, Ok(Some(1)))), "{results:?}");
        while listener.payload().await != "batch 0" {}
        for number in 1..50 {
            assert_eq!(listener.payload().await, format!("batch {number}"));
        }
    }
}

#[tokio::test]
async fn a_slot_that_is_being_moved_is_waited_for() {
    let cluster = Cluster::start(2, &[]).await;
    let redis = cluster.bus_with(patient()).await;
    let (name, hurried) = (cluster.name_at(0), cluster.bus_with(hasty()).await);
    let moving = slot(name.as_bytes());
    cluster.begin_to_move(moving, 0, 1);
    let error = hurried.claim(claim(&name)).await.unwrap_err();
    assert!(matches!(&error, PublishError::Server { reason, .. } if reason.starts_with("ASK")), "{error}");
    assert!(error.is_retryable(), "{error}");
    let asked = cluster.nodes[0].text("INFO errorstats");
    let moved = async {
        eventually("it was sent on", || cluster.nodes[0].text("INFO errorstats") != asked).await;
        cluster.end_to_move(moving, 0, 1);
    };
    let (claimed, ()) = tokio::join!(redis.claim(claim(&name)), moved);
    assert!(claimed.unwrap());
    assert!(!redis.claim(claim(&name)).await.unwrap());
}

#[tokio::test]
async fn a_slot_that_nobody_has_is_waited_for_and_then_an_error() {
    let cluster = Cluster::start(2, &[]).await;
    let (redis, hurried) = (cluster.bus_with(patient()).await, cluster.bus_with(hasty()).await);
    let names = [cluster.name_at(0), cluster.name_at(1)];
    let lost = slot(names[0].as_bytes());
    for node in &cluster.nodes {
        node.run(&format!("CLUSTER DELSLOTS {lost}"));
    }
    for node in &cluster.nodes {
        eventually("it is down", || node.text("CLUSTER INFO").contains("cluster_state:fail")).await;
    }
    let batch = hurried.publish_all(vec![to_shard(&names[0], "1"), parcel("news", "2")], None).await;
    let [Err(refused), Ok(None)] = &batch[..] else { panic!("{batch:?}") };
    let published = hurried.publish(to_shard(&names[0], "1")).await.unwrap_err();
    let claimed = hurried.claim(claim(&names[0])).await.unwrap_err();
    // Its slot is there, but no node takes keys while one slot is not.
    let elsewhere = hurried.claim(claim(&names[1])).await.unwrap_err();
    for error in [refused, &published, &claimed, &elsewhere] {
        let words = error.to_string();
        assert!(words.contains("CLUSTERDOWN") || words.contains("no node of the cluster has slot"), "{words}");
        assert!(error.is_retryable(), "{words}");
    }
    let warnings = hurried.health().await.unwrap().warnings;
    assert!(warnings.contains(&HealthWarning::UncoveredSlots { slots: 1 }), "{warnings:?}");
    assert!(
        warnings.iter().any(|warning| matches!(warning, HealthWarning::NodeState { state, .. } if state == "fail"))
    );
    let asked = cluster.nodes[1].text("INFO errorstats");
    let found = async {
        eventually("it was asked for", || cluster.nodes[1].text("INFO errorstats") != asked).await;
        cluster.nodes[0].run(&format!("CLUSTER ADDSLOTS {lost}"));
    };
    let (first, second, ()) =
        tokio::join!(redis.publish(to_shard(&names[0], "1")), redis.claim(claim(&names[1])), found);
    assert_eq!((first.unwrap(), second.unwrap()), (Some(0), true));
}

#[tokio::test]
async fn the_connection_to_a_node_that_leaves_the_map_is_closed() {
    let half = SLOTS / 2;
    let shares = vec![(0, half - 1), (half, SLOTS - 2), (SLOTS - 1, SLOTS - 1)];
    let cluster = Cluster::with_slots(shares, &["--cluster-allow-replica-migration", "no"]).await;
    let last = (0..).map(|number| number.to_string()).find(|name| slot(name.as_bytes()) == SLOTS - 1).unwrap();
    let redis = cluster.bus_with(patient()).await;
    assert_eq!(redis.publish(to_shard(&last, "1")).await.unwrap(), Some(0));
    assert!(cluster.connections(2) > 0);
    cluster.moves(SLOTS - 1, 2, 0);
    assert_eq!(redis.publish(to_shard(&last, "2")).await.unwrap(), Some(0));
    eventually("it is closed", || cluster.connections(2) == 0).await;
    // The one for all other channels was there perhaps, and has left too.
    eventually("it is elsewhere", || redis.status() == Status::Connected).await;
    assert_eq!(publish(&redis, "news", "3").await.unwrap(), None);
    cluster.moves(SLOTS - 1, 0, 2);
    assert_eq!(redis.publish(to_shard(&last, "4")).await.unwrap(), Some(0));
}

#[tokio::test]
async fn a_node_that_is_cut_off_is_not_believed() {
    let cluster = Cluster::start(3, &[]).await;
    let redis = cluster.bus_with(patient()).await;
    let name = cluster.name_at(0);
    let slots = format!("0 {}", SLOTS / 3 - 1);
    assert_eq!(redis.publish(to_shard(&name, "1")).await.unwrap(), Some(0));
    // The others take over what the first one has, and do not speak with it any more, nor it with them.
    let ids = [0, 1, 2].map(|node| cluster.id(node));
    for (node, other) in [(0, 1), (0, 2), (1, 0), (2, 0)] {
        cluster.nodes[node].run(&format!("CLUSTER FORGET {}", ids[other]));
    }
    eventually("it is alone", || cluster.nodes[0].text("CLUSTER INFO").contains("cluster_state:fail")).await;
    cluster.nodes[1].run(&format!("CLUSTER ADDSLOTSRANGE {slots}"));
    for node in [1, 2] {
        let has_all = || cluster.nodes[node].text("CLUSTER INFO").contains("cluster_slots_assigned:16384");
        eventually("the others have all slots", has_all).await;
    }
    cluster.nodes[0].run("CLIENT KILL TYPE normal SKIPME yes");
    let mut listener = Listener::on(&cluster.nodes[1], &name).await;
    // Until the map has been asked for, it takes what it is sent.
    let arrived = async {
        while !matches!(redis.publish(to_shard(&name, "2")).await, Ok(Some(1))) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, arrived).await.unwrap();
    assert_eq!(listener.payload().await, "2");
    eventually("nobody is connected to it", || cluster.connections(0) == 0).await;
    assert_eq!(redis.publish(to_shard(&name, "3")).await.unwrap(), Some(1));
}

#[tokio::test]
async fn a_user_who_may_not_ask_who_has_which_slot_is_told_the_rule() {
    let cluster = Cluster::start(1, &[]).await;
    let login = || Config { username: Some("shop".to_owned()), password: Some("bread".to_owned()), ..config() };
    cluster.nodes[0].run("ACL SETUSER shop on >bread &* ~* +publish +subscribe +psubscribe");
    let error = Redis::connect(&cluster.url(), &login()).await.unwrap_err();
    assert!(error.to_string().contains("`ACL SETUSER shop +cluster|slots`"), "{error}");
    cluster.nodes[0].run("ACL SETUSER shop +cluster|slots");
    let redis = Redis::connect(&cluster.url(), &login()).await.unwrap();
    assert_eq!(publish(&redis, "news", "1").await.unwrap(), None);
}

#[tokio::test]
async fn a_node_that_is_away_takes_only_its_own_slots_with_it() {
    let mut cluster = Cluster::start(2, &["--cluster-require-full-coverage", "no"]).await;
    let redis = cluster.bus_with(hasty()).await;
    let names = [cluster.name_at(0), cluster.name_at(1)];
    for name in &names {
        redis.publish(to_shard(name, "1")).await.unwrap();
    }
    cluster.nodes[1].kill();
    let batch = redis.publish_all(names.iter().map(|name| to_shard(name, "2")).collect(), None).await;
    let [Ok(Some(0)), Err(error)] = &batch[..] else { panic!("{batch:?}") };
    assert!(matches!(error, PublishError::NotConnected { .. } | PublishError::ConnectionLost { .. }), "{error}");
    let error = redis.publish(to_shard(&names[1], "3")).await.unwrap_err();
    assert!(
        matches!(&error, PublishError::NotConnected { reason, .. } if reason.contains(&cluster.nodes[1].port.to_string())),
        "{error}"
    );
    let lost = cluster.endpoint(1).to_string();
    assert!(matches!(redis.status(), Status::Reconnecting { server: Some(server), .. } if server == lost));
    assert_eq!(redis.publish(to_shard(&names[0], "4")).await.unwrap(), Some(0));
    cluster.nodes[1].restart();
    eventually("it is back", || redis.status() == Status::Connected).await;
    assert_eq!(redis.publish(to_shard(&names[1], "5")).await.unwrap(), Some(0));
}

#[tokio::test]
async fn an_answer_does_not_wait_for_a_node_that_is_away() {
    let mut cluster =
        Cluster::start(2, &["--cluster-require-full-coverage", "no", "--cluster-node-timeout", "60000"]).await;
    let name = cluster.name_at(1);
    // Connections for what has no slot go to any node: to the other one.
    cluster.nodes[1].signal("STOP");
    let redis = cluster.bus_with(patient()).await;
    cluster.nodes[1].signal("CONT");
    let mut reader = Reader::attach(&redis, vec![channel(&name)]).await.unwrap();
    let answer = |payload: &str| Parcel { reach: Reach::ShardChannelFirst, ..parcel(&name, payload) };
    redis.publish(answer("nobody is subscribed to the shard channel")).await.unwrap();
    cluster.nodes[1].signal("STOP");
    let began = Instant::now();
    redis.publish(answer("it stands still")).await.unwrap();
    cluster.nodes[1].kill();
    redis.publish(answer("it is gone")).await.unwrap();
    assert!(began.elapsed() < DEADLINE / 4, "{:?}", began.elapsed());
    for payload in ["nobody is subscribed to the shard channel", "it stands still", "it is gone"] {
        assert_eq!(reader.message().await.1, payload);
    }
}

#[tokio::test]
async fn a_node_is_asked_whether_it_is_a_master_only_where_nobody_there_is_the_result() {
    let cluster = Cluster::start(2, &[]).await;
    let redis = cluster.bus_with(patient()).await;
    let name = cluster.name_at(1);
    let asked = || {
        let seen = cluster.nodes[1].text("INFO commandstats");
        let line = seen.lines().find_map(|line| line.strip_prefix("cmdstat_hello:calls=")).unwrap();
        line.split(',').next().unwrap().parse::<u64>().unwrap()
    };
    // Connects to the node.
    assert_eq!(redis.publish(to_shard(&name, "1")).await.unwrap(), Some(0));
    let before = asked();
    for _ in 0..3 {
        redis.publish(Parcel { reach: Reach::ShardChannelFirst, ..parcel(&name, "2") }).await.unwrap();
    }
    assert_eq!(asked(), before);
    assert_eq!(redis.publish(to_shard(&name, "3")).await.unwrap(), Some(0));
    assert_eq!(asked(), before + 1);
}

#[tokio::test]
async fn what_one_node_refuses_others_may_take() {
    let cluster = Cluster::start(2, &[]).await;
    for (node, rules) in cluster.nodes.iter().zip(["+@all &* ~*", "+@all -spublish -eval &* ~*"]) {
        node.run(&format!("ACL SETUSER shop on >bread {rules}"));
    }
    let login = Config { username: Some("shop".to_owned()), password: Some("bread".to_owned()), ..hasty() };
    let redis = cluster.bus_with(login).await;
    let names = [cluster.name_at(0), cluster.name_at(1)];
    assert_eq!(redis.publish(to_shard(&names[0], "1")).await.unwrap(), Some(0));
    let error = redis.publish(to_shard(&names[1], "1")).await.unwrap_err();
    assert!(matches!(&error, PublishError::Refused { rule, .. } if rule == "ACL SETUSER shop +spublish"), "{error}");
    let error = redis.claim(claim(&names[1])).await.unwrap_err();
    assert!(matches!(&error, PublishError::Refused { rule, .. } if rule.contains("+eval")), "{error}");
    // A node that does not take the password any more.
    cluster.nodes[1].run("ACL SETUSER shop resetpass >cake");
    cluster.nodes[1].run("CLIENT KILL TYPE normal SKIPME yes");
    cluster.nodes[0].run("CLIENT KILL TYPE normal SKIPME yes");
    eventually("it is connected to the other one", || cluster.connections(0) > 0).await;
    let error = redis.publish(to_shard(&names[1], "2")).await.unwrap_err();
    assert!(matches!(error, PublishError::NotConnected { .. } | PublishError::ConnectionLost { .. }), "{error}");
    assert!(!error.to_string().contains("bread"), "{error}");
    assert_eq!(redis.publish(to_shard(&names[0], "2")).await.unwrap(), Some(0));
}

#[tokio::test]
async fn a_node_that_is_given_as_one_server_says_so() {
    let cluster = Cluster::start(2, &[]).await;
    let redis = connected(&cluster.nodes[0]).await;
    let names = [cluster.name_at(0), cluster.name_at(1)];
    assert_eq!(publish(&redis, "news", "1").await.unwrap(), None);
    assert_eq!(redis.publish(to_shard(&names[0], "1")).await.unwrap(), Some(0));
    // What has a slot finds its node from there.
    assert_eq!(redis.publish(to_shard(&names[1], "1")).await.unwrap(), Some(0));
    assert!(redis.claim(claim(&names[1])).await.unwrap());
    let warnings = redis.health().await.unwrap().warnings;
    let address = format!("127.0.0.1:{}", cluster.nodes[0].port);
    assert_eq!(warnings, [HealthWarning::ClusterNode { address: address.clone() }]);
    assert!(warnings[0].to_string().contains(&format!("redis+cluster://{address}")), "{}", warnings[0]);
}
