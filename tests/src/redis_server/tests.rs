use std::collections::HashSet;

use futures_util::{StreamExt, future};
use tokio::time::timeout;

use super::*;
use crate::eventually;

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn answers_when_it_has_started_and_is_gone_when_dropped() {
    let server = RedisServer::start().await;
    assert_eq!(server.command::<String>(&["PING"]).await, "PONG");
    assert_eq!(server.url(), format!("redis://127.0.0.1:{}", server.port()));

    let (port, folder) = (server.port(), server.folder.clone());
    drop(server);
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "the port still answers");
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_restart_keeps_the_port_and_loses_the_data() {
    let server = RedisServer::start().await;
    let () = server.command(&["SET", "key", "value"]).await;
    let port = server.port();

    server.kill();
    assert!(server.try_command::<String>(&["PING"]).await.is_err());
    server.restart().await;
    assert_eq!(server.port(), port);
    assert_eq!(server.command::<Option<String>>(&["GET", "key"]).await, None);

    server.restart().await;
    assert_eq!(server.command::<String>(&["PING"]).await, "PONG");
}

#[tokio::test]
async fn a_paused_server_hangs_until_it_is_resumed() {
    let server = RedisServer::start().await;
    server.pause();
    let ping = timeout(Duration::from_millis(200), server.try_command::<String>(&["PING"])).await;
    assert!(ping.is_err(), "a stopped server answered");
    server.resume();
    assert_eq!(server.command::<String>(&["PING"]).await, "PONG");
}

#[tokio::test]
async fn a_paused_server_can_be_dropped() {
    let server = RedisServer::start().await;
    server.pause();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_servers_start_side_by_side() {
    let servers = future::join_all((0..8).map(|_| RedisServer::start())).await;
    let ports: HashSet<_> = servers.iter().map(RedisServer::port).collect();
    assert_eq!(ports.len(), 8);
    for server in &servers {
        assert_eq!(server.command::<String>(&["PING"]).await, "PONG");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_noticed() {
    let first = RedisServer::start().await;
    let second =
        RedisServer { port: first.port(), folder: new_folder(), settings: Vec::new(), process: Mutex::new(None) };
    assert!(second.launch().await.is_err(), "two servers on one port");
}

#[tokio::test]
async fn settings_reach_the_server() {
    let server = RedisServer::with_settings(&["user anna on >secret &orders:* +@all", "user default off"]).await;
    let users: Vec<String> = server.command(&["ACL", "USERS"]).await;
    assert!(users.contains(&"anna".to_owned()), "{users:?}");
}

#[tokio::test]
#[should_panic(expected = "Bad directive")]
async fn a_setting_that_is_wrong_is_shown() {
    RedisServer::with_settings(&["no-such-setting yes"]).await;
}

#[tokio::test]
async fn subscriptions_are_counted_and_can_be_killed() {
    let server = RedisServer::start().await;
    let client = Client::open(server.url()).unwrap();
    let mut subscriber = client.get_async_pubsub().await.unwrap();
    subscriber.subscribe("orders:1").await.unwrap();
    subscriber.psubscribe("orders:*").await.unwrap();

    assert_eq!(server.numsub("orders:1").await, 1);
    assert_eq!(server.numsub("orders:2").await, 0);
    assert_eq!(server.numpat().await, 1);
    assert_eq!(server.subscriber_connections().await, 1);

    assert_eq!(server.publish("orders:1", b"\xff\x00").await, 2);
    let message = subscriber.on_message().next().await.unwrap();
    assert_eq!(message.get_payload_bytes(), b"\xff\x00");

    assert_eq!(server.kill_subscribers().await, 1);
    eventually(SOON, async || server.subscriber_connections().await == 0).await;
}
