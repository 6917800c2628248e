//! Keeps the leases of one process, on a connection of its own.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use redis::Cmd;

use crate::{
    error::QueueError,
    time::now,
    transport::{
        durable::{
            contract::{Heartbeat, Keeper, Overdue, OverdueEntry, QueueSpec},
            task::{Entry, EntryAt, QueueName, Settled, Settlement},
        },
        redis::{
            queues::{
                connection::Context,
                entry::Part,
                failure::Failure,
                own::{Answer, Place},
                packed::Packed,
                scripts::{KEEP, OVERDUE, PENDING, SETTLE, TIDY},
                settling::{millis, stream, write_each},
            },
            topology::Endpoint,
        },
    },
};

/// What CLIENT LIST shows.
const NAME: &str = "tidings-keeper";
const ANEW: &str = "the connection was lost, and is made anew";
const PUT_FORWARD: &str = "the server's clock was put forward, and nobody could renew a lease meanwhile";
/// Leases that one script renews.
const TOGETHER: usize = 500;
/// Dead letters that one script trims, and how often that is done in a row.
const TRIMMED: (i64, usize) = (1_000, 20);

/// Keeps the leases of one process.
///
/// Whoever has connected again must not take tasks from others at once, whose leases are over only because nobody could renew them. So after each
/// connection but the first the next [`keep`](Keeper::keep) of each queue says so, and until then nothing is reclaimed.
pub(crate) struct RedisKeeper {
    context: Arc<Context>,
    /// One on one server; on a cluster one for each node that has a queue.
    places: HashMap<Option<Endpoint>, Place>,
    /// Of which connection each queue knows: the node, and which one to that.
    told: HashMap<QueueName, (Option<Endpoint>, u64)>,
    /// What the server's clock was when it was read last.
    clocks: HashMap<QueueName, Clock>,
}

/// The server's time of day in milliseconds, and when it was asked for.
#[derive(Clone, Copy)]
struct Clock {
    time: u64,
    asked: Instant,
}

impl Clock {
    /// By how many milliseconds the server's clock has been put forward meanwhile, at least, where this was its answer.
    fn put_forward(self, time: u64, answered: Instant) -> u64 {
        time.saturating_sub(self.time).saturating_sub(millis(answered.saturating_duration_since(self.asked)))
    }
}

