//! Redis of our own, one server or a cluster, on free ports, and the bursts that it publishes by itself.

use std::{
    cell::OnceCell,
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::order::{CHANNELS, Form, Order};

/// The names under which a burst is published.
#[derive(Clone, Copy)]
pub enum Burst {
    Orders,
    /// On a cluster, at a node where nobody has subscribed.
    OrdersElsewhere,
    /// The first segments of so many routes.
    Prefixes(u64),
    PrefixesOfProgram,
    /// So many names.
    Names(u64),
    NamesOfProgram,
}

impl Burst {
    /// The names that suit the program: what is before the number, what comes after it, and how many numbers there are.
    fn names(self, program: &str) -> (&'static str, &'static str, u64) {
        let size = || program.rsplit('-').next().and_then(|size| size.parse().ok()).expect("a program with a size");
        match self {
            Self::Orders | Self::OrdersElsewhere => ("", "orders:", 1),
            Self::Prefixes(count) => ("m", ":", count),
            Self::PrefixesOfProgram => ("m", ":", size()),
            Self::Names(count) => ("names:", "", count),
            Self::NamesOfProgram => ("names:", "", size()),
        }
    }
}

/// Where work is done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Server,
    Cluster,
}

/// What work is done on: a server, and a cluster once some work asks for it.
pub struct Places {
    pub server: Redis,
    cluster: OnceCell<Redis>,
}

impl Places {
    pub fn start() -> Self {
        Self { server: Redis::start(), cluster: OnceCell::new() }
    }

    pub fn of(&self, place: Place) -> &Redis {
        match place {
            Place::Server => &self.server,
            Place::Cluster => self.cluster.get_or_init(Redis::start_cluster),
        }
    }
}

/// One server, or a cluster of three masters.
pub struct Redis {
    nodes: Vec<Node>,
    pub url: String,
}

struct Node {
    child: Child,
    port: u16,
    /// For the other nodes.
    bus: u16,
    /// Where it keeps what it knows of the cluster.
    folder: PathBuf,
}

const MASTERS: usize = 3;
const SLOTS: usize = 16_384;
/// A deadline for what takes seconds.
const SOON: Duration = Duration::from_secs(60);
const SENT: &str = "cluster_stats_messages_publish_sent";
const RECEIVED: &str = "cluster_stats_messages_publish_received";
const LOOK: Duration = Duration::from_millis(20);

impl Redis {
    fn start() -> Self {
        let node = Node::start(false);
        Self { url: format!("redis://127.0.0.1:{}", node.port), nodes: vec![node] }
    }

    fn start_cluster() -> Self {
        let nodes: Vec<Node> = (0..MASTERS).map(|_| Node::start(true)).collect();
        for (number, node) in nodes.iter().enumerate() {
            let (first, end) = (SLOTS * number / MASTERS, SLOTS * (number + 1) / MASTERS);
            node.run(redis::cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(first).arg(end - 1));
            node.run(redis::cmd("CLUSTER").arg("SET-CONFIG-EPOCH").arg(number + 1));
        }
        for node in &nodes[1..] {
            nodes[0].run(redis::cmd("CLUSTER").arg("MEET").arg("127.0.0.1").arg(node.port).arg(node.bus));
        }
        let is_complete = |node: &Node| {
            let mut connection = node.connect();
            let info: String = redis::cmd("CLUSTER").arg("INFO").query(&mut connection).expect("a node of a cluster");
            info.contains("cluster_state:ok") && info.contains(&format!("cluster_size:{MASTERS}"))
        };
        eventually("the nodes find each other", || nodes.iter().all(is_complete).then_some(()));
        let addresses: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        Self { url: format!("redis+cluster://{}", addresses.join(",")), nodes }
    }

    /// Lets a server publish by itself and at once, so that no publisher's time is in the way.
    pub fn burst(&self, messages: u64, form: Form, burst: Burst, program: &str) {
        self.publisher(burst).burst(messages, form, burst.names(program));
    }

    /// Of a cluster the node with the subscriber, or one without it.
    fn publisher(&self, burst: Burst) -> &Node {
        let [only] = self.nodes.as_slice() else {
            let at = || self.nodes.iter().position(Node::has_patterns);
            let at = eventually("somebody has subscribed", at);
            let further = usize::from(matches!(burst, Burst::OrdersElsewhere));
            return &self.nodes[(at + further) % self.nodes.len()];
        };
        only
    }

