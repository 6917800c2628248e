use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tidings::{ChannelParam, Delivery, Enqueue, Lease, Message, Publish, router};
use tokio::{task::yield_now, time::sleep};

use super::*;

#[derive(Message, Serialize, Deserialize)]
#[queue("charges")]
struct Charge {
    order: u64,
    cents: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("mails")]
struct SendMail {
    order: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("charged:<order>")]
struct Charged {
    order: u64,
}

fn charge() -> Charge {
    Charge { order: 7, cents: 100 }
}

/// What is there when an instance has died.
#[derive(Debug, Default)]
struct Ledger {
    cents: Mutex<BTreeMap<u64, u64>>,
    done: Mutex<BTreeSet<u64>>,
}

impl Ledger {
    fn cents(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.cents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, charge: &Charge) {
        *self.cents().entry(charge.order).or_default() += charge.cents;
    }

    fn done(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn balance(&self) -> BTreeMap<u64, u64> {
        self.cents().clone()
    }
}

macro_rules! routers {
    ($($name:ident { $($handlers:tt)* })*) => {$(
        #[derive(Default)]
        struct $name(Ledger);

        #[router]
        impl $name { $($handlers)* }
    )*};
}

/// Whatever the router is, it is observed by what is charged.
macro_rules! redelivered {
    ($router:ident) => {
        redelivered!($router, charge())
    };
    ($router:ident, $task:expr) => {
        redelivery(async |_| $router::default(), $task, async |router: &$router, _| router.0.balance()).await
    };
}

routers! {
    Idempotent {
        #[handler(idempotent, timeout = "1m")]
        async fn charge(&self, charge: Charge) {
            yield_now().await;
            self.0.cents().insert(charge.order, charge.cents);
            sleep(Duration::from_micros(10)).await;
        }
    }
    Doubles {
        #[handler(idempotent, timeout = "1m")]
        async fn charge(&self, charge: Charge) {
            yield_now().await;
            self.0.add(&charge);
        }
    }
    DoublesEarly {
        #[handler(idempotent, timeout = "1m")]
        async fn charge(&self, charge: Charge) {
            self.0.add(&charge);
            yield_now().await;
            yield_now().await;
        }
    }
    Forgets {
        #[handler(idempotent, timeout = "1m")]
        async fn charge(&self, charge: Charge, delivery: &Delivery) {
            // It believes that whoever was there before it has done it.
            if delivery.crashes() == 0 {
                yield_now().await;
                self.0.cents().insert(charge.order, charge.cents);
            }
        }
    }
    LooksOnlyAfterACrash {
        #[handler(idempotent, timeout = "1m")]
        async fn charge(&self, charge: Charge, delivery: &Delivery) {
            if delivery.crashes() == 0 || !self.0.done().contains(&charge.order) {
                self.0.add(&charge);
                self.0.done().insert(charge.order);
                yield_now().await;
            }
        }
    }
    Once {
        #[handler(once = order, timeout = "1m")]
        async fn charge(&self, charge: Charge) {
            self.0.add(&charge);
            yield_now().await;
            self.0.add(&charge);
            yield_now().await;
        }
    }
    OnceById {
        #[handler(once, timeout = "1m", retries = 0)]
        async fn charge(&self, charge: Charge) {
            yield_now().await;
            self.0.add(&charge);
        }
    }
    DiesOnce {
        #[handler(idempotent, crashes = 1, timeout = "1m")]
        async fn charge(&self, charge: Charge) {
            self.0.add(&charge);
            yield_now().await;
        }
    }
    Follows {
        #[handler(idempotent, timeout = "1m")]
        async fn charge(&self, charge: Charge) -> (Enqueue<SendMail>, Publish<Charged>) {
            yield_now().await;
            let order = charge.order;
            (Enqueue::new(SendMail { order }).delay(Duration::from_secs(3_600)), Publish::new(Charged { order }))
        }

        #[handler(idempotent, timeout = "1m")]
        async fn mail(&self, mail: SendMail) {
            // A mail comes of each follow-up.
            *self.0.cents().entry(mail.order).or_default() += 1;
        }

        #[handler]
        async fn charged(&self, charged: Charged) {
            yield_now().await;
            self.0.cents().insert(1_000 + charged.order, 1);
        }
    }
    Fails {
        #[handler(idempotent, timeout = "1m", retries = 5, backoff = "1h..2h")]
        async fn charge(&self, charge: Charge, delivery: &Delivery, lease: &Lease) -> Result<(), String> {
            yield_now().await;
            if delivery.failures() < 3 {
                return Err(format!("not with token {}", lease.token()));
            }
            self.0.cents().insert(charge.order, charge.cents);
            Ok(())
        }
    }
    FailsAlways {
        #[handler(idempotent, timeout = "1m", retries = 0)]
        async fn charge(&self, charge: Charge) -> Result<(), &'static str> {
            self.0.cents().insert(charge.order, charge.cents);
            yield_now().await;
            Err("never")
        }
    }
    Unsteady {
        #[handler(idempotent, timeout = "1m")]
        async fn charge(&self, charge: Charge) {
            static NEXT: AtomicU64 = AtomicU64::new(0);
            self.0.cents().insert(charge.order, NEXT.fetch_add(1, Ordering::SeqCst) / 2);
        }
    }
    Hangs {
        #[handler(idempotent, timeout = "none")]
        async fn charge(&self, _charge: Charge) {
            std::future::pending::<()>().await;
        }
    }
    Mails {
        #[handler(idempotent, timeout = "1m")]
        async fn mail(&self, _mail: SendMail) {}
    }
    Spawned {
        #[handler(idempotent, timeout = "1m", spawn)]
        async fn charge(&self, charge: Charge) {
            yield_now().await;
            self.0.cents().insert(charge.order, charge.cents);
        }
    }
}

