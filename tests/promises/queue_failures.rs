//! What becomes of a task whose handler fails is said in one place, and nothing of it is lost.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tidings::{Bus, BusEvent, DeadReason, Delivery, Enqueue, Message, Outcome, Service, State, router, routes};
use tidings_tests::{Recorder, eventually, on_each};

use crate::support::{Gate, SOON, handler};

/// What its handler is to do with it.
#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("tasks:tries", lease = "1s")]
struct Try {
    what: What,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum What {
    /// Fail so often, and then succeed.
    FailTimes(u32),
    Snooze,
    Refuse,
    Discard,
    Panic,
    Hang,
}

#[derive(Debug, Outcome, thiserror::Error)]
enum TryError {
    #[outcome(retry)]
    #[error("the disk is full")]
    DiskFull,
    #[outcome(retry_after = after)]
    #[error("asked to wait")]
    Busy { after: Duration },
    #[outcome(dead_letter)]
    #[error("there is no such image")]
    NoImage,
    #[outcome(discard)]
    #[error("too old")]
    TooOld,
}

/// How often a task had come back, when its handler ran: attempt, failures and snoozes.
type Seen = (u32, u32, u32);

struct Tries {
    seen: Recorder<Seen>,
    done: Recorder<String>,
}

#[router]
impl Tries {
    #[handler(idempotent, retries = 2, backoff = "1ms..2ms", timeout = "100ms")]
    async fn attempt(&self, task: Try, delivery: &Delivery) -> Result<(), TryError> {
        self.seen.record((delivery.attempt(), delivery.failures(), delivery.snoozes()));
        match task.what {
            What::FailTimes(times) if delivery.failures() < times => return Err(TryError::DiskFull),
            What::Snooze if delivery.snoozes() < 5 => {
                return Err(TryError::Busy { after: Duration::from_millis(1) });
            }
            What::Refuse => return Err(TryError::NoImage),
            What::Discard => return Err(TryError::TooOld),
            What::Panic => panic!("as it should"),
            What::Hang => std::future::pending().await,
            What::FailTimes(_) | What::Snooze => {}
        }
        self.done.record(delivery.id().unwrap_or_default().to_owned());
        Ok(())
    }
}

async fn served(bus: &Bus) -> (Service, Recorder<Seen>, Recorder<String>) {
    let (seen, done) = (Recorder::new(), Recorder::new());
    let service = bus.serve(Tries { seen: seen.clone(), done: done.clone() }).await.unwrap();
    (service, seen, done)
}

async fn enqueue(bus: &Bus, what: What) -> String {
    Try { what }.enqueue(bus).await.unwrap().id
}

/// Mail that says when it is sent again.
#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("tasks:orders")]
struct Order {
    id: u64,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("tasks:invoices")]
struct Invoice {
    order: u64,
}

/// Sends one invoice for each order, at its second attempt.
struct Shop {
    fails: AtomicU64,
    invoices: Recorder<u64>,
}

#[router]
impl Shop {
    #[handler(idempotent, backoff = "1ms..2ms", timeout = "10s")]
    async fn order(&self, order: Order) -> Result<Enqueue<Invoice>, &'static str> {
        if self.fails.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err("not yet");
        }
        Ok(Enqueue::new(Invoice { order: order.id }))
    }

    #[handler(idempotent, timeout = "10s")]
    async fn invoice(&self, invoice: Invoice) {
        self.invoices.record(invoice.order);
    }
}

