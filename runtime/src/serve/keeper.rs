//! What keeps the leases of a service: a thread of its own, with a connection of its own.
//!
//! It gives heartbeats and renews leases, looks for tasks whose owner is gone, and compares what the server says that the instance has with what its
//! worker holds. A handler that blocks its thread, or all threads of its runtime, does not keep it from that. When what is done is decided by
//! [`Rounds`], and what becomes of a task by [`Policy`].

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime,
    sync::{Notify, oneshot, watch},
    time::{sleep, sleep_until, timeout},
};

use crate::{
    bus::handle::Bus,
    error::QueueError,
    serve::{
        ends::{Ends, Said},
        holdings::{Holdings, Renewal},
        policy::{
            rounds::Rounds,
            verdict::{Moment, Policy},
        },
        work::chance::Chance,
    },
    time::{LONGEST, now},
    transport::{
        durable::{
            any::AnyKeeper,
            contract::{Heartbeat, Overdue, QueueSpec},
            look::PartCounts,
            task::{Entry, Settled, Settlement, Verdict},
        },
        events::BusEvent,
    },
};

/// One queue, as it is kept.
pub(super) struct Kept {
    pub(super) queue: QueueSpec,
    /// What the instance says of itself, in JSON.
    pub(super) about: String,
    pub(super) policy: Policy,
    pub(super) ends: Ends,
    pub(super) holdings: Arc<Holdings>,
    /// How many dead letters had left the queue by their bounds before.
    pub(super) trimmed: u64,
    /// The name of its handler.
    pub(super) handler: &'static str,
    /// The wire name and version that its handler knows.
    pub(super) knows: (&'static str, u32),
}

/// The thread that keeps the leases of a service. It ends when this is dropped.
pub(super) struct Keeper {
    stop: watch::Sender<Stop>,
    ended: oneshot::Receiver<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    No,
    /// The instance is going: its heartbeats end.
    Leave,
}

/// So many tasks of others are looked at together.
const LOOKED_AT: usize = 100;
/// So often what is superfluous is removed.
const TIDY: Duration = Duration::from_secs(60);
/// What the instance has settled is with the server after so long, mostly.
const IN_LINE: Duration = Duration::from_secs(1);
/// So long a server that is there takes at most to answer, mostly.
const ANSWERED: Duration = Duration::from_millis(250);
/// So often a queue is measured, where somebody records metrics.
const MEASURE: Duration = Duration::from_secs(15);
/// A connection that the server has not found dead yet may be given tasks for so long after another one has taken its place: until its wait ends.
const LATE: Duration = Duration::from_secs(6);
/// So long an instance takes at most to say that it goes.
const FAREWELL: Duration = Duration::from_secs(1);

impl Keeper {
    /// Starts it. Of each [`Holdings`] it is told by `wakes`.
    pub(super) fn start(bus: Bus, kept: Vec<Kept>, instance: Arc<str>, wakes: Arc<Notify>) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(Stop::No);
        let (ends, ended) = oneshot::channel();
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let run = move || {
            let keeper = bus.durable().keeper();
            let is_measured = bus.observer().is_measured();
            let queues = kept.into_iter().map(|kept| Watched::new(kept, is_measured, now())).collect();
            let round = Round { bus, keeper, queues, instance, wakes, chance: Chance::new() };
            runtime.block_on(round.run(stopped));
            // Whoever waits for it is told by this being dropped.
            drop(ends);
        };
        thread::Builder::new().name("tidings-keeper".to_owned()).spawn(run)?;
        Ok(Self { stop, ended })
    }

    /// Says that the instance goes, and ends it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends it at once.
    pub(super) async fn leave(self) {
        self.stop.send_replace(Stop::Leave);
        let _ = timeout(FAREWELL, self.ended).await;
    }
}

struct Round {
    bus: Bus,
    keeper: AnyKeeper,
    queues: Vec<Watched>,
    instance: Arc<str>,
    wakes: Arc<Notify>,
    chance: Chance,
}