impl RedisKeeper {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context, places: HashMap::new(), told: HashMap::new(), clocks: HashMap::new() }
    }

    /// The connection to a node. Those to nodes that have left the map are given up when there is a new one.
    fn place(&mut self, node: &Option<Endpoint>) -> &mut Place {
        let Self { context, places, .. } = self;
        if !places.contains_key(node)
            && let Some(cluster) = context.connector.cluster()
        {
            let slots = cluster.changes();
            let slots = slots.borrow();
            let present = slots.nodes();
            let has_left = |known: &Option<Endpoint>| known.as_ref().is_some_and(|known| !present.contains(&known));
            // How often there was a connection is remembered: queues are told of each.
            places.iter_mut().filter(|(known, _)| has_left(known)).for_each(|(_, place)| place.give_up());
        }
        places.entry(node.clone()).or_insert_with(|| {
            let context = match node {
                Some(node) => Arc::new(context.at_node(node.clone())),
                None => Arc::clone(context),
            };
            Place::new(context, NAME)
        })
    }

    async fn ask(&mut self, queue: &QueueName, command: Cmd) -> Result<Answer, Failure> {
        let node = self.context.node(queue).await?;
        self.place(&node).ask(command).await
    }

    /// Whether the queue does not know yet that the connection is another one.
    fn is_anew(&mut self, queue: &QueueName, node: &Option<Endpoint>) -> bool {
        let connection = (node.clone(), self.place(node).connections());
        *self.told.entry(queue.clone()).or_insert_with(|| connection.clone()) != connection
    }

    /// Reads the server's clock, unless it is known from before: what is looked for overdue tasks is none.
    async fn read_clock(&mut self, queue: &QueueName, node: &Option<Endpoint>) -> Result<(), Failure> {
        if self.clocks.contains_key(queue) {
            return Ok(());
        }
        let mut command = OVERDUE.on(&queue.base());
        command.arg(0).arg(0).arg(0);
        let asked = now();
        let mut packed = Packed::new(self.place(node).ask(command).await?.text()?);
        let time = packed.array().and_then(|_| packed.number()).and_then(|time| u64::try_from(time).ok());
        let time = time.ok_or(Failure::Unreadable)?;
        self.clocks.insert(queue.clone(), Clock { time, asked });
        Ok(())
    }

    /// Whether the server's clock has been put forward since it was looked at last, so that leases are over which nobody could renew: then the queue is told, at the
    /// next heartbeat, as of another connection.
    fn was_put_forward(&mut self, queue: &QueueSpec, asked: Instant, time: u64) -> bool {
        let before = self.clocks.insert(queue.name.clone(), Clock { time, asked });
        let by = before.map_or(0, |before| before.put_forward(time, now()));
        let was_put_forward = by > millis(queue.lease) / 3;
        if was_put_forward {
            let (queue, template) = (queue.name.clone(), queue.name.template);
            tracing::warn!(
                queue = template,
                milliseconds = by,
                "the server's clock was put forward; leases are over only once it is known who renews them"
            );
            self.told.insert(queue, (None, u64::MAX));
        }
        was_put_forward
    }

    /// Asks for what must not be done on a connection that is made anew.
    async fn ask_known(&mut self, queue: &QueueName, command: Cmd) -> Result<Answer, Failure> {
        let node = self.context.node(queue).await?;
        let (mut own, _) = self.place(&node).take().await?;
        if self.is_anew(queue, &node) {
            self.place(&node).put_back_unused(own);
            return Err(Failure::NotConnected(ANEW.to_owned()));
        }
        let answer = own.ask(command, self.context.settings.command_timeout).await;
        self.place(&node).put_back(own, answer)
    }

    async fn try_keep(
        &mut self,
        queue: &QueueName,
        instance: &str,
        about: &str,
        held: &[EntryAt],
    ) -> Result<Heartbeat, Failure> {
        let (base, node) = (queue.base(), self.context.node(queue).await?);
        let (mut rest, mut lost) = (held, Vec::new());
        loop {
            let (these, others) = rest.split_at(rest.len().min(TOGETHER));
            let mut command = KEEP.on(&base);
            command.arg(instance).arg(about);
            for at in these {
                command.arg(stream(&at.channel, at.is_back)).arg(at.entry.as_ref());
            }
            let digits = self.place(&node).ask(command).await?.text()?;
            if digits.len() != these.len() {
                return Err(Failure::Unreadable);
            }
            lost.extend(these.iter().zip(digits).filter(|(_, digit)| *digit != b'1').map(|(at, _)| at.clone()));
            rest = others;
            if rest.is_empty() {
                break;
            }
        }
        let is_anew = self.is_anew(queue, &node);
        if is_anew {
            // Another server has another clock.
            self.clocks.remove(queue);
        }
        self.read_clock(queue, &node).await?;
        if is_anew {
            let connections = self.place(&node).connections();
            self.told.insert(queue.clone(), (node, connections));
        }
        Ok(Heartbeat { lost, is_anew })
    }

    async fn try_overdue(&mut self, queue: &QueueSpec, patience: Duration, limit: usize) -> Result<Overdue, Failure> {
        let mut command = OVERDUE.on(&queue.name.base());
        command.arg(millis(queue.lease)).arg(millis(patience)).arg(limit);
        with_channels(&mut command, queue);
        let asked = now();
        let mut packed = Packed::new(self.ask_known(&queue.name, command).await?.text()?);
        let (overdue, tombstones) = read_overdue(&mut packed, queue).ok_or(Failure::Unreadable)?;
        tell_of(tombstones, queue);
        if self.was_put_forward(queue, asked, overdue.now) {
            return Err(Failure::NotConnected(PUT_FORWARD.to_owned()));
        }
        Ok(overdue)
    }

    async fn try_pending(&mut self, queue: &QueueSpec, instance: &str) -> Result<Vec<Entry>, Failure> {
        let mut command = PENDING.on(&queue.name.base());
        command.arg(instance);
        with_channels(&mut command, queue);
        let mut packed = Packed::new(self.ask(&queue.name, command).await?.text()?);
        let (entries, tombstones) = read_pending(&mut packed, queue).ok_or(Failure::Unreadable)?;
        tell_of(tombstones, queue);
        Ok(entries)
    }

    async fn try_reclaim(&mut self, queue: &QueueSpec, settlements: &[Settlement]) -> Result<Vec<Settled>, Failure> {
        let mut command = SETTLE.on(&queue.name.base());
        command.arg(millis(queue.lease));
        let order = write_each(&mut command, settlements);
        let digits = self.ask_known(&queue.name, command).await?.text()?;
        self.context.settled(queue.name.template, &order, &digits).ok_or(Failure::Unreadable)
    }

    async fn try_tidy(&mut self, queue: &QueueSpec, leaving: Option<&str>) -> Result<(), Failure> {
        for _ in 0..TRIMMED.1 {
            let mut command = TIDY.on(&queue.name.base());
            command.arg(millis(queue.lease)).arg(leaving.unwrap_or_default());
            with_channels(&mut command, queue);
            if self.ask(&queue.name, command).await?.number()? < TRIMMED.0 {
                break;
            }
        }
        Ok(())
    }

    /// Has the server's clock have been so far behind when it was looked at last.
    #[cfg(test)]
    pub(super) fn clock_was(&mut self, queue: &QueueName, behind: Duration) {
        if let Some(clock) = self.clocks.get_mut(queue) {
            clock.time -= millis(behind);
        }
    }

    fn failed(&self, queue: &QueueName, failure: Failure) -> QueueError {
        failure.for_queue(queue.template, &self.context.settings)
    }
}

