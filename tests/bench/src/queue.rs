//! W6: a queue, drained by one process with everything on, and filled.
//!
//! By hand that is a loop over a stream with a consumer group, which acknowledges and removes what it has read in one pipeline. It recovers nothing, retries
//! nothing and knows no priorities.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use redis::{AsyncCommands, aio::MultiplexedConnection, streams::StreamReadReply};
use serde::{Deserialize, Serialize};
use tidings::{AddressedByFields, Bus, Format, Message, Queue, Router, handler, routes};

use crate::{
    by_hand::Connection,
    measure::{Begun, Report, TAKEN, percentiles},
    order::{Form, Order},
    publish::{LARGE, batches, spread},
};

/// The order of the other work, as a task.
#[derive(Clone, Debug, Message, Serialize, Deserialize)]
#[queue("bench:orders")]
pub struct OrderTask {
    #[serde(flatten)]
    order: Order,
}

/// The same, whose results are kept.
#[derive(Clone, Debug, Message, Serialize, Deserialize)]
#[queue("bench:kept", results = "1h")]
#[reply(u64)]
pub struct KeptTask {
    #[serde(flatten)]
    order: Order,
}

#[handler(idempotent, timeout = "30s", concurrency = 64)]
async fn kept(task: KeptTask) -> u64 {
    let checksum = task.order.checksum();
    TAKEN.add(checksum);
    checksum
}

#[handler(idempotent, timeout = "30s", concurrency = 64)]
async fn many(task: OrderTask) {
    TAKEN.add(task.order.checksum());
}

#[handler(idempotent, timeout = "30s", concurrency = 1)]
async fn one(task: OrderTask) {
    TAKEN.add(task.order.checksum());
}

const STREAM: &str = "orders";
const GROUP: &str = "workers";
/// What is read at once by hand, where several may be worked on.
const COUNT: u64 = 100;

/// Works off `messages` tasks, so many at once. They wait before it is measured.
pub async fn drain(program: &str, url: &str, messages: u64, at_once: u64) -> Report {
    match program {
        "tidings" => {
            let bus = plain(url).await;
            fill_in_batches(&bus, messages, |order| OrderTask { order }).await;
            match at_once {
                1 => drained::<OrderTask, _>(&bus, routes![one], messages).await,
                _ => drained::<OrderTask, _>(&bus, routes![many], messages).await,
            }
        }
        "tidings-results" => {
            let bus = plain(url).await;
            fill_in_batches(&bus, messages, |order| KeptTask { order }).await;
            drained::<KeptTask, _>(&bus, routes![kept], messages).await
        }
        "redis" => {
            let mut connection = Connection::patient(url).await;
            let _: () = connection.xgroup_create_mkstream(STREAM, GROUP, "0").await.expect("a group");
            for numbers in batches(messages, LARGE) {
                let mut pipe = redis::pipe();
                for number in numbers {
                    let payload = Form::Plain.encode(&Order::new(number), number);
                    pipe.xadd(STREAM, "*", &[("payload", payload)]).ignore();
                }
                let _: () = pipe.query_async(&mut connection).await.expect("added");
            }
            let begun = Begun::now();
            read(&mut connection, messages, if at_once == 1 { 1 } else { COUNT }).await;
            begun.report(messages)
        }
        other => crate::peers::drain(other, url, messages, at_once).await,
    }
}

