//! A caller that is not polled any more holds up no other. On memory nobody waits for a connection.

use std::pin::pin;

use futures_util::FutureExt;

use super::*;
use crate::transport::redis::tests::cluster::Cluster;

/// The first caller is polled once, when there is no connection yet, and then kept.
async fn others_get_through(redis: &Redis) {
    let mut kept = pin!(enqueue(redis, task("kept")));
    assert!(kept.as_mut().now_or_never().is_none(), "there is no connection yet");
    enqueue(redis, task("other")).await.unwrap();
    assert_eq!(redis.counts(&spec()).await.unwrap().parts["tasks:high"].waiting, 1);
    kept.await.unwrap();
    assert_eq!(redis.counts(&spec()).await.unwrap().parts["tasks:high"].waiting, 2);
}

#[tokio::test]
async fn whoever_is_not_polled_while_there_is_no_connection_holds_up_nobody() {
    let server = Server::start();
    others_get_through(&connected(&server).await).await;
}

#[tokio::test]
async fn whoever_is_not_polled_while_there_is_no_connection_to_a_node_holds_up_nobody() {
    let cluster = Cluster::start(2, &[]).await;
    others_get_through(&cluster.bus().await).await;
}
