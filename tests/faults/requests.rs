//! T20: every request ends exactly once, with its own answer or an error, whatever happens to the connections.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tidings::{
    Bus, Delivery, Message, NoError, RequestError,
    codec::{Codec, DecodeError, Expected, Inbound, Json, Outbound},
    router,
};
use tidings_tests::{World, eventually, on_each};
use tokio::task::JoinSet;

use crate::{
    ledger::SOON,
    outages::SLACK,
    report::Report,
    seed::{Random, sized},
};

#[derive(Message, Serialize, Deserialize)]
#[channel("doubles:<n>")]
#[reply(u64)]
struct Double {
    n: u64,
}

/// Takes all requests, and answers none.
struct Silent;

#[router]
impl Silent {
    #[handler]
    async fn double(&self, _double: Double) -> Result<u64, NoError> {
        std::future::pending().await
    }
}

/// How long a request waits.
const PATIENCE: Duration = Duration::from_millis(300);
/// When an answer comes that is too late.
const LATE: Duration = Duration::from_millis(400);
/// How long an asker rests after a failure.
const FAILED: Duration = Duration::from_millis(10);
/// Every so many answers one is late.
const PUNCTUAL: u64 = 400;

/// Answers. Two of them answer everything twice.
struct Doubling {
    /// Correlation ids, and when they were seen.
    seen: Arc<Mutex<VecDeque<(Instant, String)>>>,
}

#[router]
impl Doubling {
    /// Runs to its end, so that there are answers which come too late.
    #[handler(concurrency = 256, run_to_end)]
    async fn double(&self, double: Double, delivery: &Delivery) -> Result<u64, NoError> {
        if let Some(id) = correlation_id(delivery.payload()) {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push_back((Instant::now(), id));
            seen.truncate(10_000);
        }
        if double.n.is_multiple_of(PUNCTUAL) {
            tokio::time::sleep(LATE).await;
        }
        Ok(double.n * 2)
    }
}

fn correlation_id(payload: &[u8]) -> Option<String> {
    let envelope: serde_json::Value = serde_json::from_slice(payload).ok()?;
    Some(envelope.get("correlation_id")?.as_str()?.to_owned())
}

/// How the requests of a scenario ended.
#[derive(Default)]
struct Ends {
    next: AtomicU64,
    /// Nothing comes in between any more.
    is_quiet: AtomicBool,
    by_kind: Mutex<BTreeMap<&'static str, u64>>,
    wrong: AtomicU64,
    longest: Mutex<Duration>,
}

impl Ends {
    fn count(&self, kind: &'static str, took: Duration) {
        *self.by_kind.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
        let mut longest = self.longest.lock().unwrap_or_else(PoisonError::into_inner);
        *longest = took.max(*longest);
    }

    fn kinds(&self) -> BTreeMap<&'static str, u64> {
        self.by_kind.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Asks so often at least, and for as long as something comes in between.
async fn ask(bus: Bus, count: u64, ends: Arc<Ends>) {
    while ends.next.load(Ordering::Relaxed) < count || !ends.is_quiet.load(Ordering::Relaxed) {
        let n = ends.next.fetch_add(1, Ordering::Relaxed);
        let start = Instant::now();
        let kind = match (Double { n }).request(&bus).timeout(PATIENCE).await {
            Ok(answer) if answer == 2 * n => "answered",
            Ok(_) | Err(RequestError::InvalidAnswer { .. } | RequestError::Failed { .. }) => {
                ends.wrong.fetch_add(1, Ordering::Relaxed);
                "wrong"
            }
            Err(RequestError::TimedOut { .. }) => "timed_out",
            Err(RequestError::ConnectionLost { .. }) => "lost",
            Err(RequestError::NobodyListens { .. }) => "nobody",
            Err(_) => "unsent",
        };
        ends.count(kind, start.elapsed());
        if kind != "answered" {
            // What fails at once would otherwise use up all questions before the connections are back.
            tokio::time::sleep(FAILED).await;
        }
    }
}

/// Bytes as they are, onto somebody's channel for answers.
#[derive(Message, Serialize, Deserialize)]
#[channel("tidings:replies:<inbox: String>")]
#[message(codec = Raw)]
struct Forged(String);

struct Raw;

impl Codec for Raw {
    fn encode<T: Serialize>(_: &Outbound<'_>, message: &T, payload: &mut Vec<u8>) -> Result<(), String> {
        let text = serde_json::to_value(message).map_err(|error| error.to_string())?;
        payload.extend_from_slice(text.as_str().unwrap_or_default().as_bytes());
        Ok(())
    }

    fn decode<'de, T: Deserialize<'de>>(
        expected: &Expected,
        payload: &'de [u8],
    ) -> Result<(T, Inbound<'de>), DecodeError> {
        Json::decode(expected, payload)
    }

    fn metadata<'de>(expected: &Expected, payload: &'de [u8]) -> Option<Inbound<'de>> {
        Json::metadata(expected, payload)
    }
}