on_each! {
    async fn a_task_that_fails_is_tried_again_until_it_succeeds(world: World) {
        let bus = world.bus().await;
        let (service, seen, done) = served(&bus).await;
        let id = enqueue(&bus, What::FailTimes(2)).await;
        done.wait_for(1).await;
        assert_eq!(done.all(), [id]);
        assert_eq!(seen.all(), [(1, 0, 0), (2, 1, 0), (3, 2, 0)]);
        eventually(SOON, async || {
            let counts = bus.queue::<Try>().counts().await.unwrap();
            (counts.ended.completed, counts.ended.failed_attempts, counts.dead) == (1, 2, 0)
        })
        .await;
        let stats = handler(&service, "attempt");
        assert_eq!((stats.handled, stats.failed), (1, 2));
        service.shutdown().await.unwrap();
    }

    async fn one_that_keeps_failing_is_a_dead_letter_and_can_be_replayed(world: World) {
        let bus = world.bus().await;
        let mut events = bus.events();
        let (service, seen, done) = served(&bus).await;
        let id = enqueue(&bus, What::FailTimes(3)).await;
        let queue = bus.queue::<Try>();
        eventually(SOON, async || queue.counts().await.unwrap().dead == 1).await;
        assert_eq!(seen.len(), 3);
        let letters = queue.dead_letters().await.unwrap();
        let letter = &letters[0];
        assert_eq!((letter.id.as_str(), letter.reason, letter.failures), (id.as_str(), DeadReason::Failed, 3));
        assert_eq!(letter.error.as_deref(), Some("the disk is full"));
        assert!(matches!(letter.task().unwrap().what, What::FailTimes(3)));
        assert_eq!(letter.channel, "tasks:tries");
        // Its first heartbeat may come a moment later.
        eventually(SOON, async || !queue.workers().await.unwrap().is_empty()).await;
        assert!(letter.instance == queue.workers().await.unwrap()[0].instance);
        assert!(queue.dead_letters().reason(DeadReason::Refused).await.unwrap().is_empty());
        loop {
            if let Some(BusEvent::DeadLetter { queue, reason, count, .. }) = events.next().await {
                assert_eq!((queue, reason.as_str(), count), ("tasks:tries", "the disk is full", 1));
                break;
            }
        }
        // Its attempts begin anew, and it fails three times more.
        assert_eq!(queue.replay(&letters).await.unwrap(), 1);
        eventually(SOON, async || seen.len() == 6 && queue.counts().await.unwrap().dead == 1).await;
        assert_eq!(seen.all()[3], (1, 0, 0));
        // One letter is taken as many are.
        let letters = queue.dead_letters().await.unwrap();
        assert_eq!(queue.replay(&letters[0]).await.unwrap(), 1);
        eventually(SOON, async || seen.len() == 9 && queue.counts().await.unwrap().dead == 1).await;
        assert_eq!(queue.delete_all().await.unwrap(), 1);
        assert_eq!((queue.counts().await.unwrap().dead, queue.replay_all().await.unwrap()), (0, 0));
        assert!(done.is_empty());
        service.shutdown().await.unwrap();
    }

    async fn an_error_says_what_is_to_become_of_its_task(world: World) {
        let bus = world.bus().await;
        let (service, seen, done) = served(&bus).await;
        let queue = bus.queue::<Try>();
        // Asking for a later time costs none of the retries.
        let snoozed = enqueue(&bus, What::Snooze).await;
        done.wait_for(1).await;
        assert_eq!(done.all(), [snoozed]);
        assert_eq!(seen.all(), (0..6).map(|snoozes| (1, 0, snoozes)).collect::<Vec<_>>());
        enqueue(&bus, What::Refuse).await;
        eventually(SOON, async || queue.counts().await.unwrap().dead == 1).await;
        assert_eq!(queue.dead_letters().await.unwrap()[0].reason, DeadReason::Refused);
        assert_eq!(seen.len(), 7);
        enqueue(&bus, What::Discard).await;
        eventually(SOON, async || queue.counts().await.unwrap().ended.discarded == 1).await;
        assert_eq!((seen.len(), queue.counts().await.unwrap().dead), (8, 1));
        service.shutdown().await.unwrap();
    }

    async fn a_panic_and_a_timeout_are_failures(world: World) {
        let bus = world.bus().await;
        let (service, seen, _) = served(&bus).await;
        let queue = bus.queue::<Try>();
        enqueue(&bus, What::Panic).await;
        enqueue(&bus, What::Hang).await;
        eventually(SOON, async || queue.counts().await.unwrap().dead == 2).await;
        assert_eq!(seen.len(), 6);
        let mut errors: Vec<_> =
            queue.dead_letters().await.unwrap().into_iter().map(|letter| letter.error.unwrap()).collect();
        errors.sort_unstable();
        assert_eq!(errors, ["the handler panicked", "the handler took longer than 100ms"]);
        let stats = handler(&service, "attempt");
        assert_eq!((stats.panicked, stats.timed_out), (3, 3));
        service.shutdown().await.unwrap();
    }

    async fn what_is_no_message_of_a_known_version_is_a_dead_letter_at_once(world: World) {
        let bus = world.bus().await;
        let (service, seen, _) = served(&bus).await;
        let queue = bus.queue::<Try>();
        // The same queue with another notion of what its tasks are.
        Other { what: 7 }.enqueue(&bus).await.unwrap();
        eventually(SOON, async || queue.counts().await.unwrap().dead == 1).await;
        let letters = queue.dead_letters().await.unwrap();
        assert_eq!((letters[0].reason, letters[0].failures), (DeadReason::Undecodable, 0));
        assert!(letters[0].task().is_err());
        assert!(seen.is_empty());
        service.shutdown().await.unwrap();
    }

    async fn what_a_handler_enqueues_is_there_once_its_task_is_done(world: World) {
        let bus = world.bus().await;
        let invoices = Recorder::new();
        let shop = Shop { fails: AtomicU64::new(0), invoices: invoices.clone() };
        let service = bus.serve(shop).await.unwrap();
        for id in 1..=3 {
            Order { id }.enqueue(&bus).await.unwrap();
        }
        invoices.wait_for(3).await;
        eventually(SOON, async || bus.queue::<Invoice>().counts().await.unwrap().ended.completed == 3).await;
        let mut sent = invoices.all();
        sent.sort_unstable();
        assert_eq!(sent, [1, 2, 3]);
        assert_eq!(bus.queue::<Order>().counts().await.unwrap().ended.completed, 3);
        service.shutdown().await.unwrap();
    }
}

