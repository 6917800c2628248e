//! Small atomic batches are a script, in one round trip; whatever keeps it from running, a transaction does what it would have done.

use super::*;

fn batch(count: usize) -> Vec<Parcel> {
    (0..count).map(|number| parcel(&format!("a{}", number % 3), &number.to_string())).collect()
}

/// How often the server has run a command, and refused to.
fn calls(server: &Server, command: &str) -> (u64, u64) {
    let stats = server.text("INFO commandstats");
    let Some(line) = stats.lines().find(|line| line.starts_with(&format!("cmdstat_{command}:"))) else { return (0, 0) };
    let number = |name: &str| line.split_once(name).unwrap().1.split(',').next().unwrap().trim().parse().unwrap();
    (number("calls="), number("rejected_calls="))
}

/// That a batch of so many is published, in order.
async fn arrives(redis: &Redis, reader: &mut Reader, count: usize) {
    assert_eq!(redis.publish_atomically(batch(count)).await.unwrap(), vec![Some(1); count]);
    for number in 0..count {
        assert_eq!(reader.message().await, (format!("a{}", number % 3), number.to_string(), 2));
    }
}

/// A user who may do everything but what is taken.
async fn anna(server: &Server, taken: &str) -> Redis {
    server.run(&format!("ACL SETUSER anna reset on >secret allkeys &* +@all {taken}"));
    Redis::connect(&format!("redis://anna:secret@127.0.0.1:{}", server.port), &config()).await.unwrap()
}

#[tokio::test]
async fn a_small_batch_takes_one_round_trip_on_the_connection_for_commands_and_a_large_one_a_transaction() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = Reader::attach(&redis, vec![pattern("a*")]).await.unwrap();
    for count in [1, 3, 32] {
        arrives(&redis, &mut reader, count).await;
    }
    let clients =
        || server.text("CLIENT LIST").lines().filter(|line| line.contains("name=tidings-transactions")).count();
    // The first one had to send the script.
    assert_eq!((calls(&server, "evalsha").0, calls(&server, "eval").0, calls(&server, "multi").0), (3, 1, 0));
    assert_eq!(clients(), 0);
    arrives(&redis, &mut reader, 33).await;
    let large = vec![parcel("a0", &"x".repeat(20_000)), parcel("a1", &"y".repeat(20_000))];
    assert_eq!(redis.publish_atomically(large).await.unwrap(), [Some(1), Some(1)]);
    assert_eq!((reader.message().await.1.len(), reader.message().await.1.len()), (20_000, 20_000));
    assert_eq!((calls(&server, "evalsha").0, calls(&server, "multi").0, clients()), (3, 2, 1));
    // Whoever forgets the script is sent it again.
    server.run("SCRIPT FLUSH");
    arrives(&redis, &mut reader, 3).await;
    assert_eq!(calls(&server, "eval").0, 2);
}

#[tokio::test]
async fn a_user_without_scripts_has_transactions_and_is_not_asked_each_time() {
    let server = Server::start();
    let root = connected(&server).await;
    let mut reader = Reader::attach(&root, vec![pattern("a*")]).await.unwrap();
    for taken in ["-evalsha", "-eval", "-eval -evalsha"] {
        server.run("CONFIG RESETSTAT");
        server.run("SCRIPT FLUSH");
        let redis = anna(&server, taken).await;
        for _ in 0..5 {
            arrives(&redis, &mut reader, 3).await;
        }
        assert_eq!(calls(&server, "multi").0, 5, "{taken}");
        assert_eq!(calls(&server, "evalsha").1 + calls(&server, "eval").1, 1, "{taken}");
    }
}

/// What is refused does not depend on how large a batch is.
#[tokio::test]
async fn a_small_batch_takes_the_rights_that_a_large_one_takes() {
    let server = Server::start();
    let root = connected(&server).await;
    let mut reader = Reader::attach(&root, vec![pattern("*")]).await.unwrap();
    for (taken, rule) in [
        ("-multi", "ACL SETUSER anna +multi +exec +publish"),
        ("-exec", "ACL SETUSER anna +multi +exec +publish"),
        ("-publish", "ACL SETUSER anna +multi +exec +publish"),
        ("resetchannels &a0 &a1", "ACL SETUSER anna &a0 &a1 &a2"),
    ] {
        let redis = anna(&server, taken).await;
        for count in [1, 3, 40] {
            if count == 1 && taken.contains("&a0") {
                continue;
            }
            match redis.publish_atomically(batch(count)).await.unwrap_err() {
                PublishError::Refused { rule: advice, .. } => assert_eq!(advice, rule, "{taken} {count}"),
                other => panic!("{taken} {count}: {other}"),
            }
        }
    }
    publish(&root, "a9", "nothing before").await.unwrap();
    assert_eq!(reader.message().await.1, "nothing before");
}

#[tokio::test]
async fn a_server_that_is_full_or_takes_no_writes_publishes_batches_all_the_same() {
    let server = Server::start_with(&["--maxmemory-policy", "noeviction"]);
    let redis = connected(&server).await;
    let mut reader = Reader::attach(&redis, vec![pattern("a*")]).await.unwrap();
    server.run("CONFIG SET maxmemory 1");
    arrives(&redis, &mut reader, 3).await;
    server.run("SCRIPT FLUSH");
    arrives(&redis, &mut reader, 3).await;
    assert_eq!(calls(&server, "multi").0, 0);
    server.run("CONFIG SET maxmemory 0");
    // What writes is refused now, and nobody knows that this script does not.
    server.run("CONFIG SET min-replicas-to-write 1");
    arrives(&redis, &mut reader, 3).await;
    assert_eq!(calls(&server, "multi").0, 1);
    server.run("CONFIG SET min-replicas-to-write 0");
    arrives(&redis, &mut reader, 3).await;
    assert_eq!(calls(&server, "multi").0, 1, "it is tried again at once");
}

#[tokio::test]
async fn a_server_that_became_a_replica_publishes_no_batch() {
    let (other, server) = (Server::start(), Server::start());
    let hasty = Config { command_timeout: Duration::from_millis(500), ..config() };
    let redis = Redis::connect(&server.url(), &hasty).await.unwrap();
    assert_eq!(redis.publish_atomically(batch(3)).await.unwrap(), [Some(0); 3]);
    server.run(&format!("REPLICAOF 127.0.0.1 {}", other.port));
    for _ in 0..3 {
        let error = redis.publish_atomically(batch(3)).await.unwrap_err();
        assert!(matches!(error, PublishError::NotConnected { .. }), "{error}");
    }
    server.run("REPLICAOF NO ONE");
    let until = Instant::now() + DEADLINE;
    while redis.publish_atomically(batch(3)).await.is_err() {
        assert!(Instant::now() < until);
    }
}