#[track_caller]
fn differs<T>(result: Result<T, RedeliveryError>) -> (Disturbance, String) {
    match result {
        Err(error @ RedeliveryError::Differs { disturbance, .. }) => (disturbance, format!("{error:?}")),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it passes"),
    }
}

#[tokio::test]
async fn a_handler_passes_that_does_once_what_it_does_twice() {
    let redelivered = redelivered!(Idempotent).unwrap();
    assert_eq!(redelivered.awaits(), 2);
    let expected = [
        Disturbance::BeforeHandler,
        Disturbance::AtAwait(1),
        Disturbance::AtAwait(2),
        Disturbance::BeforeAcknowledgement,
        Disturbance::Duplicate,
    ];
    assert_eq!(redelivered.runs, expected);
    assert_eq!(redelivered!(Spawned).unwrap().awaits(), 1);
}

#[tokio::test]
async fn one_that_adds_up_fails_at_the_first_point_behind_it() {
    let (disturbance, text) = differs(redelivered!(Doubles));
    assert_eq!(disturbance, Disturbance::BeforeAcknowledgement);
    for part in [
        "after a crash when the handler had returned",
        "expected: {\n    7: 100,\n}",
        "found: {\n    7: 200,\n}",
        "or say `once`",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (disturbance, text) = differs(redelivered!(DoublesEarly));
    assert_eq!(disturbance, Disturbance::AtAwait(1), "{text}");
}

#[tokio::test]
async fn one_that_leaves_out_what_nobody_has_done_fails() {
    assert_eq!(differs(redelivered!(Forgets)).0, Disturbance::BeforeHandler);
}

#[tokio::test]
async fn a_second_delivery_of_what_is_done_is_found_out_too() {
    let (disturbance, text) = differs(redelivered!(LooksOnlyAfterACrash));
    assert_eq!(disturbance, Disturbance::Duplicate, "{text}");
}

#[tokio::test]
async fn a_handler_that_runs_once_passes_where_the_second_delivery_changes_nothing() {
    let redelivered = redelivered!(Once).unwrap();
    assert_eq!((redelivered.awaits(), redelivered.runs.len()), (2, 5));
    let redelivered = redelivered!(OnceById).unwrap();
    assert_eq!((redelivered.awaits(), redelivered.runs.len()), (1, 4));
}

#[tokio::test]
async fn a_task_that_ends_with_its_first_crash_is_not_run_again() {
    // What is done twice is done so by the duplicate alone.
    assert_eq!(differs(redelivered!(DiesOnce)).0, Disturbance::Duplicate);
}

#[tokio::test]
async fn what_a_handler_returns_is_carried_out_as_in_a_service() {
    // Exactly one follow-up comes of each crash. A task that is delivered again when it was done is not the same task for its queue.
    let (disturbance, text) = differs(redelivered!(Follows));
    assert_eq!(disturbance, Disturbance::Duplicate);
    assert!(text.contains("expected: {\n    7: 1,\n    1007: 1,\n}") && text.contains("found: {\n    7: 2,"), "{text}");
}

#[tokio::test]
async fn attempts_that_fail_are_tried_again_at_once() {
    let redelivered = redelivered!(Fails).unwrap();
    assert_eq!((redelivered.awaits(), redelivered.runs.len()), (4, 7));
    // It is never acknowledged, and has no duplicate.
    assert_eq!(redelivered!(FailsAlways).unwrap().runs, [Disturbance::BeforeHandler, Disturbance::AtAwait(1)]);
}

#[tokio::test]
async fn what_cannot_be_said_says_why() {
    assert!(matches!(
        redelivered!(Unsteady).unwrap_err(),
        RedeliveryError::Unsteady { .. } | RedeliveryError::Differs { .. }
    ));
    let error = redelivered!(Mails).unwrap_err();
    assert_eq!(format!("{error:?}"), "no handler of the router takes tasks of `charges`");
    let error = redelivery(async |_| Others, Numbered { number: 1 }, async |_, _| ()).await.unwrap_err();
    let text = format!("{error:?}");
    assert!(text.starts_with("the queue could not be looked at: ") && text.contains("others:<number>"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_hangs_ends_the_test() {
    assert!(matches!(redelivered!(Hangs), Err(RedeliveryError::Unfinished { .. })));
}

#[derive(ChannelParam, Serialize, Deserialize, Clone, Copy)]
enum Priority {
    High,
    Low,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("kinds:<region>:<priority>", bound, strict = priority)]
struct OfKind<'a> {
    region: u8,
    priority: Priority,
    text: &'a str,
}

#[derive(Default)]
struct Kinds(Ledger);

#[router]
impl Kinds {
    #[handler(once = region, timeout = "1m")]
    async fn kind(&self, task: OfKind<'_>, delivery: &Delivery) {
        let length = task.text.len() as u64;
        yield_now().await;
        *self.0.cents().entry(task.region.into()).or_default() += length + u64::from(delivery.attempt());
    }
}

#[tokio::test]
async fn queues_of_every_kind_can_be_tested() {
    for priority in [Priority::High, Priority::Low] {
        let redelivered = redelivered!(Kinds, OfKind { region: 3, priority, text: "eight" });
        // A crash before the handler is one attempt, and it is observed here.
        assert_eq!(differs(redelivered).0, Disturbance::BeforeHandler);
    }
}

#[derive(Message, Serialize, Deserialize)]
#[queue("numbered")]
struct Numbered {
    number: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("others:<number>", bound)]
struct Other {
    number: u64,
}

/// Nobody says which parts of one of its queues are served.
struct Others;

#[router]
impl Others {
    #[handler(idempotent, timeout = "1m")]
    async fn numbered(&self, _: Numbered) {}

    #[handler(idempotent, timeout = "1m")]
    async fn other(&self, _: Other) {}
}

#[derive(Message, Serialize, Deserialize)]
#[queue("pings", at_most_once)]
struct Ping;

#[derive(Default)]
struct Pings;

#[router]
impl Pings {
    #[handler(timeout = "1m")]
    async fn ping(&self, _: Ping) {}
}

#[tokio::test]
async fn a_queue_that_delivers_once_has_no_second_delivery() {
    let error = redelivery(async |_| Pings, Ping, async |_, _| ()).await.unwrap_err();
    assert!(matches!(error, RedeliveryError::AtMostOnce { queue: "pings" }));
}

#[tokio::test]
async fn a_run_takes_milliseconds() {
    let begun = std::time::Instant::now();
    let runs = redelivered!(Idempotent).unwrap().runs.len() as u32;
    let each = begun.elapsed() / (runs + 2);
    assert!(each < Duration::from_millis(200), "{each:?} for a run");
    println!("{each:?} for a run");
}

#[test]
fn disturbances_are_told_in_words() {
    let ordinals = [1, 2, 3, 4, 11, 12, 13, 21, 22, 103, 111];
    let told: Vec<String> = ordinals.iter().map(|number| Disturbance::AtAwait(*number).to_string()).collect();
    let words = ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "103rd", "111th"];
    for (told, word) in told.iter().zip(words) {
        assert_eq!(*told, format!("a crash when the handler waited for the {word} time"));
    }
}
