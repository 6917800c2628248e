//! Servers that cannot have queues, or not yet: that is said.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tidings::{Bus, EnqueueError, Message, QueueError, SubscribeError, router};
use tidings_tests::{Recorder, RedisServer, eventually};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinSet,
};

use crate::support::{News, SOON, message};

#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("servers:jobs", lease = "1s")]
struct Job {
    n: u64,
}

struct Worker {
    done: Recorder<u64>,
}

#[router]
impl Worker {
    #[handler(idempotent, timeout = "10s")]
    async fn job(&self, job: Job) {
        self.done.record(job.n);
    }
}

fn worker() -> (Worker, Recorder<u64>) {
    let done = Recorder::new();
    (Worker { done: done.clone() }, done)
}

/// A server that says of itself that it is older, until it is brought up to date.
struct Disguised {
    address: String,
    is_old: Arc<AtomicBool>,
    _tokio_tasks: JoinSet<()>,
}

const OLD: &[u8] = b"6.2.14";

impl Disguised {
    async fn new(server: &RedisServer) -> Self {
        let info: String = server.command(&["INFO", "server"]).await;
        let version = info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap().trim().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (port, is_old) = (server.port(), Arc::new(AtomicBool::new(true)));
        let (mut tokio_tasks, disguise) = (JoinSet::new(), Arc::clone(&is_old));
        tokio_tasks.spawn(async move {
            let mut ways = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let ((mut from_client, to_client), (from_server, mut to_server)) =
                    (client.into_split(), server.into_split());
                ways.spawn(async move { drop(copy(&mut from_client, &mut to_server).await) });
                ways.spawn(disguised(from_server, to_client, version.clone(), Arc::clone(&disguise)));
            }
        });
        Self { address: format!("redis://{address}"), is_old, _tokio_tasks: tokio_tasks }
    }
}

/// Hands on what the server says, with another version in it.
async fn disguised(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, version: String, is_old: Arc<AtomicBool>) {
    let (mut buffer, length) = (vec![0; 64 * 1024], version.len());
    let new = format!("${length}\r\n{version}\r\n").into_bytes();
    let old = [format!("${}\r\n", OLD.len()).as_bytes(), OLD, b"\r\n"].concat();
    while let Ok(count) = from.read(&mut buffer).await
        && count > 0
    {
        let mut bytes = buffer[..count].to_vec();
        if is_old.load(Ordering::Relaxed)
            && let Some(at) = bytes.windows(new.len()).position(|window| window == new)
        {
            bytes.splice(at..at + new.len(), old.iter().copied());
        }
        if to.write_all(&bytes).await.is_err() {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_too_old_for_queues_is_told_with_its_version() {
    let server = RedisServer::start().await;
    let old = Disguised::new(&server).await;
    let bus = Bus::connect(&old.address).await.unwrap();
    // What needs no script works.
    let mut news = bus.subscribe(News::any()).await.unwrap();
    News { n: 1 }.publish(&bus).await.unwrap();
    assert_eq!(message(&mut news).await, News { n: 1 });
    let refused = Job { n: 1 }.enqueue(&bus).await;
    assert!(
        matches!(&refused, Err(EnqueueError::ServerTooOld { queue: "servers:jobs", version, .. }) if version == "6.2.14"),
        "{refused:?}"
    );
    let text = "on servers:jobs: queues need Redis 7.0 or newer, and the server is 6.2.14";
    assert_eq!(refused.unwrap_err().to_string(), text);
    let (jobs, done) = worker();
    let served = bus.serve(jobs).await;
    assert!(matches!(&served, Err(SubscribeError::Queue(QueueError::ServerTooOld { .. }))), "{served:?}");
    assert!(matches!(bus.queue::<Job>().counts().await, Err(QueueError::ServerTooOld { .. })));
    // It is looked at anew with each connection.
    old.is_old.store(false, Ordering::Relaxed);
    eventually(SOON, async || Job { n: 2 }.enqueue(&bus).await.is_ok()).await;
    let (jobs, newer) = worker();
    let service = bus.serve(jobs).await.unwrap();
    assert_eq!((newer.wait_for(1).await, done.len()), (vec![2], 0));
    service.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_still_reads_its_data_is_told_and_serves_queues_when_it_has() {
    let settings = ["enable-debug-command yes", "key-load-delay 400", "loading-process-events-interval-bytes 1024"];
    let server = RedisServer::with_settings(&settings).await;
    let _: String = server.command(&["DEBUG", "POPULATE", "10000"]).await;
    let _: String = server.command(&["SAVE"]).await;
    server.kill();
    let looks = async {
        let connected = async || Bus::connect(&server.url()).await.ok();
        eventually(SOON, async || connected().await.is_some()).await;
        let bus = Bus::builder(server.url()).command_timeout(Duration::from_secs(1)).connect().await.unwrap();
        let refused = Job { n: 1 }.enqueue(&bus).await;
        let is_told = |reason: &str| reason.contains("still reads its data") && reason.contains("LOADING");
        assert!(matches!(&refused, Err(EnqueueError::NotConnected { reason, .. }) if is_told(reason)), "{refused:?}");
        assert!(refused.unwrap_err().is_retryable());
        let (jobs, _) = worker();
        let served = bus.serve(jobs).await;
        assert!(
            matches!(&served, Err(SubscribeError::Queue(QueueError::NotConnected { reason, .. })) if is_told(reason)),
            "{served:?}"
        );
        let batch = bus.batch().push(&News { n: 1 }).enqueue(&Job { n: 2 }).atomic().await;
        assert!(batch.as_ref().is_err_and(tidings::BatchError::is_retryable), "{batch:?}");
        bus
    };
    let (bus, ()) = tokio::join!(looks, server.restart());
    let (jobs, done) = worker();
    let service = bus.serve(jobs).await.unwrap();
    Job { n: 3 }.enqueue(&bus).await.unwrap();
    assert_eq!(done.wait_for(1).await, [3]);
    service.shutdown().await.unwrap();
}