async fn drained<M: Queue, R: Router>(bus: &Bus, router: R, messages: u64) -> Report {
    let begun = Begun::now();
    let service = bus.serve(router).await.expect("a service");
    while TAKEN.messages() < messages {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    service.shutdown().await.expect("nothing waits");
    let report = begun.report(messages);
    let counts = bus.queue::<M>().counts().await.expect("counts");
    assert_eq!(counts.ended.completed, messages, "each was done once");
    report
}

/// The loop that a program has that is written by hand.
async fn read(connection: &mut Connection, messages: u64, count: u64) {
    let mut done = 0;
    while done < messages {
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP").arg(GROUP).arg("me").arg("COUNT").arg(count).arg("BLOCK").arg(5_000);
        read.arg("STREAMS").arg(STREAM).arg(">");
        let reply: StreamReadReply = read.query_async(connection).await.expect("entries");
        let mut ids = Vec::new();
        for entry in reply.keys.into_iter().flat_map(|key| key.ids) {
            let payload: Vec<u8> = entry.get("payload").expect("a payload");
            TAKEN.add(Form::Plain.decode(&payload).checksum());
            ids.push(entry.id);
        }
        let mut pipe = redis::pipe();
        pipe.xack(STREAM, GROUP, &ids).ignore().xdel(STREAM, &ids).ignore();
        let _: () = pipe.query_async(connection).await.expect("acknowledged");
        done += ids.len() as u64;
    }
}

/// Enqueues `messages` tasks, so many tokio tasks at once.
pub async fn fill(program: &str, url: &str, messages: u64, at_once: u64) -> Report {
    match program {
        "tidings" if at_once == LARGE => {
            let bus = plain(url).await;
            let begun = Begun::now();
            fill_in_batches(&bus, messages, |order| OrderTask { order }).await;
            begun.report(messages)
        }
        "tidings" => {
            let bus = plain(url).await;
            spread(messages, at_once, move |number| {
                let bus = bus.clone();
                async move {
                    OrderTask { order: Order::new(number) }.enqueue(&bus).await.expect("enqueued");
                }
            })
            .await
        }
        "redis" => {
            let connection = Connection::open(url).await;
            if at_once == LARGE {
                let (mut connection, begun) = (connection, Begun::now());
                for numbers in batches(messages, LARGE) {
                    let mut pipe = redis::pipe();
                    for number in numbers {
                        pipe.xadd(STREAM, "*", &[("payload", Form::Plain.encode(&Order::new(number), number))])
                            .ignore();
                    }
                    let _: () = pipe.query_async(&mut connection).await.expect("added");
                }
                return begun.report(messages);
            }
            spread(messages, at_once, move |number| {
                let mut connection = connection.clone();
                async move {
                    let payload = Form::Plain.encode(&Order::new(number), number);
                    let _: String = connection.xadd(STREAM, "*", &[("payload", payload)]).await.expect("added");
                }
            })
            .await
        }
        other => panic!("no such program: {other}"),
    }
}

/// From enqueueing to the handler, one task after the other, with a pause in which the instance has gone to sleep.
pub async fn pick_up(program: &str, url: &str, messages: u64) -> Report {
    let begun = Begun::now();
    let mut micros = Vec::new();
    match program {
        "tidings" => {
            let bus = plain(url).await;
            let service = bus.serve(routes![many]).await.expect("a service");
            for number in 0..messages {
                tokio::time::sleep(IDLE).await;
                let at = Instant::now();
                OrderTask { order: Order::new(number) }.enqueue(&bus).await.expect("enqueued");
                micros.push(taken(number + 1, at).await);
            }
            service.shutdown().await.expect("nothing waits");
        }
        "redis" => {
            let (mut reading, mut adding) = (Connection::patient(url).await, Connection::open(url).await);
            let _: () = reading.xgroup_create_mkstream(STREAM, GROUP, "0").await.expect("a group");
            let worker = tokio::spawn(async move { read(&mut reading, messages, COUNT).await });
            for number in 0..messages {
                tokio::time::sleep(IDLE).await;
                let (at, payload) = (Instant::now(), Form::Plain.encode(&Order::new(number), number));
                let _: String = adding.xadd(STREAM, "*", &[("payload", payload)]).await.expect("added");
                micros.push(taken(number + 1, at).await);
            }
            worker.await.expect("the worker ends");
        }
        other => panic!("no such program: {other}"),
    }
    let mut report = begun.report(messages);
    (report.median_micros, report.p99_micros) = percentiles(micros);
    report
}

const IDLE: Duration = Duration::from_millis(10);

/// Waits until so many were taken; how long that took.
async fn taken(messages: u64, since: Instant) -> f64 {
    while TAKEN.messages() < messages {
        tokio::task::yield_now().await;
    }
    since.elapsed().as_secs_f64() * 1e6
}

/// What of these takes memory on the server, and who adds it.
pub const WAITING: &[(&str, &str)] = &[
    ("by hand: an entry of a stream, with the payload alone", "redis-waiting"),
    ("tidings: a task that waits", "tidings-waiting"),
    ("tidings: a task with a deduplication key", "tidings-keyed"),
    ("tidings: a delayed task", "tidings-delayed"),
    ("oxana: a job that waits", "oxana-waiting"),
    ("ruststream: an entry of its stream", "ruststream-waiting"),
];

/// Adds so many tasks that nobody takes; by how many bytes the server has grown.
pub async fn wait(program: &str, url: &str, messages: u64) -> Report {
    let client = redis::Client::open(url).expect("an address");
    let mut connection = client.get_multiplexed_async_connection().await.expect("a connection");
    let bus = plain(url).await;
    // What a queue takes once is not a task's.
    add(program, url, &bus, &mut connection, 0..1).await;
    let before = used_memory(&mut connection).await;
    for numbers in batches(messages, LARGE) {
        add(program, url, &bus, &mut connection, numbers.start + 1..numbers.end + 1).await;
    }
    let live_bytes = used_memory(&mut connection).await - before;
    Report { messages, live_bytes, ..Report::default() }
}

async fn add(program: &str, url: &str, bus: &Bus, connection: &mut MultiplexedConnection, numbers: Range<u64>) {
    match program {
        "redis-waiting" => {
            let mut pipe = redis::pipe();
            for number in numbers {
                pipe.xadd(STREAM, "*", &[("payload", Form::Plain.encode(&Order::new(number), number))]).ignore();
            }
            pipe.query_async(connection).await.expect("added")
        }
        ours if ours.starts_with("tidings") => enqueue(ours, bus, numbers).await,
        other => crate::peers::fill(other, url, numbers).await,
    }
}

async fn enqueue(program: &str, bus: &Bus, numbers: Range<u64>) {
    let tasks: Vec<OrderTask> = numbers.clone().map(|number| OrderTask { order: Order::new(number) }).collect();
    let mut all = bus.enqueue_all::<OrderTask>([]);
    for (task, number) in tasks.iter().zip(numbers) {
        all = match program {
            "tidings-waiting" => all.push(task),
            "tidings-keyed" => all.push_enqueueing(task.enqueue(bus).deduplicate(format!("order {number:08}"), HOUR)),
            "tidings-delayed" => all.push_enqueueing(task.enqueue(bus).delay(HOUR)),
            other => panic!("no such program: {other}"),
        };
    }
    assert!(all.await.iter().all(Result::is_ok));
}

const HOUR: Duration = Duration::from_secs(3_600);

async fn used_memory(connection: &mut MultiplexedConnection) -> i64 {
    let info: String = redis::cmd("INFO").arg("memory").query_async(connection).await.expect("information");
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    line.and_then(|bytes| bytes.trim().parse().ok()).expect("the server says how much it uses")
}

async fn plain(url: &str) -> Bus {
    Bus::builder(url).format(Format::Plain).connect().await.expect("a connection")
}

async fn fill_in_batches<M: AddressedByFields + Queue>(bus: &Bus, messages: u64, task: impl Fn(Order) -> M) {
    for numbers in batches(messages, LARGE) {
        let tasks: Vec<M> = numbers.map(|number| task(Order::new(number))).collect();
        assert!(bus.enqueue_all(&tasks).await.iter().all(Result::is_ok));
    }
}