/// A task of the queue of [`Try`] that none of its handlers can read.
#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("tasks:tries", lease = "1s")]
#[message(name = "Try")]
struct Other {
    what: u64,
}

/// Handlers that run once.
struct Once {
    gate: Gate,
    begun: Recorder<u64>,
    fails: Arc<AtomicU64>,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("tasks:payments", lease = "1s")]
struct Payment {
    order: u64,
}

#[router]
impl Once {
    #[handler(once = order, window = "1h", retries = 1, backoff = "1ms..2ms", timeout = "10s")]
    async fn pay(&self, payment: Payment) -> Result<(), &'static str> {
        self.begun.record(payment.order);
        if payment.order == 9 && self.fails.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err("declined");
        }
        self.gate.pass().await;
        Ok(())
    }
}

fn once(gate: &Gate) -> (Once, Recorder<u64>) {
    let begun = Recorder::new();
    (Once { gate: gate.clone(), begun: begun.clone(), fails: Arc::default() }, begun)
}

on_each! {
    async fn a_handler_that_runs_once_does_not_run_again_for_what_is_done(world: World) {
        let bus = world.bus().await;
        let gate = Gate::closed();
        gate.open();
        let (router, begun) = once(&gate);
        let service = bus.serve(router).await.unwrap();
        let queue = bus.queue::<Payment>();
        for completed in 1..=3 {
            Payment { order: 7 }.enqueue(&bus).await.unwrap();
            eventually(SOON, async || queue.counts().await.unwrap().ended.completed == completed).await;
        }
        assert_eq!(begun.all(), [7]);
        // An error that the handler has returned frees the key.
        Payment { order: 9 }.enqueue(&bus).await.unwrap();
        eventually(SOON, async || queue.counts().await.unwrap().ended.completed == 4).await;
        assert_eq!(begun.all(), [7, 9, 9]);
        service.shutdown().await.unwrap();
    }

    async fn one_that_had_begun_when_its_instance_died_is_a_dead_letter(world: World) {
        let (one, other) = (world.bus().await, world.bus().await);
        let (closed, open) = (Gate::closed(), Gate::closed());
        open.open();
        let (first, begun) = once(&closed);
        let service = one.serve(first).await.unwrap();
        Payment { order: 7 }.enqueue(&one).await.unwrap();
        begun.wait_for(1).await;
        drop(service);
        let (second, begun) = once(&open);
        let elsewhere = other.serve(second).await.unwrap();
        let queue = other.queue::<Payment>();
        eventually(SOON, async || queue.counts().await.unwrap().dead == 1).await;
        let letters = queue.dead_letters().await.unwrap();
        assert_eq!((letters[0].reason, letters[0].crashes), (DeadReason::Unfinished, 1));
        assert!(begun.is_empty());
        elsewhere.shutdown().await.unwrap();
    }
}

