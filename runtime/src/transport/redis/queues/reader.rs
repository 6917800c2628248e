//! Takes tasks for one instance, on a connection of its own.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use redis::{Cmd, Pipeline, cmd};
use tokio::{sync::Notify, time::sleep};

use crate::{
    error::QueueError,
    transport::{
        durable::{
            contract::{Ahead, QueueSpec, Reader, Take, Taken, Waited, WakeReader},
            record::Record,
            task::{Entry, Settled, Settlement, Verdict, Why},
        },
        redis::{
            queues::{
                enqueue::follow_up,
                entry::Part,
                failure::Failure,
                homes::{Home, Homes},
                only_new::Sent,
                own::{Answer, Own, Place},
                packed::Packed,
                scripts::{SETTLE, TAKE, TOLD},
                settling::{GROUP, Order, stream, write},
            },
            resp::value::Walk,
        },
    },
};

/// What CLIENT LIST shows.
const NAME: &str = "tidings-reader";
/// The longest time for which a reader blocks that nobody may wake.
const UNWAKEABLE: Duration = Duration::from_secs(1);
/// The longest time for which a reader blocks.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest time for which a reader rests: whatever was to wake it may have woken another one.
const REST: Duration = Duration::from_secs(5);
/// How long after an attempt to wake a reader, which had not blocked yet, the next one is made: at first, and at most.
const WAKE_AGAIN: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// Takes tasks for one instance.
pub(crate) struct RedisReader {
    pub(super) place: Place,
    homes: Arc<Homes>,
    pub(super) queue: QueueSpec,
    pub(super) base: String,
    pub(super) instance: Arc<str>,
    waker: Arc<Waker>,
    /// Of the present connection, where it may be woken.
    client: Option<i64>,
    /// Entries that have woken this reader, to be acknowledged, with spaces between them.
    pub(super) woken_by: String,
    pub(super) way: Way,
    /// Where a take is left while another is under way.
    pub(super) ahead: Arc<Ahead>,
    /// What was left there and is sent.
    pub(super) sent: Option<Sent>,
}

/// How it takes next, as the last take has shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Way {
    /// By the script that looks everywhere.
    #[default]
    Anywhere,
    /// From the only stream where something was, and by the script that settles.
    New,
    /// The same where there was little to settle.
    Quick,
}

#[derive(Default)]
struct Waker {
    woken: Notify,
    /// Whether the server refuses to wake readers; said once.
    is_refused: AtomicBool,
}

impl WakeReader for Waker {
    fn wake(&self) {
        // Kept until somebody waits for it.
        self.woken.notify_one();
    }
}

impl RedisReader {
    pub(super) fn new(homes: Arc<Homes>, queue: QueueSpec, instance: Arc<str>) -> Self {
        let slot = homes.context.slot(&queue.name);
        let place = Place::new(Arc::new(homes.context.at(slot)), NAME);
        let (base, waker) = (queue.name.base(), Arc::default());
        Self {
            place,
            homes,
            queue,
            base,
            instance,
            waker,
            client: None,
            woken_by: String::new(),
            way: Way::default(),
            ahead: Arc::default(),
            sent: None,
        }
    }

    pub(super) async fn connected(&mut self) -> Result<Box<Own>, Failure> {
        let (mut own, is_new) = self.place.take().await?;
        if is_new {
            let (timeout, template) = (self.place.context.settings.command_timeout, self.queue.name.template);
            self.client = client(&mut own, timeout, template, Arc::clone(&self.waker)).await?;
        }
        Ok(own)
    }

    pub(super) async fn ask(&mut self, command: Cmd) -> Result<Answer, Failure> {
        let mut own = self.connected().await?;
        let answer = own.ask(command, self.place.context.settings.command_timeout).await;
        self.place.put_back(own, answer)
    }