/// A queue, and how far its rounds are.
struct Watched {
    kept: Kept,
    rounds: Rounds,
    /// Whether it could not be reached when it was tried last.
    is_away: bool,
    tidy: Instant,
    /// Where somebody records metrics.
    measure: Option<Instant>,
    /// When the server is asked what the instance has.
    finds: Vec<Instant>,
    /// What the server says that the instance has, and the calls of its reader that may yet bring it.
    found: Option<(Vec<Entry>, u64)>,
    /// How many dead letters had left by their bounds when it was asked last.
    trimmed: u64,
    /// When it is asked again.
    counts_dead: Option<Instant>,
}

impl Watched {
    fn new(kept: Kept, is_measured: bool, now: Instant) -> Self {
        let (rounds, trimmed) = (Rounds::new(kept.queue.lease, now), kept.trimmed);
        Self {
            kept,
            rounds,
            is_away: false,
            tidy: now + TIDY,
            measure: is_measured.then_some(now),
            finds: Vec::new(),
            found: None,
            trimmed,
            counts_dead: None,
        }
    }

    /// When there is something to do.
    fn next(&self) -> Instant {
        let ends = self.kept.holdings.next_end();
        // What the reader has yet to bring is waited for by looking again.
        let find = match self.found {
            Some(_) => Some(now() + Duration::from_millis(100)),
            None => self.finds.first().copied(),
        };
        let others = [ends, find, self.measure, self.counts_dead].into_iter().flatten();
        others.fold(self.rounds.next().min(self.tidy), Instant::min)
    }
}

impl Round {
    async fn run(mut self, mut stopped: watch::Receiver<Stop>) {
        let holdings: Vec<_> = self.queues.iter().map(|watched| Arc::clone(&watched.kept.holdings)).collect();
        loop {
            let next = self.queues.iter().map(Watched::next).min();
            let next = next.unwrap_or_else(|| now() + LONGEST);
            tokio::select! {
                biased;
                leaves = told(&mut stopped) => return self.end(leaves).await,
                () = sleep_until(next.into()) => {}
                () = self.wakes.notified() => {}
            }
            // Whatever hangs must not keep the thread from ending, nor handlers from being told that their leases are over.
            tokio::select! {
                biased;
                leaves = told(&mut stopped) => return self.end(leaves).await,
                closed = self.round() => if closed {
                    return;
                },
                () = expiring(&holdings) => {}
            }
        }
    }

    /// Does what is due for each queue; `true` when the bus is closed.
    async fn round(&mut self) -> bool {
        for index in 0..self.queues.len() {
            match self.keep(index).await {
                Err(QueueError::Closed { .. }) => return true,
                Err(error) => {
                    let watched = &self.queues[index];
                    // The worker tells of it in the log.
                    tracing::debug!(queue = watched.kept.queue.name.template, %error, "leases are not kept now");
                }
                Ok(()) => {}
            }
        }
        false
    }

    async fn keep(&mut self, index: usize) -> Result<(), QueueError> {
        let renewed = self.renew(index).await;
        self.queues[index].kept.holdings.expire(now());
        renewed?;
        self.find(index).await?;
        self.reclaim(index).await?;
        self.measure(index).await?;
        self.tidy(index).await?;
        self.count_dead(index).await
    }

    /// Tells whoever records metrics how the queue is.
    async fn measure(&mut self, index: usize) -> Result<(), QueueError> {
        let watched = &mut self.queues[index];
        if watched.measure.is_none_or(|measure| now() < measure) {
            return Ok(());
        }
        watched.measure = Some(now() + MEASURE);
        let queue = &watched.kept.queue;
        let counts = self.bus.durable().counts(queue).await?;
        let sum = |of: fn(&PartCounts) -> u64| counts.parts.values().map(of).sum();
        let states = [
            ("waiting", sum(|part| part.waiting)),
            ("delayed", sum(|part| part.delayed)),
            ("running", sum(|part| part.running)),
            ("parked", counts.parked),
            ("dead", counts.dead),
        ];
        self.bus.observer().queue(queue.name.template, &states, counts.oldest);
        Ok(())
    }

