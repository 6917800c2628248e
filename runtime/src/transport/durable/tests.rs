//! The contract of queues: one body for each promise, on memory, on a real server, and on a node of a cluster.

mod cancelling;
mod enqueueing;
mod finding;
mod keys;
mod looking;
mod notes;
mod owners;
mod pausing;
mod results;
mod taking;
mod waiting;
mod watching;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::timeout;

use crate::{
    config::{Bounds, Config},
    error::EnqueueError,
    time::deadline_after,
    transport::{
        any::AnyTransport,
        contract::{Attachment, Name, Parcel, Reach, ReceiptComes, Wanted},
        durable::{
            any::{AnyKeeper, AnyReader},
            contract::{Heartbeat, Overdue, QueueSpec, Take, Taken},
            course::{
                Announcement, Asker, Beside, Cancelling, EndedTask, Known, Note, Page, Progress, Reported,
                ResultBounds, Seen,
            },
            look::{DeadLetterBounds, Mend, QueueCounts},
            record::Record,
            task::{
                DeadReason, Due, Enqueued, Entry, EntryAt, NewTask, OnceKey, QueueName, Settled, Settlement, TaskState,
                Unique, Verdict, Why,
            },
        },
        inbox::{Inbox, Item, WhenFull},
        memory::broker::MemoryBroker,
        redis::tests::server::{DEADLINE, Server, free_port},
        status::NameKind,
    },
};

