//! The queues of a bus: what is asked on the connection that it shares.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{Cmd, Value, cmd};

use crate::{
    error::{BatchError, EnqueueError, QueueError},
    transport::{
        contract::Parcel,
        durable::{
            contract::{QueueSpec, Together},
            look::{Dead, EndedCounts, Mend, PartCounts, QueueCounts, RunningTask, Worker},
            task::{Begun, Enqueued, NewTask, OnceKey, QueueName, Settled, Settlement},
        },
        life::Life,
        redis::{
            commands::Commands,
            connector::Connector,
            queues::{
                connection::Context,
                enqueue::{enqueue, enqueue_and_publish, follow_up},
                entry::dead_letter,
                failure::Failure,
                homes::Homes,
                keeper::{RedisKeeper, with_channels},
                packed::Packed,
                reader::RedisReader,
                scripts::{BEGIN, COUNTS, DECLARE, MEND, RUNNING, SETTLE, UNPARK, WORKERS},
                settling::{Order, millis, write, write_bounds},
                with_others::enqueue_with_others,
            },
            settings::Settings,
            words,
        },
    },
};

/// What `<base>layout` says where the keys are as this version writes them.
const LAYOUT: &str = "1";
/// Dead letters that one script mends.
const TOGETHER: usize = 200;

/// The queues of a bus.
pub(crate) struct Queues {
    homes: Arc<Homes>,
    /// Whether the bus has served a queue, enqueued a task, or looked at a queue.
    is_used: AtomicBool,
}

impl Queues {
    pub(crate) fn new(connector: Connector, settings: Arc<Settings>, life: Arc<Life>) -> Self {
        let is_publishing_refused = Arc::default();
        let context = Context { connector, settings, life, is_publishing_refused };
        Self { homes: Arc::new(Homes::new(context)), is_used: AtomicBool::new(false) }
    }

    /// Whether the bus uses queues.
    pub(crate) fn are_used(&self) -> bool {
        self.is_used.load(Ordering::Relaxed)
    }

    pub(crate) fn expect_use(&self) {
        self.is_used.store(true, Ordering::Relaxed);
    }

    pub(crate) fn close(&self) {
        self.homes.close();
    }

    pub(crate) fn reader(&self, queue: QueueSpec, instance: Arc<str>) -> RedisReader {
        self.expect_use();
        RedisReader::new(Arc::clone(&self.homes), queue, instance)
    }

    pub(crate) fn keeper(&self) -> RedisKeeper {
        RedisKeeper::new(Arc::clone(&self.homes.context))
    }

    pub(crate) async fn enqueue(
        &self,
        commands: &Commands,
        tasks: Vec<NewTask>,
        atomic: bool,
    ) -> Vec<Result<Enqueued, EnqueueError>> {
        if tasks.is_empty() {
            return Vec::new();
        }
        self.expect_use();
        if (!atomic || tasks.len() == 1)
            && let Some(results) = enqueue_with_others(&self.homes, commands, &tasks).await
        {
            return results;
        }
        enqueue(&self.homes, tasks, atomic).await
    }

    pub(crate) async fn enqueue_and_publish(
        &self,
        tasks: Vec<NewTask>,
        parcels: &[Parcel],
    ) -> Result<Together, BatchError> {
        self.expect_use();
        enqueue_and_publish(&self.homes, tasks, parcels).await
    }

    /// The script runs each command that the others take: what is refused shows now.
    pub(crate) async fn declare(&self, queue: &QueueSpec) -> Result<(), QueueError> {
        self.expect_use();
        let mut command = DECLARE.on(&queue.name.base());
        command.arg(LAYOUT).arg(queue.dead.count).arg(millis(queue.dead.age)).arg(queue.dead.bytes);
        write_bounds(&mut command, queue.results);
        with_channels(&mut command, queue);
        let layout = |found| QueueError::Layout { queue: queue.name.template, found, known: LAYOUT };
        match self.homes.of(&queue.name).ask(command).await {
            Ok(Value::BulkString(found)) if found == LAYOUT.as_bytes() => Ok(()),
            Ok(Value::BulkString(found)) => Err(layout(format!("{:.20}", String::from_utf8_lossy(&found)))),
            Ok(_) => Err(self.failed(&queue.name, Failure::Unreadable)),
            Err(Failure::Server(reason)) if words::code(&reason) == "WRONGTYPE" => Err(layout(reason)),
            // Older servers cannot read the first line of a script.
            Err(Failure::Server(reason)) if reason.starts_with("ERR Error compiling script") => {
                let reason = "queues need Redis 7 or newer".to_owned();
                Err(QueueError::Server { queue: queue.name.template, reason })
            }
            Err(failure) => Err(self.failed(&queue.name, failure)),
        }
    }