/// A task as whoever enqueues it writes it, and as its handler may read it.
#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("tasks:postcards")]
struct Postcard {
    subject: String,
    recipient: String,
}

/// The same task, read without a copy.
#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("tasks:postcards")]
#[message(name = "Postcard")]
struct PostcardView<'a> {
    subject: &'a str,
    #[serde(borrow)]
    recipient: Cow<'a, str>,
}

/// Where postcards are written, one after the other.
#[derive(Clone)]
struct Desk {
    gate: Gate,
    begun: Recorder<String>,
}

impl Desk {
    async fn write(&self, what: &str) {
        self.begun.record(what.to_owned());
        self.gate.pass().await;
    }
}

#[tidings::handler(once = subject, window = "1h", timeout = "10s")]
async fn by_text(postcard: PostcardView<'_>, State(desk): State<Desk>) {
    desk.write(postcard.subject).await;
}

#[tidings::handler(once = recipient, window = "1h", timeout = "10s")]
async fn by_cow(postcard: PostcardView<'_>, State(desk): State<Desk>) {
    desk.write(&postcard.recipient).await;
}

#[tidings::handler(once = subject, window = "1h", timeout = "10s")]
async fn by_owned_text(postcard: Postcard, State(desk): State<Desk>) {
    desk.write(&postcard.subject).await;
}

/// Enqueues a task twice: while one is worked on the other one waits for its end, and then does not run.
async fn runs_once(bus: &Bus, service: &Service, name: &str, desk: &Desk, (subject, recipient): (&str, &str)) {
    let (begun, ended) = (desk.begun.len() + 1, bus.queue::<Postcard>().counts().await.unwrap().ended.completed + 2);
    let left = handler(service, name).left_to_others;
    for _ in 0..2 {
        Postcard { subject: subject.to_owned(), recipient: recipient.to_owned() }.enqueue(bus).await.unwrap();
    }
    eventually(SOON, async || handler(service, name).left_to_others > left).await;
    assert_eq!(desk.begun.len(), begun);
    desk.gate.admit(1);
    eventually(SOON, async || bus.queue::<Postcard>().counts().await.unwrap().ended.completed == ended).await;
    assert_eq!(desk.begun.len(), begun);
}

on_each! {
    async fn a_handler_that_runs_once_may_borrow_its_key(world: World) {
        let bus = world.bus().await;
        let desk = Desk { gate: Gate::closed(), begun: Recorder::new() };
        let service = bus.serve(routes![by_text].with_state(desk.clone())).await.unwrap();
        runs_once(&bus, &service, "by_text", &desk, ("7:a%", "")).await;
        service.shutdown().await.unwrap();
        let service = bus.serve(routes![by_cow].with_state(desk.clone())).await.unwrap();
        runs_once(&bus, &service, "by_cow", &desk, ("", "Ada")).await;
        // What JSON escapes is not borrowed.
        runs_once(&bus, &service, "by_cow", &desk, ("", "\"Ada\"\n")).await;
        service.shutdown().await.unwrap();
        // They are the keys of those who do not borrow.
        let service = bus.serve(routes![by_owned_text].with_state(desk.clone())).await.unwrap();
        for subject in ["7:a%", "Ada", "\"Ada\"\n"] {
            Postcard { subject: subject.to_owned(), recipient: String::new() }.enqueue(&bus).await.unwrap();
        }
        eventually(SOON, async || bus.queue::<Postcard>().counts().await.unwrap().ended.completed == 9).await;
        assert_eq!(desk.begun.all(), ["7:a%", "Ada", "\"Ada\"\n"]);
        service.shutdown().await.unwrap();
    }
}
