//! T18: rights are missing, revoked and restored, users deleted, passwords changed.

use std::time::Duration;

use tidings::{Bus, Event, Status, SubscribeError, Subscription};
use tidings_tests::{RedisServer, eventually};

use crate::{
    ledger::{Entry, SOON},
    outages::{bus, bus_with},
    report::Report,
};

async fn anna(server: &RedisServer) -> Bus {
    let url = format!("redis://anna:secret@127.0.0.1:{}", server.port());
    bus_with(url, |builder| builder.command_timeout(Duration::from_secs(2))).await
}

async fn acl(server: &RedisServer, rules: &[&str]) {
    let words = [&["ACL", "SETUSER", "anna"][..], rules].concat();
    let _: String = server.command(&words).await;
}

/// Waits for the entry, past gaps and refusals.
async fn expect(subscription: &mut Subscription<Entry>, n: u64) {
    loop {
        match tokio::time::timeout(SOON, subscription.next()).await.unwrap() {
            Some(Event::Message(entry)) => return assert_eq!(entry.n, n),
            Some(Event::Gap(_) | Event::Refused(_)) => {}
            other => panic!("{}: {other:?}", subscription.selection()),
        }
    }
}

/// Connections that the server has accepted since it started, ours included.
async fn connections(server: &RedisServer) -> u64 {
    let info: String = server.command(&["INFO", "stats"]).await;
    let line = info.lines().find_map(|line| line.strip_prefix("total_connections_received:")).unwrap();
    line.trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_refused_channel_of_a_hundred_leaves_the_others_alone() {
    let allowed: Vec<_> = (0..100).filter(|n| *n != 42).map(|n| format!("&ledger:{n}")).collect();
    let user = format!("user anna on >secret ~* resetchannels {} +@all", allowed.join(" "));
    let server = RedisServer::with_settings(&[&user]).await;
    let (anna, publisher) = (anna(&server).await, bus(server.url()).await);
    let (mut live, mut refused) = (Vec::new(), 0);
    for channel in 0..100_u64 {
        match anna.subscribe(Entry::channel(channel)).await {
            Ok(subscription) => live.push((channel, subscription)),
            Err(SubscribeError::Refused { channel, .. }) => {
                assert_eq!(channel, "ledger:42");
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((live.len(), refused), (99, 1));
    for (channel, subscription) in &mut live {
        Entry::new(*channel, 1).publish(&publisher).await.unwrap();
        expect(subscription, 1).await;
    }
    Report::new("T18-refused", "refusals", 1).messages(99, 99).close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_user_and_a_changed_password_are_waited_out_without_haste() {
    const WATCHED: Duration = Duration::from_secs(2);
    let user = "user anna on >secret ~* &* +@all";
    let server = RedisServer::with_settings(&[user]).await;
    let (anna, publisher) = (anna(&server).await, bus(server.url()).await);
    let mut entries = anna.subscribe(Entry::any()).await.unwrap();

    // Deleting the user, or changing the password and killing the connections, shuts anna out.
    let _: u64 = server.command(&["ACL", "DELUSER", "anna"]).await;
    eventually(SOON, async || anna.status() != Status::Connected).await;
    let before = connections(&server).await;
    tokio::time::sleep(WATCHED).await;
    let attempts = connections(&server).await - before;
    assert!(attempts < 100, "{attempts} connections within {WATCHED:?}");
    acl(&server, &["on", ">secret", "~*", "&*", "+@all"]).await;
    eventually(SOON, async || anna.status() == Status::Connected).await;
    Entry::new(1, 1).publish(&publisher).await.unwrap();
    expect(&mut entries, 1).await;

    acl(&server, &["resetpass", ">another"]).await;
    server.kill_subscribers().await;
    eventually(SOON, async || anna.status() != Status::Connected).await;
    acl(&server, &[">secret"]).await;
    eventually(SOON, async || anna.status() == Status::Connected).await;
    Entry::new(1, 2).publish(&publisher).await.unwrap();
    expect(&mut entries, 2).await;
    assert_eq!(entries.stats().gaps, 2);
    Report::new("T18-users", "lockouts", 2).messages(2, 2).close();
}