    /// Waits until each node of a cluster has got what others have told it of publishes.
    pub fn settled(&self) {
        let all = |name| self.nodes.iter().map(|node| node.told(name)).sum::<u64>();
        if self.nodes.len() > 1 {
            eventually("the nodes have told each other", || (all(SENT) == all(RECEIVED)).then_some(()));
        }
    }

    /// How many PUBLISH commands there were since the last question.
    pub fn published(&self) -> u64 {
        self.nodes.iter().map(Node::published).sum()
    }

    pub fn flush(&self) {
        self.nodes.iter().for_each(|node| node.run(&mut redis::cmd("FLUSHALL")));
    }

    /// What the nodes have to do, all together.
    pub fn usage(&self) -> Usage {
        self.usage_during(Duration::ZERO).0
    }

    /// The same before and after so long.
    pub fn usage_during(&self, time: Duration) -> (Usage, Usage) {
        let mut connections: Vec<_> = self.nodes.iter().map(Node::connect).collect();
        let mut all = || connections.iter_mut().map(Usage::of).fold(Usage::default(), Usage::plus);
        let (first, before) = (all(), all());
        std::thread::sleep(time);
        let after = all();
        // Without what the question itself costs.
        let without = |after: u64, own: fn(&Usage) -> u64| after - (own(&before) - own(&first));
        let after = Usage {
            sent: without(after.sent, |usage| usage.sent),
            received: without(after.received, |usage| usage.received),
            ..after
        };
        (before, after)
    }

    /// How many commands clients send within such a time; those that scripts run are not among them.
    pub fn commands_during(&self, time: Duration) -> u64 {
        std::thread::scope(|scope| {
            let watching: Vec<_> =
                self.nodes.iter().map(|node| scope.spawn(move || node.commands_during(time))).collect();
            watching.into_iter().map(|watching| watching.join().expect("a number")).sum()
        })
    }

    /// The processor's microseconds that a broadcast of an order costs the first node, which takes it, and on average each other one.
    pub fn cost_of_broadcasts(&self, messages: u64) -> (f64, f64) {
        let spent = || self.nodes.iter().map(Node::processor_seconds).collect::<Vec<_>>();
        self.settled();
        let before = spent();
        self.nodes[0].burst(messages, Form::Plain, Burst::Orders.names(""));
        self.settled();
        let costs = spent().into_iter().zip(before).map(|(after, before)| (after - before) * 1e6 / messages as f64);
        let costs: Vec<f64> = costs.collect();
        (costs[0], costs[1..].iter().sum::<f64>() / (costs.len() - 1) as f64)
    }

    pub fn version(&self) -> String {
        let mut connection = self.nodes[0].connect();
        let information: String = redis::cmd("INFO").arg("server").query(&mut connection).expect("information");
        let line = information.lines().find_map(|line| line.strip_prefix("redis_version:"));
        line.unwrap_or("unknown").to_owned()
    }
}

impl Node {
    fn start(is_of_cluster: bool) -> Self {
        let (port, bus) = (free_port(), free_port());
        let folder = std::env::temp_dir().join(format!("tidings-bench-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for the server can be made");
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        // A burst must not be cut off: what is lost is to be the client's doing.
        command.args(["--client-output-buffer-limit", "pubsub 0 0 0"]).current_dir(&folder);
        if is_of_cluster {
            command.args(["--cluster-enabled", "yes", "--cluster-port", &bus.to_string()]);
            // A burst takes a server a while, in which it answers nobody.
            command.args(["--cluster-node-timeout", "30000"]);
        }
        let child = command.stdout(Stdio::null()).spawn().expect("redis-server is installed");
        let node = Self { child, port, bus, folder };
        eventually("redis-server answers", || node.try_connect());
        node
    }

    fn try_connect(&self) -> Option<redis::Connection> {
        redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).ok()?.get_connection().ok()
    }

    fn connect(&self) -> redis::Connection {
        self.try_connect().expect("the server answers")
    }

    fn run(&self, command: &mut redis::Cmd) {
        command.exec(&mut self.connect()).expect("the server does it");
    }