    /// A heartbeat, and the leases of what the instance has.
    async fn renew(&mut self, index: usize) -> Result<(), QueueError> {
        let Self { keeper, queues, instance, .. } = self;
        let watched = &mut queues[index];
        let asked = now();
        if !watched.rounds.is_time_to_renew(asked) {
            return Ok(());
        }
        let Kept { queue, about, holdings, .. } = &watched.kept;
        let renewals = holdings.to_renew(asked);
        let held: Vec<_> = renewals.iter().map(|Renewal { at, .. }| at.clone()).collect();
        let kept = keeper.keep(&queue.name, instance, about, &held).await;
        let answered = now();
        match kept {
            Ok(Heartbeat { lost, is_anew }) => {
                holdings.renewed(&renewals, asked, lost);
                if std::mem::take(&mut watched.is_away) || is_anew {
                    watched.rounds.connected(answered);
                }
                watched.rounds.renewed(asked, answered);
                Ok(())
            }
            Err(error) => {
                watched.is_away = true;
                watched.rounds.not_renewed(answered);
                Err(error)
            }
        }
    }

    /// What the server says that the instance has and nobody here knows of: the answer that brought it was lost, or its lease could not be renewed in
    /// time. It is given back.
    async fn find(&mut self, index: usize) -> Result<(), QueueError> {
        let Self { bus, keeper, queues, instance, .. } = self;
        let Watched { kept: Kept { queue, holdings, policy, .. }, finds, found, .. } = &mut queues[index];
        let time = now();
        if holdings.takes_may_miss() {
            // Once more when the connection before this one cannot be given anything any more.
            *finds = vec![time, time + LATE];
        }
        if found.is_none() && finds.first().is_some_and(|&find| find <= time) {
            // Where it cannot be asked, before long again.
            finds[0] = time + Duration::from_secs(1);
            let pending = keeper.pending(queue, instance).await?;
            let (given_up, others) = holdings.given_up(pending);
            *found = Some((others, holdings.calls_begun()));
            finds.remove(0);
            if !given_up.is_empty() {
                let (queue, count) = (&queue.name, given_up.len());
                tracing::warn!(
                    queue = queue.template,
                    count,
                    "the leases of tasks could not be renewed in time; they are given back"
                );
                // At once: for whoever finds them overdue they are failures.
                bus.durable().settle(queue, given_up.iter().map(|entry| policy.found(entry)).collect()).await?;
            }
        }
        let Some((pending, _)) = found.take_if(|(_, calls)| holdings.have_ended(*calls)) else { return Ok(()) };
        let unknown = holdings.unknown(pending);
        if !unknown.is_empty() {
            tracing::warn!(
                queue = queue.name.template,
                count = unknown.len(),
                "tasks were on their way to an instance when its connection was lost; they are given back"
            );
            let settlements = unknown.iter().map(|entry| policy.found(entry)).collect();
            bus.durable().settle(&queue.name, settlements).await?;
        }
        Ok(())
    }

    /// Looks for tasks whose lease is over, and takes them from their owners.
    async fn reclaim(&mut self, index: usize) -> Result<(), QueueError> {
        let Self { bus, keeper, queues, chance, .. } = self;
        let Watched { kept: Kept { queue, policy, ends, handler, holdings, .. }, rounds, .. } = &mut queues[index];
        if !rounds.is_time_to_look(now()) {
            return Ok(());
        }
        let asked = now();
        let overdue = match keeper.overdue(queue, rounds.patience(asked), LOOKED_AT).await {
            Ok(overdue) => overdue,
            Err(error) => {
                rounds.not_looked(now());
                return Err(error);
            }
        };
        if rounds.stood_still(asked, now()) {
            return Ok(());
        }
        let Overdue { entries, next, now: server_now } = overdue;
        let is_all = entries.len() < LOOKED_AT;
        rounds.looked(now(), if is_all { next } else { Some(Duration::ZERO) });
        if entries.is_empty() {
            return Ok(());
        }
        let template = queue.name.template;
        let decide = |overdue| {
            let mut settlement = policy.reclaim(overdue, Moment { now: server_now, random: chance.next() });
            let (beside, failure) = ends.beside(&overdue.entry, &settlement.verdict, Said::default());
            settlement.beside = beside;
            if let Some(reason) = failure {
                tracing::warn!(queue = template, handler, reason, "the end of a task could not be announced");
            }
            settlement
        };
        let settlements: Vec<Settlement> = entries.iter().map(decide).collect();
        let dead = settlements.iter().filter(|settlement| matches!(settlement.verdict, Verdict::Dead { .. }));
        let dead: Vec<(String, String)> = dead.filter_map(given_up).collect();
        let settled = keeper.reclaim(queue, settlements).await?;
        let counted = settled.iter().filter(|settled| **settled == Settled::Counted).count();
        let owners: Vec<&str> = entries.iter().map(|overdue| overdue.owner.as_str()).collect();
        tracing::warn!(
            queue = template,
            count = counted,
            dead = dead.len(),
            owner = owners.first(),
            "tasks were taken back from instances whose leases are over"
        );
        if let Some((channel, reason)) = dead.last().cloned() {
            holdings.buried();
            let count = dead.len() as u64;
            bus.tell(BusEvent::DeadLetter { handler, queue: template, channel, reason, count });
        }
        Ok(())
    }

