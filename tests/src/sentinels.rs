//! A master with two replicas, and three Sentinels that watch over them, as plain processes.

use std::{collections::HashMap, time::Duration};

use crate::{redis_server::RedisServer, wait::eventually};

/// What the Sentinels call the master.
const NAME: &str = "shop";

/// A deadline for what takes a few seconds on an idle machine.
const SOON: Duration = Duration::from_secs(60);

/// A master with two replicas, and three Sentinels. Dropping it kills them.
#[derive(Debug)]
pub struct Sentinels {
    servers: Vec<RedisServer>,
    sentinels: Vec<RedisServer>,
}

impl Sentinels {
    /// After so long without an answer a Sentinel counts a server as down.
    pub const DOWN_AFTER: Duration = Duration::from_millis(700);

    /// Starts them, and waits until the Sentinels know each other and every server.
    pub async fn start() -> Self {
        Self::with_settings(&[], &[]).await
    }

    /// The same, with lines of configuration of the test's own: for each server, and for each Sentinel.
    pub async fn with_settings(of_servers: &[&str], of_sentinels: &[&str]) -> Self {
        let master = RedisServer::with_settings(of_servers).await;
        let replica_of = format!("replicaof 127.0.0.1 {}", master.port());
        let replicas = [of_servers, &[&replica_of, "repl-diskless-sync-delay 0"]].concat();
        let (one, other) = tokio::join!(RedisServer::with_settings(&replicas), RedisServer::with_settings(&replicas));
        let monitor = [
            format!("sentinel monitor {NAME} 127.0.0.1 {} 2", master.port()),
            format!("sentinel down-after-milliseconds {NAME} {}", Self::DOWN_AFTER.as_millis()),
            format!("sentinel failover-timeout {NAME} 3000"),
        ];
        let watch: Vec<&str> = monitor.iter().map(String::as_str).chain(of_sentinels.iter().copied()).collect();
        let start = || RedisServer::with_settings(&watch);
        let (first, second, third) = tokio::join!(start(), start(), start());
        let all = Self { servers: vec![master, one, other], sentinels: vec![first, second, third] };
        for sentinel in &all.sentinels {
            eventually(SOON, async || all.knows_all(sentinel).await).await;
        }
        all
    }

    /// The address for `Bus::connect`.
    #[must_use]
    pub fn url(&self) -> String {
        let sentinels: Vec<String> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port())).collect();
        format!("redis+sentinel://{}/{NAME}", sentinels.join(","))
    }

    /// The servers: at first the master and then its replicas.
    #[must_use]
    pub fn servers(&self) -> &[RedisServer] {
        &self.servers
    }

    /// The Sentinels.
    #[must_use]
    pub fn sentinels(&self) -> &[RedisServer] {
        &self.sentinels
    }

    /// The server that most Sentinels name as the master.
    pub async fn master(&self) -> &RedisServer {
        let mut votes = HashMap::new();
        for sentinel in &self.sentinels {
            if let Ok((_, port)) =
                sentinel.try_command::<(String, u16)>(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]).await
            {
                *votes.entry(port).or_insert(0) += 1;
            }
        }
        let port = votes.into_iter().max_by_key(|&(_, votes)| votes).expect("a Sentinel answers").0;
        self.servers.iter().find(|server| server.port() == port).expect("it is one of ours")
    }

    /// Waits until the Sentinels name another master than this.
    pub async fn another_than(&self, port: u16) {
        eventually(SOON, async || self.master().await.port() != port).await;
    }

    async fn knows_all(&self, sentinel: &RedisServer) -> bool {
        let asked = sentinel.try_command::<HashMap<String, String>>(&["SENTINEL", "MASTER", NAME]).await;
        asked.is_ok_and(|told| {
            let number = |field: &str| told.get(field).and_then(|text| text.parse::<usize>().ok());
            number("num-slaves") == Some(2) && number("num-other-sentinels") == Some(2)
        })
    }
}