    fn burst(&self, messages: u64, form: Form, (before, after, count): (&str, &str, u64)) {
        let mut command = redis::cmd("EVAL");
        command.arg(
            "local n, before, after, count = tonumber(ARGV[1]), ARGV[2], ARGV[3], tonumber(ARGV[4]) \
             for i = 0, n - 1 do \
               local name = after \
               if before ~= '' then name = before .. (i % count) .. after end \
               if after ~= '' then name = name .. (100 + i % 100) end \
               redis.call('PUBLISH', name, ARGV[5 + i % 100]) \
             end",
        );
        command.arg(0).arg(messages).arg(before).arg(after).arg(count);
        for number in 0..CHANNELS {
            command.arg(form.encode(&Order::new(number), number));
        }
        self.run(&mut command);
    }

    /// See [`Redis::commands_during`].
    fn commands_during(&self, time: Duration) -> u64 {
        let mut monitor = TcpStream::connect(("127.0.0.1", self.port)).expect("the server answers");
        monitor.write_all(b"MONITOR\r\n").expect("it is sent");
        std::thread::sleep(time);
        // What follows is read too: the server closes the connection then.
        monitor.write_all(b"QUIT\r\n").expect("it is sent");
        let mut lines = String::new();
        monitor.read_to_string(&mut lines).expect("text");
        lines.lines().filter(|line| line.contains("] \"") && !line.contains(" lua] ")).count() as u64
    }

    /// User and system time.
    fn processor_seconds(&self) -> f64 {
        let info: String = redis::cmd("INFO").arg("cpu").query(&mut self.connect()).expect("information");
        let seconds = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|seconds| seconds.parse::<f64>().ok()).unwrap_or_default()
        };
        seconds("used_cpu_user") + seconds("used_cpu_sys")
    }

    /// How many publishes nodes have told each other of.
    fn told(&self, what: &str) -> u64 {
        let info: String = redis::cmd("CLUSTER").arg("INFO").query(&mut self.connect()).expect("a node of a cluster");
        number(&info, what)
    }

    fn published(&self) -> u64 {
        let mut connection = self.connect();
        let statistics: String = redis::cmd("INFO").arg("commandstats").query(&mut connection).expect("statistics");
        redis::cmd("CONFIG").arg("RESETSTAT").exec(&mut connection).expect("a reset");
        let line = statistics.lines().find_map(|line| line.strip_prefix("cmdstat_publish:calls="));
        line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or_default()
    }

    /// Whether somebody subscribes to a pattern here.
    fn has_patterns(&self) -> bool {
        redis::cmd("PUBSUB").arg("NUMPAT").query::<u64>(&mut self.connect()).expect("a number") > 0
    }
}

/// What a server has, and has done.
#[derive(Default)]
pub struct Usage {
    pub connections: u64,
    /// Subscriptions: a name counts for each connection that has it.
    pub channels: u64,
    pub patterns: u64,
    pub shard_channels: u64,
    /// Bytes.
    pub memory: u64,
    /// Bytes to clients.
    pub sent: u64,
    /// Bytes of clients.
    pub received: u64,
}

impl Usage {
    fn of(connection: &mut redis::Connection) -> Self {
        let info: String = redis::cmd("INFO").query(connection).expect("information");
        let clients: String = redis::cmd("CLIENT").arg("LIST").query(connection).expect("clients");
        let names = |kind: &str| {
            let words = clients.split_whitespace().filter_map(|word| word.strip_prefix(kind));
            words.filter_map(|count| count.parse::<u64>().ok()).sum()
        };
        Self {
            channels: names("sub="),
            shard_channels: names("ssub="),
            patterns: names("psub="),
            connections: number(&info, "connected_clients"),
            memory: number(&info, "used_memory"),
            sent: number(&info, "total_net_output_bytes"),
            received: number(&info, "total_net_input_bytes"),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            connections: self.connections + other.connections,
            channels: self.channels + other.channels,
            patterns: self.patterns + other.patterns,
            shard_channels: self.shard_channels + other.shard_channels,
            memory: self.memory + other.memory,
            sent: self.sent + other.sent,
            received: self.received + other.received,
        }
    }
}

/// What a line of such text says: a name, a colon and a number.
fn number(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port()
}

fn eventually<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let until = Instant::now() + SOON;
    loop {
        match look() {
            Some(found) => return found,
            None => assert!(Instant::now() < until, "{what} within {SOON:?}: no"),
        }
        std::thread::sleep(LOOK);
    }
}