/// Sends what was never asked for: answers to finished requests, with wrong numbers, answers to requests that never were, and rubbish.
async fn forge(
    (world, bus): (Arc<World>, Bus),
    asking: Bus,
    seen: Arc<Mutex<VecDeque<(Instant, String)>>>,
    forged: Arc<AtomicU64>,
) {
    let mut random = Random::of("T20-forged");
    let answer = |id: &str| {
        format!(
            r#"{{"id":"x","type":"reply","timestamp":1,"version":1,"correlation_id":"{id}","data":{{"ok":18446744073709551615}}}}"#
        )
    };
    loop {
        random.pause(0..3).await;
        let Some(channel) = asking.stats().reply_channel else { continue };
        let inbox = channel.rsplit(':').next().unwrap_or_default();
        let finished = || {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let is_over = seen.front().is_some_and(|(at, _)| at.elapsed() > PATIENCE + SLACK);
            is_over.then(|| seen.pop_front()).flatten()
        };
        let bytes = match random.within(0..6) {
            0 => answer(&format!("{:016x}", random.next())),
            1 => answer("0000000000000000")[..random.within(1..100) as usize].to_owned(),
            2 => answer("+00000000000000f"),
            3 => "null".to_owned(),
            _ => match finished() {
                Some((_, id)) => answer(&id),
                None => answer(&format!("{:x}", random.next())),
            },
        };
        let is_forged = if world.is_cluster() {
            // No value brings the braces that stand there, and nobody cuts off who publishes past the bus.
            world.publish_raw(&format!("tidings:replies:{inbox}"), bytes).await;
            true
        } else {
            Forged(bytes).publish_to(Forged::channel(inbox), &bus).await.is_ok()
        };
        if is_forged {
            forged.fetch_add(1, Ordering::Relaxed);
        }
    }
}

on_each! {
    /// 64 requests in flight. Connections are killed, answers come late, twice and from forgers, and for some time nobody answers.
    async fn each_request_ends_once_whatever_comes_in_between(world: World) {
        let world = Arc::new(world);
        let (asking, answering, doubling, forging) =
            (world.bus().await, world.bus().await, world.bus().await, world.bus().await);
        let seen: Arc<Mutex<VecDeque<_>>> = Arc::default();
        let router = || Doubling { seen: Arc::clone(&seen) };
        let mut service = answering.serve(router()).await.unwrap();
        let mut random = Random::of("T20");
        // On a cluster a few seconds of it, in the short form.
        let short = if world.is_cluster() { (20_000, 20) } else { (100_000, 50) };
        let (count, kills) = sized(short, (1_000_000, 500));
        let (ends, mut askers) = (Arc::new(Ends::default()), JoinSet::new());
        for _ in 0..64 {
            askers.spawn(ask(asking.clone(), count, Arc::clone(&ends)));
        }
        let (forged, mut forgers) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
        forgers.spawn(forge((Arc::clone(&world), forging), asking.clone(), Arc::clone(&seen), Arc::clone(&forged)));
        let mut twice = None;
        for kill in 1..=kills {
            random.pause(50..250).await;
            if kill % 10 == 0 {
                // For a moment nobody answers, and then for a while two do.
                service.shutdown().await.unwrap();
                random.pause(10..40).await;
                service = answering.serve(router()).await.unwrap();
                twice = if kill % 20 == 0 { Some(doubling.serve(router()).await.unwrap()) } else { None };
            }
            world.disconnect_everything().await;
            let live = async || asking.stats().pending_requests <= 64;
            eventually(SOON, live).await;
        }
        // Requests to which nobody answers in time run into their timeout.
        tokio::time::sleep(2 * LATE).await;
        ends.is_quiet.store(true, Ordering::Relaxed);
        let ended = async { while askers.join_next().await.transpose().unwrap().is_some() {} };
        tokio::time::timeout(20 * SOON, ended).await.unwrap();
        let (kinds, count) = (ends.kinds(), ends.next.load(Ordering::Relaxed));
        assert_eq!(ends.wrong.load(Ordering::Relaxed), 0, "{kinds:?}");
        assert_eq!(kinds.values().sum::<u64>(), count, "{kinds:?}");
        let answered = kinds["answered"];
        assert!(answered > count / 2 && kinds.contains_key("nobody") && kinds.contains_key("timed_out"), "{kinds:?}");
        let longest = *ends.longest.lock().unwrap();
        assert!(longest < PATIENCE + SLACK, "a request took {longest:?}");
        let stats = asking.stats();
        assert_eq!(stats.pending_requests, 0);
        let forged = forged.load(Ordering::Relaxed);
        assert!(forged > 100 && stats.unexpected_answers > 100, "{forged} forged, {} unexpected", stats.unexpected_answers);
        println!("T20/{}: {kinds:?}, {forged} forged, {} unexpected, longest {longest:?}", world.transport(), stats.unexpected_answers);
        // The connections are whole again, and late answers reached nobody.
        eventually(SOON, async || Double { n: 1 }.request(&asking).await.is_ok_and(|answer| answer == 2)).await;
        drop(twice);
        service.shutdown().await.unwrap();
        Report::on(&world, "T20", "kills", kills).messages(count, answered).close();
    }

    async fn requests_that_time_out_or_are_dropped_or_find_nobody_leave_nothing(world: World) {
        let bus = world.bus().await;
        let mut random = Random::of("T20-drops");
        let error = Double { n: 1 }.request(&bus).await.unwrap_err();
        assert!(matches!(error, RequestError::NobodyListens { .. }), "{error}");
        let _silent = bus.serve(Silent).await.unwrap();
        let count = sized(2_000, 100_000);
        let mut asking = JoinSet::new();
        for n in 0..count {
            let (bus, patience) = (bus.clone(), Duration::from_micros(random.within(1..20_000)));
            let question = Double { n };
            asking.spawn(async move {
                if n.is_multiple_of(2) {
                    let error = question.request(&bus).timeout(patience).await.unwrap_err();
                    assert!(matches!(error, RequestError::TimedOut { .. } | RequestError::Publish(_)), "{error}");
                } else {
                    let _ = tokio::time::timeout(patience, question.request(&bus).into_future()).await;
                }
            });
        }
        while let Some(result) = asking.join_next().await {
            result.unwrap();
        }
        assert_eq!(bus.stats().pending_requests, 0);
        Report::on(&world, "T20-drops", "cancellations", usize::try_from(count).unwrap()).messages(count, 0).close();
    }
}
