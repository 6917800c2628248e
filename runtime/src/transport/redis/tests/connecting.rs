//! Addresses that are no host and port, servers that are no master, and what is made of them.

use super::*;

#[tokio::test]
#[cfg(unix)]
async fn a_unix_socket_carries_everything() {
    let folder = std::env::temp_dir().join(format!("tidings-socket-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("redis.sock");
    let server = Server::start_with(&["--unixsocket", path.to_str().unwrap()]);
    server.run("ACL SETUSER shop on >p@ss +@all &*");
    let urls =
        [format!("unix://{}", path.display()), format!("redis+unix://shop:p%40ss@{}?protocol=resp3", path.display())];
    for url in urls {
        let redis = Redis::connect(&url, &config()).await.unwrap();
        let mut shared = Reader::attach(&redis, vec![channel("a"), pattern("b*")]).await.unwrap();
        let bounds = Bounds { messages: 100, bytes: 1 << 20 };
        let mut own = Reader::attach_with(&redis, vec![channel("a")], bounds, WhenFull::Block).await.unwrap();
        assert_eq!(publish(&redis, "a", "1").await.unwrap(), Some(2));
        let batch = (2..52).map(|number| parcel("a", &number.to_string())).collect();
        assert!(redis.publish_all(batch, None).await.into_iter().all(|result| result.unwrap() == Some(2)));
        let receivers = redis.publish_atomically(vec![parcel("a", "52"), parcel("b7", "53")]).await.unwrap();
        assert_eq!(receivers, [Some(2), Some(1)]);
        for number in 1..53 {
            assert_eq!(own.message().await.1, number.to_string());
            assert_eq!(shared.message().await.1, number.to_string());
        }
        assert_eq!(shared.message().await, ("b7".into(), "53".into(), 2));
        assert!(redis.health().await.unwrap().warnings.is_empty());
        server.run("CLIENT KILL TYPE pubsub");
        shared.gap().await;
        own.gap().await;
    }
    drop(server);
    let error = Redis::connect(&format!("unix:{}", path.display()), &config()).await.unwrap_err();
    assert!(
        matches!(&error, ConnectError::Unreachable { address, .. } if address.ends_with("redis.sock")),
        "{error:?}"
    );
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn a_sentinel_and_a_proxy_without_a_role_get_words_of_their_own() {
    const SENTINEL: &[u8] =
        b"%3\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n$4\r\nmode\r\n$8\r\nsentinel\r\n";
    const PROXY: &[u8] = b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n";
    for (answer, words) in [(SENTINEL, "it is a Sentinel"), (PROXY, "does not say that it is the master")] {
        let (url, _tokio_task) = listener(answer).await;
        let error = Redis::connect(&url, &config()).await.unwrap_err();
        assert!(matches!(error, ConnectError::Unusable { .. }) && error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_authority_without_tls_is_refused() {
    for url in ["redis://localhost", "unix:///run/redis.sock"] {
        let config = Config { certificate_authority: Some(b"any".to_vec()), ..config() };
        let error = Redis::connect(url, &config).await.unwrap_err();
        assert!(matches!(&error, ConnectError::InvalidConfig(reason) if reason.contains("rediss://")), "{error:?}");
    }
}

#[tokio::test]
async fn a_master_that_became_a_replica_is_refused_at_the_next_reconnection() {
    let (other, server) = (Server::start(), Server::start());
    let redis = connected(&server).await;
    let mut reader = Reader::attach(&redis, vec![channel("a")]).await.unwrap();
    server.run(&format!("REPLICAOF 127.0.0.1 {}", other.port));
    server.run("CLIENT KILL TYPE pubsub");
    eventually("the loss is noticed", || matches!(redis.status(), Status::Reconnecting { .. })).await;
    // It is tried again and again, and every connection is closed when its greeting says that this is a replica.
    let connections = || server.text("INFO stats").split_once("total_connections_received:").unwrap().1.to_owned();
    let so_far = |text: String| text.split_once('\r').unwrap().0.parse::<u64>().unwrap();
    let before = so_far(connections());
    eventually("it was tried ten times", || so_far(connections()) > before + 20).await;
    assert!(matches!(redis.status(), Status::Reconnecting { .. }));
    assert_eq!(server.subscribers("a"), 0);
    server.run("REPLICAOF NO ONE");
    reader.gap().await;
    eventually("a publish arrives", || redis.status() == Status::Connected).await;
}

/// The publisher comes back at once, while the other one would rest for twenty seconds.
#[tokio::test]
async fn a_connection_that_is_made_ends_the_pauses_of_the_others() {
    let mut server = Server::start();
    let reconnect = Reconnect::default().first_pause(Duration::from_secs(600));
    let redis = Redis::connect(&server.url(), &Config { reconnect, ..config() }).await.unwrap();
    let mut reader = Reader::attach(&redis, vec![channel("a")]).await.unwrap();
    server.kill();
    eventually("the loss is noticed", || matches!(redis.status(), Status::Reconnecting { .. })).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.restart();
    redis.health().await.unwrap();
    reader.gap().await;
}
