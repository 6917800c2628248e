//! A redis-server of our own, on a free port, and the bursts that it publishes by itself.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::order::{CHANNELS, Form, Order};

/// The names under which a burst is published.
#[derive(Clone, Copy)]
pub enum Burst {
    Orders,
    /// The first segments of so many routes.
    Prefixes(u64),
    PrefixesOfProgram,
    /// So many names.
    Names(u64),
    NamesOfProgram,
}

impl Burst {
    /// The names that suit the program: what is before the number, what comes after it, and how many numbers there are.
    pub fn names(self, program: &str) -> (&'static str, &'static str, u64) {
        let size = || program.rsplit('-').next().and_then(|size| size.parse().ok()).expect("a program with a size");
        match self {
            Self::Orders => ("", "orders:", 1),
            Self::Prefixes(count) => ("m", ":", count),
            Self::PrefixesOfProgram => ("m", ":", size()),
            Self::Names(count) => ("names:", "", count),
            Self::NamesOfProgram => ("names:", "", size()),
        }
    }
}

pub struct Server {
    child: Child,
    pub url: String,
}

impl Server {
    pub fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
        let port_text = port.to_string();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port_text, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        // A burst must not be cut off: what is lost is to be the client's doing.
        command.args(["--client-output-buffer-limit", "pubsub 0 0 0"]).current_dir(std::env::temp_dir());
        let child = command.stdout(Stdio::null()).spawn().expect("redis-server is installed");
        let server = Self { child, url: format!("redis://127.0.0.1:{port}") };
        let until = Instant::now() + Duration::from_secs(20);
        while server.try_connect().is_none() {
            assert!(Instant::now() < until, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    pub fn connect(&self) -> redis::Connection {
        self.try_connect().expect("the server answers")
    }

    /// Lets the server publish by itself and at once, so that no publisher's time is in the way.
    pub fn burst(&self, messages: u64, form: Form, (before, after, count): (&str, &str, u64)) {
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
        command.exec(&mut self.connect()).expect("the script runs");
    }

    /// How many PUBLISH commands there were since the last question.
    pub fn published(&self) -> u64 {
        let mut connection = self.connect();
        let statistics: String = redis::cmd("INFO").arg("commandstats").query(&mut connection).expect("statistics");
        redis::cmd("CONFIG").arg("RESETSTAT").exec(&mut connection).expect("a reset");
        let line = statistics.lines().find_map(|line| line.strip_prefix("cmdstat_publish:calls="));
        line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or_default()
    }

    pub fn flush(&self) {
        redis::cmd("FLUSHALL").exec(&mut self.connect()).expect("a flush");
    }

    pub fn version(&self) -> String {
        let information: String = redis::cmd("INFO").arg("server").query(&mut self.connect()).expect("information");
        let line = information.lines().find_map(|line| line.strip_prefix("redis_version:"));
        line.unwrap_or("unknown").to_owned()
    }

    fn try_connect(&self) -> Option<redis::Connection> {
        redis::Client::open(self.url.as_str()).ok()?.get_connection().ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