    pub(super) async fn try_take(&mut self, mut take: Take) -> Result<Taken, Failure> {
        follow_up(&self.homes, &self.queue.name, &mut take.settlements).await?;
        let takes_new = self.takes_new();
        let way = std::mem::take(&mut self.way);
        if takes_new {
            return self.take_new(take, way).await;
        }
        let mut command = TAKE.on(&self.base);
        let once = if self.queue.at_most_once { "once" } else { "" };
        command.arg(self.instance.as_ref()).arg(once).arg(&self.woken_by);
        let further = take.further.0.min(take.order.len());
        command.arg(take.want).arg(further).arg(take.further.1).arg(take.order.len());
        for &(part, quota) in &take.order {
            command.arg(self.queue.parts[part].as_ref()).arg(quota.min(take.want));
        }
        let order = write(&mut command, &take.settlements);
        let answer = self.ask(command).await?.text()?;
        self.woken_by.clear();
        let taken = self.read(&take, &order, Packed::new(answer)).ok_or(Failure::Unreadable)?;
        let has_only_new = !taken.is_paused && !taken.entries.iter().any(|entry| entry.at.is_back);
        if has_only_new && self.queue.parts.len() == 1 && !self.queue.at_most_once {
            self.way = Way::Quick;
        }
        Ok(taken)
    }

    /// What counted, the server's time, and when the next task is due.
    pub(super) fn read_settled(
        &self,
        order: &Order,
        packed: &mut Packed,
    ) -> Option<(Vec<Settled>, u64, Option<Duration>)> {
        let digits = packed.text()?;
        let settled = self.place.context.settled(self.queue.name.template, order, packed.get(digits))?;
        let now = u64::try_from(packed.number()?).ok()?;
        let next_due = u64::try_from(packed.number()?).ok().map(Duration::from_millis);
        Some((settled, now, next_due))
    }

    fn read(&self, take: &Take, order: &Order, mut packed: Packed) -> Option<Taken> {
        if packed.array()? != 5 {
            return None;
        }
        let (settled, now, next_due) = self.read_settled(order, &mut packed)?;
        let mut entries = Vec::new();
        for _ in 0..packed.array()? / 3 {
            let (part, back) = (usize::try_from(packed.number()?).ok()?, packed.number()?);
            let channel = &self.queue.parts[take.order.get(part)?.0];
            let part = Part { channel, is_back: back == 1 };
            for _ in 0..packed.array()? {
                entries.push(part.packed(&mut packed)?);
            }
        }
        let is_paused = packed.number()? == 1;
        Some(Taken { settled, entries, is_paused, next_due, now })
    }

    async fn try_wait(&mut self, longest: Duration) -> Result<Waited, Failure> {
        let streams = self.queue.parts.iter().flat_map(|channel| [stream(channel, true), stream(channel, false)]);
        let streams: Vec<String> = streams.chain(["wake".to_owned()]).collect();
        // Whether it was paused when an entry was given out: answered right after that.
        let mut state = cmd("MGET");
        state.arg(format!("{}paused", self.base)).arg(format!("{}watched", self.base));
        let Some(answers) = self.blocked(longest, &streams, Some(state)).await? else { return Ok(Waited::default()) };
        let [read, state] = answers.as_slice() else { return Err(Failure::Unreadable) };
        let [is_paused, is_watched] = both(state).ok_or(Failure::Unreadable)?;
        let mut entries = self.read_streams(read).ok_or(Failure::Unreadable)?;
        if is_watched && !is_paused {
            self.tell_of(&entries).await;
        }
        if self.queue.at_most_once && !entries.is_empty() {
            entries = if is_paused { self.given_back(entries).await? } else { self.taken_for_good(entries).await? };
        }
        Ok(Waited { entries, is_paused })
    }

    async fn try_rest(&mut self, longest: Duration) -> Result<(), Failure> {
        let streams = ["wake".to_owned()];
        let Some(answers) = self.blocked(longest.min(REST), &streams, None).await? else { return Ok(()) };
        let read = answers.first().ok_or(Failure::Unreadable)?;
        self.read_streams(read).map(drop).ok_or(Failure::Unreadable)
    }

    /// Blocks on streams, and asks something behind that. Nothing where it was woken before.
    async fn blocked(
        &mut self,
        longest: Duration,
        streams: &[String],
        behind: Option<Cmd>,
    ) -> Result<Option<Vec<Answer>>, Failure> {
        let waker = Arc::clone(&self.waker);
        let mut own = tokio::select! {
            biased;
            () = waker.woken.notified() => return Ok(None),
            own = self.connected() => own?,
        };
        // BLOCK takes no zero, which is for ever.
        let block = longest.min(if self.client.is_some() { LONGEST } else { UNWAKEABLE }).max(Duration::from_millis(1));
        let mut commands = Pipeline::with_capacity(2);
        commands.add_command(self.reading(1, Some(block), streams));
        if let Some(command) = behind {
            commands.add_command(command);
        }
        let context = Arc::clone(&self.place.context);
        let answers = tokio::select! {
            biased;
            reason = context.life.over() => return Err(Failure::Closed(reason.to_owned())),
            answers = own.ask_all(&commands, block + context.settings.command_timeout) => answers,
            never = unblocked(self.homes.of(&self.queue.name), &waker, self.client) => match never {},
        };
        self.place.put_back_all(own, answers).map(Some)
    }