    pub(crate) async fn settle(
        &self,
        queue: &QueueName,
        mut settlements: Vec<Settlement>,
    ) -> Result<Vec<Settled>, QueueError> {
        follow_up(&self.homes, queue, &mut settlements).await.map_err(|failure| self.failed(queue, failure))?;
        let mut command = SETTLE.on(&queue.base());
        command.arg("");
        let order = write(&mut command, &settlements);
        let digits = self.text(queue, command).await?;
        self.settled(queue, &order, &digits)
    }

    /// What counted, of the answer to settlements.
    pub(super) fn settled(&self, queue: &QueueName, order: &Order, answer: &[u8]) -> Result<Vec<Settled>, QueueError> {
        let settled = self.homes.context.settled(queue.template, order, answer);
        settled.ok_or_else(|| self.failed(queue, Failure::Unreadable))
    }

    pub(crate) async fn begin(
        &self,
        queue: &QueueName,
        key: &OnceKey,
        id: &str,
        token: u64,
    ) -> Result<Begun, QueueError> {
        let mut command = BEGIN.on(&queue.base());
        command.arg(&key.key).arg(id).arg(token).arg(millis(key.window));
        match self.text(queue, command).await?.as_slice() {
            b"now" => Ok(Begun::Now),
            b"done" => Ok(Begun::Done),
            b"before" => Ok(Begun::Before),
            b"elsewhere" => Ok(Begun::Elsewhere),
            _ => Err(self.failed(queue, Failure::Unreadable)),
        }
    }

    pub(crate) async fn counts(&self, queue: &QueueSpec) -> Result<QueueCounts, QueueError> {
        let mut command = COUNTS.on(&queue.name.base());
        with_channels(&mut command, queue);
        let answer = self.text(&queue.name, command).await?;
        read_counts(&mut Packed::new(answer), queue).ok_or_else(|| self.failed(&queue.name, Failure::Unreadable))
    }

    pub(crate) async fn running(&self, queue: &QueueSpec, limit: usize) -> Result<Vec<RunningTask>, QueueError> {
        let mut command = RUNNING.on(&queue.name.base());
        command.arg(limit);
        with_channels(&mut command, queue);
        let mut packed = Packed::new(self.text(&queue.name, command).await?);
        let one = |packed: &mut Packed| {
            let channel = queue.parts.get(usize::try_from(packed.number()?).ok()?)?;
            let (id, instance) = (packed.string()?, packed.string()?);
            let (idle, held) = (time(packed.number()?)?, time(packed.number()?)?);
            Some(RunningTask { id, channel: Arc::clone(channel), instance, idle, held })
        };
        let tasks = packed.array().and_then(|length| (0..length / 5).map(|_| one(&mut packed)).collect());
        tasks.ok_or_else(|| self.failed(&queue.name, Failure::Unreadable))
    }

    pub(crate) async fn workers(&self, queue: &QueueName) -> Result<Vec<Worker>, QueueError> {
        let mut packed = Packed::new(self.text(queue, WORKERS.on(&queue.base())).await?);
        let one = |packed: &mut Packed| {
            let (instance, silent, about) = (packed.string()?, time(packed.number()?)?, packed.string()?);
            Some(Worker { instance, silent, about })
        };
        let workers = packed.array().and_then(|length| (0..length / 3).map(|_| one(&mut packed)).collect());
        workers.ok_or_else(|| self.failed(queue, Failure::Unreadable))
    }

