//! What the programs by hand have of the `redis` crate: a connection, to one server or to a cluster, and a subscription.

use std::time::Duration;

use futures_util::StreamExt;
use redis::{
    Client, Cmd, Msg, Pipeline, ProtocolVersion, PushInfo, RedisFuture, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection, PubSubStream},
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
    cluster_routing::SingleNodeRoutingInfo,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// As our addresses of clusters begin.
const CLUSTER: &str = "redis+cluster://";

/// Longer than anything blocks.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    pub async fn open(url: &str) -> Self {
        match nodes(url) {
            None => {
                let client = Client::open(url).expect("an address");
                Self::Server(client.get_multiplexed_async_connection().await.expect("a connection"))
            }
            Some(nodes) => {
                let client = ClusterClient::new(nodes).expect("addresses");
                Self::Cluster(client.get_async_connection().await.expect("a connection"))
            }
        }
    }

    /// One on which commands may block.
    pub async fn patient(url: &str) -> Self {
        match (nodes(url), Self::open(url).await) {
            (None, Self::Server(mut connection)) => {
                connection.set_response_timeout(PATIENCE);
                Self::Server(connection)
            }
            (nodes, _) => {
                let builder = ClusterClientBuilder::new(nodes.expect("a cluster")).response_timeout(PATIENCE);
                let client = builder.build().expect("addresses");
                Self::Cluster(client.get_async_connection().await.expect("a connection"))
            }
        }
    }

    /// Sends a pipeline of PUBLISH, which a cluster takes at any of its nodes. The crate would refuse it for its channels' different slots.
    pub async fn publish_all(&mut self, pipe: &Pipeline) {
        let count = pipe.cmd_iter().count();
        let published = match self {
            Self::Server(_) => pipe.query_async::<Vec<u64>>(self).await.expect("published").len(),
            Self::Cluster(cluster) => {
                let anywhere = SingleNodeRoutingInfo::RandomPrimary;
                cluster.route_pipeline(pipe.clone(), 0, count, anywhere).await.expect("published").len()
            }
        };
        assert_eq!(published, count);
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(server) => server.req_packed_command(command),
            Self::Cluster(cluster) => cluster.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipe: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(server) => server.req_packed_commands(pipe, offset, count),
            Self::Cluster(cluster) => cluster.req_packed_commands(pipe, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        0
    }
}

/// What comes on a channel or a pattern.
pub enum Subscription {
    Server(PubSubStream),
    /// The connection has to live for as long as messages are to come.
    Cluster(UnboundedReceiver<PushInfo>, ClusterConnection),
}

impl Subscription {
    /// Subscribes to a channel, or to a pattern where there is a `*`.
    pub async fn open(url: &str, channels: &str) -> Self {
        let is_pattern = channels.ends_with('*');
        let Some(nodes) = nodes(url) else {
            let client = Client::open(url).expect("an address");
            let mut pubsub = client.get_async_pubsub().await.expect("a connection");
            let subscribed =
                if is_pattern { pubsub.psubscribe(channels).await } else { pubsub.subscribe(channels).await };
            subscribed.expect("a subscription");
            return Self::Server(pubsub.into_on_message());
        };
        let (sender, receiver) = unbounded_channel();
        let builder = ClusterClientBuilder::new(nodes).use_protocol(ProtocolVersion::RESP3).push_sender(sender);
        let client = builder.build().expect("addresses");
        let mut connection = client.get_async_connection().await.expect("a connection");
        let subscribed: RedisResult<()> =
            if is_pattern { connection.psubscribe(channels).await } else { connection.subscribe(channels).await };
        subscribed.expect("a subscription");
        Self::Cluster(receiver, connection)
    }

    /// For commands: on a cluster the same, which carries both.
    pub async fn connection(&self, url: &str) -> Connection {
        match self {
            Self::Server(_) => Connection::open(url).await,
            Self::Cluster(_, connection) => Connection::Cluster(connection.clone()),
        }
    }

    pub async fn next(&mut self) -> Option<Msg> {
        match self {
            Self::Server(messages) => messages.next().await,
            Self::Cluster(pushes, _) => loop {
                if let Some(message) = Msg::from_push_info(pushes.recv().await?) {
                    return Some(message);
                }
            },
        }
    }
}

/// The addresses of a cluster's nodes, as the crate wants them.
fn nodes(url: &str) -> Option<Vec<String>> {
    let nodes = url.strip_prefix(CLUSTER)?.split(',');
    Some(nodes.map(|node| format!("redis://{node}")).collect())
}