    /// <https://redis.io/docs/latest/commands/xreadgroup/>
    pub(super) fn reading(&self, most: usize, block: Option<Duration>, streams: &[String]) -> Cmd {
        let mut command = cmd("XREADGROUP");
        command.arg("GROUP").arg(GROUP).arg(self.instance.as_ref()).arg("COUNT").arg(most);
        if let Some(block) = block {
            command.arg("BLOCK").arg(u64::try_from(block.as_millis()).unwrap_or(u64::MAX));
        }
        command.arg("STREAMS");
        for stream in streams {
            command.arg(format!("{}{stream}", self.base));
        }
        for _ in streams {
            command.arg(">");
        }
        command
    }

    pub(super) fn read_streams(&mut self, answer: &Answer) -> Option<Vec<Entry>> {
        let (answer, mut walk, mut found) = (answer.bytes(), Walk::new(), Vec::new());
        if walk.null(answer) {
            return Some(found);
        }
        for _ in 0..walk.map(answer)? {
            let name = walk.text(answer)?;
            let name = answer[name].strip_prefix(self.base.as_bytes())?;
            let count = walk.array(answer)?;
            if name == b"wake" {
                for _ in 0..count {
                    self.was_woken_by(&mut walk, answer)?;
                }
                continue;
            }
            let (kind, channel) = name.split_at(name.iter().position(|&byte| byte == b':')? + 1);
            let channel = self.queue.parts.iter().find(|part| part.as_bytes() == channel)?;
            let part = Part { channel, is_back: kind == b"back:" };
            found.reserve(count);
            for _ in 0..count {
                found.push(part.entry(&mut walk, answer)?);
            }
        }
        Some(found)
    }

    fn was_woken_by(&mut self, walk: &mut Walk, answer: &Bytes) -> Option<()> {
        if walk.array(answer)? != 2 {
            return None;
        }
        let id = walk.text(answer)?;
        self.woken_by.push_str(std::str::from_utf8(&answer[id]).ok()?);
        self.woken_by.push(' ');
        for _ in 0..walk.array(answer)? {
            walk.text(answer)?;
        }
        Some(())
    }

    /// Tells watchers that these are taken. What is lost of it is only not told.
    pub(super) async fn tell_of(&mut self, entries: &[Entry]) {
        if entries.is_empty() {
            return;
        }
        let mut command = TOLD.on(&self.base);
        command.arg(self.instance.as_ref());
        for entry in entries {
            command.arg(entry.at.channel.as_ref()).arg(entry.id.as_ref());
        }
        let _ = self.ask(command).await;
    }

    async fn settled(&mut self, settlements: &[Settlement]) -> Result<Vec<Settled>, Failure> {
        let mut command = SETTLE.on(&self.base);
        command.arg("");
        let order = write(&mut command, settlements);
        let answer = self.ask(command).await?.text()?;
        self.place.context.settled(self.queue.name.template, &order, &answer).ok_or(Failure::Unreadable)
    }

    /// Gives back what a blocked read brought of a queue that is paused, where tasks are done when they are taken: these are not.
    async fn given_back(&mut self, entries: Vec<Entry>) -> Result<Vec<Entry>, Failure> {
        let back = |entry: &Entry| {
            let hand_backs = entry.record.hand_backs.saturating_add(1);
            let (owners, enqueued_at) = (entry.token(), entry.enqueued_at());
            let record = Record { owners, hand_backs, enqueued_at, ..entry.record.clone() };
            settlement(entry, Verdict::Again { why: Why::HandedBack, after: None, record })
        };
        let settlements: Vec<_> = entries.iter().map(back).collect();
        self.settled(&settlements).await?;
        Ok(Vec::new())
    }