    /// <https://redis.io/docs/latest/commands/xrevrange/>
    pub(crate) async fn dead(
        &self,
        queue: &QueueName,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Dead>, QueueError> {
        let mut command = cmd("XREVRANGE");
        command.arg(format!("{}dead", queue.base()));
        command.arg(before.map_or_else(|| "+".to_owned(), |before| format!("({before}")));
        command.arg("-").arg("COUNT").arg(limit);
        let answer = self.homes.of(queue).ask(command).await.map_err(|failure| self.failed(queue, failure))?;
        let dead = match answer {
            Value::Array(entries) => entries.into_iter().map(dead_letter).collect(),
            _ => None,
        };
        dead.ok_or_else(|| self.failed(queue, Failure::Unreadable))
    }

    pub(crate) async fn mend(&self, queue: &QueueName, entries: &[String], mend: &Mend) -> Result<u64, QueueError> {
        let mut mended = 0;
        for entries in entries.chunks(TOGETHER) {
            let mut command = MEND.on(&queue.base());
            command.arg(match mend {
                Mend::Replay => "replay",
                Mend::Delete => "delete",
            });
            command.arg(entries);
            match self.homes.of(queue).ask(command).await {
                Ok(Value::Int(number)) => mended += u64::try_from(number).unwrap_or_default(),
                Ok(_) => return Err(self.failed(queue, Failure::Unreadable)),
                Err(failure) => return Err(self.failed(queue, failure)),
            }
        }
        Ok(mended)
    }

    pub(crate) async fn unpark(&self, queue: &QueueName, name: &str, version: u32) -> Result<u64, QueueError> {
        let (mut cursor, mut unparked) = (b"0".to_vec(), 0);
        loop {
            let mut command = UNPARK.on(&queue.base());
            command.arg(cursor).arg(name).arg(version);
            let answer = self.homes.of(queue).ask(command).await.map_err(|failure| self.failed(queue, failure))?;
            let Value::Array(answer) = answer else { return Err(self.failed(queue, Failure::Unreadable)) };
            let [Value::BulkString(next), Value::Int(number)] = answer.as_slice() else {
                return Err(self.failed(queue, Failure::Unreadable));
            };
            unparked += u64::try_from(*number).unwrap_or_default();
            if next == b"0" {
                return Ok(unparked);
            }
            cursor = next.clone();
        }
    }

    pub(super) async fn text(&self, queue: &QueueName, command: Cmd) -> Result<Vec<u8>, QueueError> {
        match self.asked(queue, command).await? {
            Value::BulkString(text) => Ok(text),
            _ => Err(self.failed(queue, Failure::Unreadable)),
        }
    }

    pub(super) async fn asked(&self, queue: &QueueName, command: Cmd) -> Result<Value, QueueError> {
        self.expect_use();
        self.homes.of(queue).ask(command).await.map_err(|failure| self.failed(queue, failure))
    }

    pub(super) fn failed(&self, queue: &QueueName, failure: Failure) -> QueueError {
        failure.for_queue(queue.template, &self.homes.context.settings)
    }
}

fn read_counts(packed: &mut Packed, queue: &QueueSpec) -> Option<QueueCounts> {
    let number = |packed: &mut Packed| u64::try_from(packed.number()?).ok();
    if packed.array()? != 7 {
        return None;
    }
    let (parked, dead, oldest) = (number(packed)?, number(packed)?, time(packed.number()?));
    if packed.array()? != 10 {
        return None;
    }
    let ended = EndedCounts {
        completed: number(packed)?,
        dead: number(packed)?,
        discarded: number(packed)?,
        expired: number(packed)?,
        failed_attempts: number(packed)?,
        crashed_attempts: number(packed)?,
        handed_back: number(packed)?,
        unknown: number(packed)?,
        dead_trimmed: number(packed)?,
        cancelled: number(packed)?,
    };
    if packed.array()? != 3 * queue.parts.len() {
        return None;
    }
    let mut counts = QueueCounts { parked, dead, ended, oldest, ..QueueCounts::default() };
    for channel in &queue.parts {
        let (waiting, delayed, running) = (number(packed)?, number(packed)?, number(packed)?);
        counts.parts.insert(channel.as_ref().to_owned(), PartCounts { waiting, delayed, running });
    }
    (counts.results, counts.is_paused) = (number(packed)?, number(packed)? == 1);
    Some(counts)
}

/// Of milliseconds; nothing of a negative number.
fn time(millis: i64) -> Option<Duration> {
    u64::try_from(millis).ok().map(Duration::from_millis)
}