pub(super) fn with_channels(command: &mut Cmd, queue: &QueueSpec) {
    for channel in &queue.parts {
        command.arg(channel.as_ref());
    }
}

fn part<'a>(packed: &mut Packed, queue: &'a QueueSpec) -> Option<Part<'a>> {
    let channel = queue.parts.get(usize::try_from(packed.number()?).ok()?)?;
    Some(Part { channel, is_back: packed.number()? == 1 })
}

fn read_overdue(packed: &mut Packed, queue: &QueueSpec) -> Option<(Overdue, i64)> {
    if packed.array()? != 4 {
        return None;
    }
    let now = u64::try_from(packed.number()?).ok()?;
    let next = u64::try_from(packed.number()?).ok().map(Duration::from_millis);
    let tombstones = packed.number()?;
    let mut entries = Vec::new();
    for _ in 0..packed.array()? / 5 {
        let entry = part(packed, queue)?.packed(packed)?;
        let (owner, has_died) = (packed.string()?, packed.number()? == 1);
        entries.push(OverdueEntry { entry, owner, has_died });
    }
    Some((Overdue { entries, next, now }, tombstones))
}

fn read_pending(packed: &mut Packed, queue: &QueueSpec) -> Option<(Vec<Entry>, i64)> {
    if packed.array()? != 2 {
        return None;
    }
    let tombstones = packed.number()?;
    let length = packed.array()? / 3;
    let entries = (0..length).map(|_| part(packed, queue)?.packed(packed)).collect::<Option<_>>()?;
    Some((entries, tombstones))
}

/// Entries that are pending, and that somebody has deleted.
fn tell_of(tombstones: i64, queue: &QueueSpec) {
    if tombstones > 0 {
        let queue = queue.name.template;
        tracing::warn!(
            queue,
            tombstones,
            "tasks are gone that instances had: another program has deleted or trimmed them"
        );
    }
}

impl Keeper for RedisKeeper {
    async fn keep(
        &mut self,
        queue: &QueueName,
        instance: &str,
        about: &str,
        held: &[EntryAt],
    ) -> Result<Heartbeat, QueueError> {
        self.try_keep(queue, instance, about, held).await.map_err(|failure| self.failed(queue, failure))
    }

    async fn overdue(&mut self, queue: &QueueSpec, patience: Duration, limit: usize) -> Result<Overdue, QueueError> {
        self.try_overdue(queue, patience, limit).await.map_err(|failure| self.failed(&queue.name, failure))
    }

    async fn pending(&mut self, queue: &QueueSpec, instance: &str) -> Result<Vec<Entry>, QueueError> {
        self.try_pending(queue, instance).await.map_err(|failure| self.failed(&queue.name, failure))
    }

    async fn reclaim(&mut self, queue: &QueueSpec, settlements: Vec<Settlement>) -> Result<Vec<Settled>, QueueError> {
        self.try_reclaim(queue, &settlements).await.map_err(|failure| self.failed(&queue.name, failure))
    }

    async fn tidy(&mut self, queue: &QueueSpec, leaving: Option<&str>) -> Result<(), QueueError> {
        self.try_tidy(queue, leaving).await.map_err(|failure| self.failed(&queue.name, failure))
    }
}

impl std::fmt::Debug for RedisKeeper {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RedisKeeper").field("places", &self.places.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tracing::{
        Event, Metadata, Subscriber,
        span::{Attributes, Id, Record},
        subscriber::with_default,
    };

    use crate::transport::durable::look::DeadLetterBounds;

    use super::*;

    /// Counts what is logged.
    struct Counting(Arc<AtomicUsize>);

    impl Subscriber for Counting {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, _: &Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn tasks_that_are_gone_are_told_of_and_only_those() {
        let queue = QueueSpec {
            name: QueueName { template: "tasks", namespace: "shop:".into() },
            parts: vec!["tasks".into()],
            lease: Duration::from_secs(30),
            at_most_once: false,
            dead: DeadLetterBounds::DEFAULT,
            results: None,
        };
        let told = Arc::<AtomicUsize>::default();
        with_default(Counting(Arc::clone(&told)), || {
            for (tombstones, expected) in [(0, 0), (1, 1), (0, 1), (7, 2)] {
                tell_of(tombstones, &queue);
                assert_eq!(told.load(Ordering::Relaxed), expected);
            }
        });
    }

    #[test]
    fn a_clock_that_goes_on_was_not_put_forward() {
        let asked = now();
        let clock = Clock { time: 1_000_000, asked };
        let after = |time, seconds| clock.put_forward(time, asked + Duration::from_secs(seconds));
        assert_eq!([after(1_010_000, 10), after(1_009_000, 10), after(0, 10)], [0, 0, 0]);
        assert_eq!(after(1_010_000 + 3_600_000, 10), 3_600_000);
    }
}
