//! A bus can ask its server how it is, and says what to do about what is wrong.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::{Bus, EnqueueError, Event, HealthError, HealthWarning, Message, Reconnect, Status};
use tidings_tests::{RedisServer, eventually, on_each};

use crate::support::SOON;

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:jobs")]
struct Job {
    n: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("rumours:<n>")]
struct Rumour {
    n: u64,
}

on_each! {
    async fn a_healthy_server_has_no_warnings(world: World) {
        let bus = world.bus().await;
        let health = bus.health().await.unwrap();
        assert!(health.is_well(), "{:?}", health.warnings);
        assert_eq!(health.status, Status::Connected);
        assert!(health.round_trip < SOON);
    }

    #[one_server("it is stopped and frozen")]
    async fn a_server_that_is_away_is_an_error_in_time(world: World) {
        let timeout = Duration::from_millis(300);
        let bus = world.bus_with(|builder| builder.command_timeout(timeout).connect_timeout(timeout)).await;
        world.stop();
        let error = bus.health().await.unwrap_err();
        assert!(matches!(error, HealthError::Connect(_)), "{error}");
        world.start().await;
        assert!(bus.health().await.is_ok());
        world.freeze();
        let error = tokio::time::timeout(SOON, bus.health()).await.unwrap().unwrap_err();
        assert!(matches!(error, HealthError::Connect(_) | HealthError::TimedOut { .. }), "{error}");
        world.thaw();
    }

    #[one_server("it is stopped")]
    async fn a_bus_that_gave_up_is_warned_of_though_its_server_is_back(world: World) {
        let pauses = Reconnect::default().first_pause(Duration::from_millis(10)).longest_pause(Duration::from_millis(50));
        let limit = Duration::from_millis(100);
        let bus = world.bus_with(|builder| builder.reconnect(pauses.give_up_after(limit))).await;
        world.stop();
        eventually(SOON, async || bus.status() == Status::Closed).await;
        world.start().await;
        let health = bus.health().await.unwrap();
        assert_eq!(health.warnings, [HealthWarning::Closed]);
        assert!(health.warnings[0].to_string().contains("connect a new one"));
    }
}

/// Runs a command on a server.
async fn run(server: &RedisServer, words: &[&str]) {
    let mut connection = redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    redis::cmd(words[0]).arg(&words[1..]).exec_async(&mut connection).await.unwrap();
}

#[tokio::test]
async fn a_server_tells_its_version_and_role() {
    let server = RedisServer::start().await;
    let bus = Bus::connect(&server.url()).await.unwrap();
    let health = bus.health().await.unwrap();
    assert!(
        health.server_version.as_deref().is_some_and(|version| version.starts_with(char::is_numeric)),
        "{health:?}"
    );
    assert_eq!(health.role.as_deref(), Some("master"));
    run(&server, &["REPLICAOF", "127.0.0.1", "1"]).await;
    let health = bus.health().await.unwrap();
    assert_eq!(health.role.as_deref(), Some("replica"));
    assert!(health.warnings.contains(&HealthWarning::Replica), "{:?}", health.warnings);
}

