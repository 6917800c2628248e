//! A part of the shared cluster that is a test's own.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use futures_util::{StreamExt, future::join_all};
use tokio::time::timeout;

use crate::Cluster;

/// A deadline for what takes milliseconds on an idle machine.
const SOON: Duration = Duration::from_secs(20);

/// A namespace of the shared cluster, and a user of the same name who may touch nothing beyond it.
#[derive(Debug)]
pub(crate) struct Share {
    cluster: &'static Cluster,
    name: String,
}

impl Share {
    pub(crate) async fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let cluster = Cluster::shared().await;
        let name = format!("w{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let (password, channels, keys) = (format!(">{name}"), format!("&{name}:*"), format!("~{name}:*"));
        for node in cluster.nodes() {
            // A pattern has to be allowed literally, and which there will be nobody knows: those are free.
            let rules = ["on", &password, "resetchannels", &channels, &keys, "+@all", "(+psubscribe allchannels)"];
            let _: String = node.command(&[&["ACL", "SETUSER", &name][..], &rules].concat()).await;
        }
        Self { cluster, name }
    }

    /// The namespace, and who uses it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn url(&self) -> String {
        self.cluster.url().replace("://", &format!("://{0}:{0}@", self.name))
    }

    /// Publishes bytes as they are, at the same node each time, so that they keep their order.
    pub(crate) async fn publish(&self, channel: &str, payload: &[u8]) {
        self.cluster.masters()[0].publish(channel, payload).await;
    }

    /// Waits until each node has passed on to all others what it was given so far.
    pub(crate) async fn settle(&self) {
        let (nodes, channel) = (self.cluster.masters(), format!("settled:{}", self.name));
        let mut listening = Vec::new();
        for node in nodes {
            listening.push(node.listen(&channel).await);
        }
        for node in nodes {
            node.publish(&channel, b"").await;
        }
        for heard in &mut listening {
            let all = heard.on_message().take(nodes.len()).count();
            let count = timeout(SOON, all).await.expect("the nodes are connected");
            assert_eq!(count, nodes.len(), "the connection was lost");
        }
    }

    /// Closes the connections that there are: those that have subscriptions, or all. Whoever comes back meanwhile stays.
    pub(crate) async fn cut(&self, what: Cut) {
        let mut all = Vec::new();
        for node in self.cluster.nodes() {
            let clients: String = match what {
                Cut::Subscribers => node.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).await,
                Cut::Everything => node.command(&["CLIENT", "LIST"]).await,
            };
            let ours = clients.lines().filter(|client| self.owns(client));
            all.extend(ours.map(|client| (node, number(client, "id=").to_string())));
        }
        join_all(all.iter().map(async |(node, id)| node.command::<u64>(&["CLIENT", "KILL", "ID", id]).await)).await;
    }

    /// The number of subscriptions of a channel, at all nodes.
    pub(crate) async fn numsub(&self, channel: &str) -> u64 {
        let mut count = 0;
        for node in self.cluster.nodes() {
            count += node.numsub(channel).await;
        }
        count
    }

    /// The number of patterns, those of each connection.
    pub(crate) async fn patterns(&self) -> u64 {
        self.subscribers().await.iter().map(|subscriber| number(subscriber, "psub=")).sum()
    }

    /// The number of connections that have subscriptions.
    pub(crate) async fn subscriber_connections(&self) -> u64 {
        self.subscribers().await.len() as u64
    }

    /// What CLIENT LIST says of connections that have subscriptions.
    async fn subscribers(&self) -> Vec<String> {
        let mut all = Vec::new();
        for node in self.cluster.nodes() {
            let clients: String = node.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).await;
            all.extend(clients.lines().filter(|client| self.owns(client)).map(str::to_owned));
        }
        all
    }

    fn owns(&self, client: &str) -> bool {
        client.split(' ').any(|word| word.strip_prefix("user=") == Some(&self.name))
    }
}

/// Which connections to close.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    Subscribers,
    Everything,
}

/// The number behind a word in a line of CLIENT LIST.
fn number(line: &str, word: &str) -> u64 {
    let number = line.split(' ').find_map(|part| part.strip_prefix(word));
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {word} in {line}"))
}