/// One test body on both transports.
macro_rules! on_both {
    ($($(#[doc = $doc:literal])* async fn $name:ident($world:ident: World) $body:block)*) => {
        $(
            $(#[doc = $doc])*
            mod $name {
                use super::*;

                async fn holds($world: World) $body

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn on_memory() {
                    holds(World::memory().await).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn on_redis() {
                    holds(World::redis().await).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn on_a_cluster() {
                    holds(World::cluster().await).await;
                }
            }
        )*
    };
}
pub(super) use on_both;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A lease that a test can wait for.
const LEASE: Duration = Duration::from_millis(400);
const HIGH: &str = "tasks:images:high";
const NORMAL: &str = "tasks:images:normal";
const LOW: &str = "tasks:images:low";

/// A transport with a queue.
struct World {
    transport: Arc<AnyTransport>,
    spec: QueueSpec,
    server: Behind,
}

/// What carries the queue.
enum Behind {
    Memory(Arc<MemoryBroker>),
    Redis(Box<Server>),
}

impl World {
    async fn memory() -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("durable-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let broker = MemoryBroker::named(&name);
        Self::on(&format!("memory:{name}"), Behind::Memory(broker)).await
    }

    async fn redis() -> Self {
        let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
        Self::on(&server.url(), Behind::Redis(Box::new(server))).await
    }

    /// One node that has all slots: what a script does beyond the slot of its queue fails there too.
    async fn cluster() -> Self {
        let start = || {
            let port = free_port().to_string();
            let server = Server::start_with(&["--cluster-enabled", "yes", "--cluster-port", &port]);
            server.run("CLUSTER ADDSLOTSRANGE 0 16383");
            while !server.text("CLUSTER INFO").contains("cluster_state:ok") {
                std::thread::sleep(Duration::from_millis(5));
            }
            server
        };
        let server = tokio::task::spawn_blocking(start).await.unwrap();
        let url = server.url().replace("redis://", "redis+cluster://");
        Self::on(&url, Behind::Redis(Box::new(server))).await
    }

    async fn on(url: &str, server: Behind) -> Self {
        let transport = AnyTransport::connect(url, &Config::default()).await.unwrap();
        let spec = QueueSpec {
            name: QueueName { template: "tasks:images:<priority>", namespace: "shop:".into() },
            parts: [HIGH, NORMAL, LOW].map(Arc::from).to_vec(),
            lease: LEASE,
            at_most_once: false,
            dead: DeadLetterBounds::DEFAULT,
            results: None,
        };
        transport.declare(&spec).await.unwrap();
        Self { transport: Arc::new(transport), spec, server }
    }

    /// Lets the server's time pass.
    async fn pass(&self, time: Duration) {
        match &self.server {
            Behind::Memory(broker) => broker.advance(time),
            Behind::Redis(_) => tokio::time::sleep(time).await,
        }
    }

    /// Cuts every connection to the server.
    fn cut(&self) {
        match &self.server {
            Behind::Memory(broker) => broker.disconnect(),
            Behind::Redis(server) => drop(server.run("CLIENT KILL TYPE normal SKIPME yes")),
        }
    }

    fn task(&self, channel: &str, id: &str) -> NewTask {
        NewTask {
            queue: self.spec.name.clone(),
            channel: channel.to_owned(),
            name: "Resize",
            version: 2,
            id: id.to_owned(),
            payload: format!("payload of {id}").into_bytes(),
            due: Due::Now,
            expires_in: None,
            unique: None,
            max_length: None,
        }
    }

    async fn enqueue_one(&self, task: NewTask) -> Result<Enqueued, EnqueueError> {
        within(self.transport.enqueue(vec![task], false)).await.pop().unwrap()
    }

    async fn enqueue(&self, channel: &str, ids: &[&str]) {
        let tasks = ids.iter().map(|id| self.task(channel, id)).collect();
        for (result, id) in within(self.transport.enqueue(tasks, false)).await.into_iter().zip(ids) {
            assert_eq!(result.unwrap(), Enqueued::new((*id).to_owned(), None));
        }
    }

    fn hand(&self, instance: &str) -> Hand {
        let reader = self.transport.reader(self.spec.clone(), instance.into());
        Hand { reader, parts: self.spec.parts.len() }
    }

    async fn settle(&self, settlement: Settlement) -> Settled {
        within(self.transport.settle(&self.spec.name, vec![settlement])).await.unwrap()[0]
    }

    async fn done(&self, entry: &Entry) {
        assert_eq!(self.settle(settlement(entry, done())).await, Settled::Counted);
    }

    async fn counts(&self) -> QueueCounts {
        within(self.transport.counts(&self.spec)).await.unwrap()
    }

    /// Hears what is published on these channels, which have the namespace.
    async fn listen(&self, channels: &[&str]) -> Listener {
        let inbox = Arc::new(Inbox::new(Bounds { messages: 1_000_000, bytes: 1 << 30 }, WhenFull::DropOldest));
        let names = channels
            .iter()
            .chain(&[MARKER])
            .map(|channel| Wanted { name: Name { text: (*channel).to_owned(), kind: NameKind::Channel }, token: 0 });
        let attachment = within(self.transport.attach(Arc::clone(&inbox), names.collect())).await.unwrap();
        Listener { inbox, items: VecDeque::new(), _attachment: attachment }
    }

    /// What was published until now.
    async fn heard(&self, listener: &mut Listener) -> Vec<(String, String)> {
        let (channel, payload) = (MARKER.to_owned(), Vec::new());
        let marker = Parcel {
            template: "marker",
            reach: Reach::Channel,
            channel,
            payload,
            expiry: None,
            receipt: ReceiptComes::Anytime,
        };
        within(self.transport.publish(marker)).await.unwrap();
        let mut heard = Vec::new();
        loop {
            let message = listener.next().await;
            if message.0 == MARKER {
                return heard;
            }
            heard.push(message);
        }
    }

    async fn ask(&self, id: &str, asker: Option<Asker>) -> Known {
        within(self.transport.ask(&self.spec.name, id, asker, deadline_after(HOUR))).await.unwrap()
    }

    async fn find(&self, id: &str) -> Option<Seen> {
        within(self.transport.find(&self.spec, id)).await.unwrap()
    }

    async fn cancel(&self, id: &str) -> Cancelling {
        within(self.transport.cancel(&self.spec, id)).await.unwrap()
    }

    /// Keeps results of so many tasks, so long, and so many bytes of them.
    async fn keep_results(&mut self, count: u64, age: Duration, bytes: u64) {
        self.spec.results = Some(ResultBounds { count, age, bytes });
        within(self.transport.declare(&self.spec)).await.unwrap();
    }

    /// Waiting, delayed and running, of all parts.
    async fn state(&self) -> (u64, u64, u64) {
        let counts = self.counts().await;
        counts.parts.values().fold((0, 0, 0), |(waiting, delayed, running), part| {
            (waiting + part.waiting, delayed + part.delayed, running + part.running)
        })
    }
}

/// Where each listener hears that it has heard everything before.
const MARKER: &str = "shop:marker";

/// Hears what is published.
struct Listener {
    inbox: Arc<Inbox>,
    items: VecDeque<Item>,
    _attachment: Attachment,
}

impl Listener {
    /// Channel and payload of the next message.
    async fn next(&mut self) -> (String, String) {
        if self.items.is_empty() {
            let take = std::future::poll_fn(|context| self.inbox.poll_take(context, &mut self.items, 1_000));
            assert!(within(take).await, "the connection has ended");
        }
        match self.items.pop_front() {
            Some(Item::Frame(frame)) => {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                (text(frame.channel()), text(frame.payload()))
            }
            other => panic!("{other:?} is no message"),
        }
    }
}

/// An instance that takes tasks.
struct Hand {
    reader: AnyReader,
    parts: usize,
}

impl Hand {
    async fn take_as(&mut self, take: Take) -> Taken {
        within(self.reader.take(take)).await.unwrap()
    }

    /// Takes so many, the best part first.
    async fn take(&mut self, want: usize) -> Vec<Entry> {
        self.take_as(Take { order: (0..self.parts).map(|part| (part, want)).collect(), want, ..Take::default() })
            .await
            .entries
    }

    /// Takes the only one that is there.
    async fn take_one(&mut self) -> Entry {
        let mut entries = self.take(10).await;
        assert_eq!(entries.len(), 1, "{entries:?}");
        entries.remove(0)
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("an answer in time")
}

fn ids(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| &*entry.id).collect()
}

fn settlement(entry: &Entry, verdict: Verdict) -> Settlement {
    Settlement {
        at: entry.at.clone(),
        id: Arc::clone(&entry.id),
        unique: entry.unique.clone(),
        once: None,
        verdict,
        beside: None,
    }
}

fn beside(settlement: Settlement, beside: Beside) -> Settlement {
    Settlement { beside: Some(Arc::new(beside)), ..settlement }
}

fn kept(result: &str) -> Beside {
    Beside { result: Some(result.as_bytes().to_vec()), ..Beside::default() }
}

fn asker(payload: &str) -> Asker {
    Asker { channel: "shop:inbox:7".to_owned(), payload: payload.as_bytes().to_vec(), within: HOUR }
}

fn poke(payload: &str) -> (String, String) {
    ("shop:inbox:7".to_owned(), payload.to_owned())
}

fn progress(fraction: f64, text: &str, checkpoint: Option<&str>) -> Progress {
    let checkpoint = checkpoint.map(|checkpoint| checkpoint.as_bytes().to_vec());
    Progress { reported: Some(Reported { fraction: Some(fraction), text: text.to_owned() }), checkpoint }
}

fn done() -> Verdict {
    Verdict::Done { follow_ups: Vec::new() }
}

/// The record with which a task leaves its owner.
fn moved(entry: &Entry) -> Record {
    Record { owners: entry.token(), enqueued_at: entry.enqueued_at(), ..entry.record.clone() }
}

fn again(entry: &Entry, why: Why, after: Option<Duration>) -> Settlement {
    settlement(entry, Verdict::Again { why, after, record: moved(entry) })
}

fn dead(entry: &Entry, reason: DeadReason) -> Settlement {
    let record = Record { failures: 4, error: Some("no disk".to_owned()), ..moved(entry) };
    settlement(entry, Verdict::Dead { record, reason, instance: "me".into() })
}

fn park(entry: &Entry) -> Settlement {
    settlement(entry, Verdict::Park { record: moved(entry) })
}

fn at(entry: &Entry) -> EntryAt {
    entry.at.clone()
}