    /// Acknowledges what a blocked read brought. Not with the read itself: what was acknowledged by it and whose answer is lost would stay in
    /// its stream for ever.
    async fn taken_for_good(&mut self, entries: Vec<Entry>) -> Result<Vec<Entry>, Failure> {
        let done = |entry: &Entry| settlement(entry, Verdict::Done { follow_ups: Vec::new() });
        let settlements: Vec<_> = entries.iter().map(done).collect();
        let settled = self.settled(&settlements).await?;
        let ours = entries.into_iter().zip(settled).filter(|(_, settled)| *settled == Settled::Counted);
        Ok(ours.map(|(entry, _)| entry).collect())
    }
}

fn settlement(entry: &Entry, verdict: Verdict) -> Settlement {
    let Entry { at, id, unique, .. } = entry;
    Settlement { at: at.clone(), id: Arc::clone(id), unique: unique.clone(), once: None, verdict, beside: None }
}

/// The connection's id, where the access rules allow to wake it by that.
///
/// <https://redis.io/docs/latest/commands/client-unblock/>
async fn client(
    own: &mut Own,
    timeout: Duration,
    queue: &'static str,
    waker: Arc<Waker>,
) -> Result<Option<i64>, Failure> {
    let mut questions = redis::pipe();
    questions.cmd("CLIENT").arg("ID").cmd("CLIENT").arg("UNBLOCK").arg(0).arg("TIMEOUT");
    let answers = own.ask_all(&questions, timeout).await?;
    let [id, unblocked] = answers.as_slice() else { return Err(Failure::Unreadable) };
    if let Some(error) = id.error().or_else(|| unblocked.error()) {
        if let Some(failure) = Failure::of(&error)
            && !waker.is_refused.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(queue, %failure, "readers cannot be woken, so they look every second");
        }
        return Ok(None);
    }
    id.number().map(Some)
}

/// Whether there is something at each of two keys, in the answer of MGET.
fn both(answer: &Answer) -> Option<[bool; 2]> {
    let (answer, mut walk) = (answer.bytes(), Walk::new());
    let is_there = |walk: &mut Walk| if walk.null(answer) { Some(false) } else { walk.text(answer).map(|_| true) };
    (walk.array(answer)? == 2).then_some(())?;
    Some([is_there(&mut walk)?, is_there(&mut walk)?])
}

/// Ends the wait of a connection once its reader is woken. As long as that is not over, it had not begun yet, and is ended again.
async fn unblocked(home: Home<'_>, waker: &Waker, client: Option<i64>) -> Infallible {
    waker.woken.notified().await;
    let Some(client) = client else { return std::future::pending().await };
    let mut pause = WAKE_AGAIN.0;
    loop {
        let mut command = cmd("CLIENT");
        command.arg("UNBLOCK").arg(client).arg("TIMEOUT");
        // Without an answer it is asked again, and the wait has an end of its own.
        let _ = home.ask(command).await;
        sleep(pause).await;
        pause = (2 * pause).min(WAKE_AGAIN.1);
    }
}

impl Reader for RedisReader {
    async fn take(&mut self, take: Take) -> Result<Taken, QueueError> {
        self.gives_up_ahead();
        let taken = self.try_take(take).await;
        self.ended(taken)
    }

    fn ahead(&self) -> Option<Arc<Ahead>> {
        self.takes_new().then(|| Arc::clone(&self.ahead))
    }

    async fn next(&mut self) -> Result<Taken, QueueError> {
        let taken = self.try_next().await;
        self.ended(taken)
    }

    async fn wait(&mut self, longest: Duration) -> Result<Waited, QueueError> {
        let waited = self.try_wait(longest).await;
        waited.map_err(|failure| failure.for_queue(self.queue.name.template, &self.place.context.settings))
    }

    async fn rest(&mut self, longest: Duration) -> Result<(), QueueError> {
        let rested = self.try_rest(longest).await;
        rested.map_err(|failure| failure.for_queue(self.queue.name.template, &self.place.context.settings))
    }

    fn waker(&self) -> Arc<dyn WakeReader> {
        Arc::clone(&self.waker) as Arc<dyn WakeReader>
    }

    fn connections(&self) -> u64 {
        self.place.connections()
    }
}

impl std::fmt::Debug for RedisReader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RedisReader").field("queue", &self.queue.name.template).finish_non_exhaustive()
    }
}