#[tokio::test]
async fn whoever_will_use_a_queue_is_warned_of_a_server_that_may_lose_it_before_anything_is_asked() {
    let server = RedisServer::start().await;
    run(&server, &["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    let bus = Bus::connect(&server.url()).await.unwrap();
    let evicts = |warning: &HealthWarning| matches!(warning, HealthWarning::Evicts { .. });
    assert!(!bus.health().await.unwrap().warnings.iter().any(evicts));
    let _jobs = bus.queue::<Job>();
    assert!(bus.health().await.unwrap().warnings.iter().any(evicts));
}

#[tokio::test]
async fn a_server_that_would_disconnect_the_subscribers_of_a_large_message_is_warned_of() {
    let server = RedisServer::start().await;
    run(&server, &["CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 1mb 60"]).await;
    let bus = Bus::connect(&server.url()).await.unwrap();
    let warnings = bus.health().await.unwrap().warnings;
    let [HealthWarning::OutputBuffer { limit, payload_limit, .. }] = warnings[..] else { panic!("{warnings:?}") };
    assert_eq!((limit, payload_limit), (1 << 20, 10 << 20));
    let words = warnings[0].to_string();
    let command = words.split('`').find(|words| words.starts_with("CONFIG SET")).unwrap();
    let setting = command.split('"').nth(1).unwrap();
    run(&server, &["CONFIG", "SET", "client-output-buffer-limit", setting]).await;
    assert!(bus.health().await.unwrap().is_well(), "the advice helps");
}

/// What a bus with a queue is warned of, but for what a test's server is without from the start.
async fn warned(bus: &Bus) -> Vec<HealthWarning> {
    let mut warnings = bus.health().await.unwrap().warnings;
    warnings.retain(|warning| !matches!(warning, HealthWarning::NoAppendOnlyFile | HealthWarning::NoSnapshots));
    warnings
}

/// Whether a bus that uses no queue finds nothing wrong, and its messages arrive.
async fn messages_pass(server: &RedisServer) -> bool {
    let bus = Bus::connect(&server.url()).await.unwrap();
    let mut rumours = bus.subscribe(Rumour::any()).await.unwrap();
    Rumour { n: 1 }.publish(&bus).await.unwrap();
    matches!(rumours.next().await, Some(Event::Message(_))) && bus.health().await.unwrap().is_well()
}

#[tokio::test]
async fn a_memory_that_is_nearly_full_is_warned_of_before_tasks_are_refused() {
    let server = RedisServer::start().await;
    let bus = Bus::connect(&server.url()).await.unwrap();
    Job { n: 1 }.enqueue(&bus).await.unwrap();
    // So that what connections take means nothing.
    run(&server, &["SETRANGE", "ballast", "20000000", "x"]).await;
    let used: String = server.command(&["INFO", "memory"]).await;
    let used = used.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().parse::<u64>().unwrap();

    run(&server, &["CONFIG", "SET", "maxmemory", &(2 * used).to_string()]).await;
    assert_eq!(warned(&bus).await, []);
    run(&server, &["CONFIG", "SET", "maxmemory", &(used + used / 20).to_string()]).await;
    let warnings = warned(&bus).await;
    let [HealthWarning::MemoryFull { used: counted, limit, .. }] = warnings[..] else { panic!("{warnings:?}") };
    assert!(counted < limit && warnings[0].to_string().contains("from there on"), "{warnings:?}");
    Job { n: 2 }.enqueue(&bus).await.unwrap();

    run(&server, &["CONFIG", "SET", "maxmemory", &(used / 2).to_string()]).await;
    let warnings = warned(&bus).await;
    assert!(warnings[0].to_string().contains("bytes of its `maxmemory`, and refuses tasks: "), "{warnings:?}");
    assert!(matches!(Job { n: 3 }.enqueue(&bus).await, Err(EnqueueError::ServerFull { .. })));
    assert!(messages_pass(&server).await);
    // What may remove some keys removes no task, and is full all the same.
    run(&server, &["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]).await;
    let warnings = warned(&bus).await;
    assert!(matches!(&warnings[..], [HealthWarning::Evicts { .. }, HealthWarning::MemoryFull { .. }]), "{warnings:?}");
    assert!(warnings[0].to_string().contains("may run twice"));
    // What may remove any key is full all the time, and that it removes tasks is warned of.
    run(&server, &["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    assert!(matches!(&warned(&bus).await[..], [HealthWarning::Evicts { .. }]));
}

#[tokio::test]
async fn too_few_replicas_are_warned_of_where_a_queue_is_used() {
    let server = RedisServer::start().await;
    let bus = Bus::connect(&server.url()).await.unwrap();
    Job { n: 1 }.enqueue(&bus).await.unwrap();
    run(&server, &["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    let warnings = warned(&bus).await;
    let [HealthWarning::TooFewReplicas { good: 0, wanted: 1, .. }] = warnings[..] else { panic!("{warnings:?}") };
    assert!(warnings[0].to_string().contains("lower `min-replicas-to-write`"));
    Job { n: 2 }.enqueue(&bus).await.unwrap_err();
    assert!(messages_pass(&server).await);
    // Whoever looks after it can still look.
    let jobs = bus.queue::<Job>();
    assert_eq!(jobs.counts().await.unwrap().parts["tasks:jobs"].waiting, 1);
    assert_eq!((jobs.running(1).await.unwrap().len(), jobs.workers().await.unwrap().len()), (0, 0));

    let replica = RedisServer::start().await;
    run(&replica, &["REPLICAOF", "127.0.0.1", &server.port().to_string()]).await;
    eventually(SOON, async || warned(&bus).await.is_empty()).await;
    Job { n: 3 }.enqueue(&bus).await.unwrap();
}

/// In a folder that is gone, so that it can write no file.
async fn without_a_folder(server: &RedisServer) {
    let folder = std::env::temp_dir().join(format!("tidings-health-{}", server.port()));
    std::fs::create_dir_all(&folder).unwrap();
    run(server, &["CONFIG", "SET", "dir", folder.to_str().unwrap()]).await;
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn a_snapshot_that_failed_is_warned_of_where_a_queue_is_used_and_stops_no_message() {
    let server = RedisServer::with_settings(&["enable-protected-configs yes"]).await;
    let bus = Bus::connect(&server.url()).await.unwrap();
    Job { n: 1 }.enqueue(&bus).await.unwrap();
    without_a_folder(&server).await;
    run(&server, &["CONFIG", "SET", "save", "3600 1"]).await;
    run(&server, &["BGSAVE"]).await;
    eventually(SOON, async || warned(&bus).await == [HealthWarning::SnapshotsFail]).await;
    Job { n: 2 }.enqueue(&bus).await.unwrap_err();
    // Such a server refuses a PING too.
    assert!(messages_pass(&server).await);

    run(&server, &["CONFIG", "SET", "dir", std::env::temp_dir().to_str().unwrap()]).await;
    run(&server, &["CONFIG", "SET", "dbfilename", &format!("tidings-health-{}.rdb", server.port())]).await;
    run(&server, &["BGSAVE"]).await;
    eventually(SOON, async || warned(&bus).await.is_empty()).await;
    std::fs::remove_file(std::env::temp_dir().join(format!("tidings-health-{}.rdb", server.port()))).unwrap();
    Job { n: 3 }.enqueue(&bus).await.unwrap();
}

#[tokio::test]
async fn a_check_that_is_not_allowed_is_a_warning_and_shows_no_password() {
    let server = RedisServer::start().await;
    run(&server, &["ACL", "SETUSER", "shop", "on", ">hunter2", "allchannels", "+@pubsub", "+ping", "+hello", "+info"])
        .await;
    let bus = Bus::builder(server.url()).credentials("shop", "hunter2").connect().await.unwrap();
    let health = bus.health().await.unwrap();
    assert!(health.server_version.is_some());
    assert!(matches!(&health.warnings[..], [HealthWarning::Unchecked { .. }]), "{:?}", health.warnings);
    assert!(health.warnings[0].to_string().contains("CONFIG GET"));
    assert!(!format!("{health:?} {}", health.warnings[0]).contains("hunter2"));
    // Who may not even say that it is there is told once what allows all of it.
    run(&server, &["ACL", "SETUSER", "shop", "-ping", "-info"]).await;
    let warnings = warned(&bus).await;
    let commands = warnings.iter().map(|warning| match warning {
        HealthWarning::Unchecked { command, rule: Some(_), .. } => *command,
        other => panic!("{other}"),
    });
    assert_eq!(commands.collect::<Vec<_>>(), ["PING", "INFO", "CONFIG GET"]);
    let words = warnings[0].to_string();
    let rule = words.split('`').find(|words| words.starts_with("ACL SETUSER shop ")).unwrap();
    run(&server, &rule.split(' ').collect::<Vec<_>>()).await;
    assert_eq!(warned(&bus).await, []);
    run(&server, &["ACL", "SETUSER", "shop", "resetpass", ">other"]).await;
    let error = bus.health().await.unwrap_err();
    assert!(matches!(error, HealthError::Connect(_)), "{error}");
    assert!(!format!("{error:?} {error}").contains("hunter2"));
}