    /// Removes what is superfluous, and has those tasks wait again that were parked and are known here.
    async fn tidy(&mut self, index: usize) -> Result<(), QueueError> {
        let Self { bus, keeper, queues, chance, .. } = self;
        let watched = &mut queues[index];
        if now() < watched.tidy {
            return Ok(());
        }
        watched.tidy = now() + TIDY + chance.pause(TIDY / 10, TIDY / 10, 0);
        let Kept { queue, knows: (name, version), .. } = &watched.kept;
        keeper.tidy(queue, None).await?;
        let unparked = bus.durable().unpark(&queue.name, name, *version).await?;
        if unparked > 0 {
            tracing::info!(queue = queue.name.template, count = unparked, "tasks that were parked wait again");
        }
        watched.counts_dead = Some(now());
        Ok(())
    }

    /// Tells of dead letters that have left, a moment after the instance has added some, and after it has removed old ones.
    async fn count_dead(&mut self, index: usize) -> Result<(), QueueError> {
        let Self { bus, queues, .. } = self;
        let Watched { kept: Kept { queue, holdings, .. }, counts_dead, trimmed, .. } = &mut queues[index];
        if holdings.takes_buried() {
            counts_dead.get_or_insert(now() + IN_LINE);
        }
        if counts_dead.take_if(|time| *time <= now()).is_none() {
            return Ok(());
        }
        let all = bus.durable().counts(queue).await?.ended.dead_trimmed;
        let count = all.saturating_sub(std::mem::replace(trimmed, all));
        if count > 0 {
            let queue = queue.name.template;
            tracing::warn!(queue, count, "dead letters left by the bounds of their number, age and bytes");
            bus.tell(BusEvent::DeadLettersTrimmed { queue, count });
        }
        Ok(())
    }

    /// The service has ended: its heartbeats do, at once where it leaves in order.
    async fn end(&mut self, leaves: bool) {
        if !leaves {
            return;
        }
        let Self { keeper, queues, instance, .. } = self;
        for Watched { kept, .. } in queues {
            if let Err(error) = keeper.tidy(&kept.queue, Some(instance)).await {
                tracing::debug!(%error, "an instance could not say that it goes; others find out");
            }
        }
    }
}

/// Has what is not renewed in time lost soon, and does not complete.
async fn expiring(holdings: &[Arc<Holdings>]) {
    loop {
        let next = holdings.iter().filter_map(|holdings| holdings.next_end()).min();
        // What is taken meanwhile ends later.
        sleep_until(next.unwrap_or_else(|| now() + IN_LINE).into()).await;
        // This process may have stood still, and then the server may well have it renewed still.
        sleep(ANSWERED).await;
        holdings.iter().for_each(|holdings| holdings.expire(now()));
    }
}

/// Completes when the service has ended: `true` where it did so in order, and `false` where it was dropped.
async fn told(stopped: &mut watch::Receiver<Stop>) -> bool {
    stopped.wait_for(|stop| *stop == Stop::Leave).await.is_ok()
}

/// The channel and the error of what goes to the dead letters.
fn given_up(settlement: &Settlement) -> Option<(String, String)> {
    let Verdict::Dead { record, .. } = &settlement.verdict else { return None };
    Some((settlement.at.channel.to_string(), record.error.clone().unwrap_or_default()))
}
