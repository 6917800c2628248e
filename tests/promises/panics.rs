//! Whatever of a program's own code panics: it is counted, whoever waits is told at once, and everybody else goes on.

use std::{error::Error, fmt, time::Duration};

use serde::{Deserialize, Serialize, Serializer};
use tidings::{
    Context, Delivery, Ended, Enqueue, Extract, ExtractError, Message, NoError, Outcome, Publish, RequestError,
    ResultError, Rule, router,
};
use tidings_tests::{Recorder, eventually, on_each};

use crate::support::{SOON, handler};

/// Where it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Where {
    Nowhere,
    Filter,
    Extractor,
    Display,
    Source,
    DropOfError,
    Rule,
    Answer,
    DropOfAnswer,
    Published,
    Enqueued,
    Announced,
}

fn panics() -> ! {
    panic!("a test panics, as it should")
}

fn unless<S: Serializer>(place: &Where, serializer: S) -> Result<S::Ok, S::Error> {
    match place {
        Where::Answer | Where::Published | Where::Enqueued => panics(),
        _ => place.serialize(serializer),
    }
}

#[derive(Message, Serialize, Deserialize)]
#[channel("odd:<n>")]
struct Odd {
    n: u64,
    place: Where,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("asked:<n>")]
#[reply(Answer)]
struct Asked {
    n: u64,
    place: Where,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("odd:jobs", lease = "10s", results = "1h", completed = Over)]
#[reply(Answer)]
struct Job {
    place: Where,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("over")]
struct Over {
    state: String,
}

impl From<Ended<'_, Job>> for Over {
    fn from(ended: Ended<'_, Job>) -> Self {
        if ended.task().place == Where::Announced {
            panics();
        }
        Self { state: format!("{:?}", ended.state()) }
    }
}

#[derive(Message, Serialize, Deserialize)]
#[channel("never:published")]
struct Published {
    #[serde(serialize_with = "unless")]
    place: Where,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("never:enqueued")]
struct Enqueued {
    #[serde(serialize_with = "unless")]
    place: Where,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    #[serde(serialize_with = "unless")]
    place: Where,
    breaks: bool,
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.breaks && !std::thread::panicking() {
            panics();
        }
    }
}

#[derive(Debug)]
struct Odder(Where);

impl fmt::Display for Odder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == Where::Display {
            panics();
        }
        formatter.write_str("odder")
    }
}

impl Error for Odder {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        if self.0 == Where::Source {
            panics();
        }
        None
    }
}

impl Drop for Odder {
    fn drop(&mut self) {
        if self.0 == Where::DropOfError && !std::thread::panicking() {
            panics();
        }
    }
}

impl Outcome for Odder {
    fn rule(&self) -> Rule {
        if self.0 == Where::Rule {
            panics();
        }
        Rule::DeadLetter
    }
}

struct Extracted;

impl<'a, M, S> Extract<'a, M, S> for Extracted {
    fn extract(context: &Context<'a, S>) -> Result<Self, ExtractError> {
        if context.delivery().channel().ends_with(":666") {
            panics();
        }
        Ok(Self)
    }
}

fn wanted(odd: &Odd) -> bool {
    if odd.place == Where::Filter {
        panics();
    }
    true
}

fn answer(place: Where) -> Result<Answer, Odder> {
    match place {
        Where::Display | Where::Source | Where::DropOfError | Where::Rule => Err(Odder(place)),
        Where::DropOfAnswer => Ok(Answer { place: Where::Nowhere, breaks: true }),
        _ => Ok(Answer { place, breaks: false }),
    }
}

struct Worker {
    seen: Recorder<u64>,
}

#[router]
impl Worker {
    #[handler(filter = wanted(odd))]
    async fn odd(&self, odd: Odd, _extracted: Extracted) -> Result<(Publish<Published>, Enqueue<Enqueued>), Odder> {
        let place = odd.place;
        if let Where::Display | Where::Source | Where::DropOfError = place {
            return Err(Odder(place));
        }
        self.seen.record(odd.n);
        let published = (place == Where::Published).then_some(Published { place });
        let enqueued = (place == Where::Enqueued).then_some(Enqueued { place });
        Ok((Publish::all(published), Enqueue::all(enqueued)))
    }

    #[handler]
    async fn asked(&self, asked: Asked) -> Result<Answer, Odder> {
        answer(asked.place)
    }

    #[handler(idempotent, timeout = "10s", retries = 0)]
    async fn job(&self, job: Job, _delivery: &Delivery) -> Result<Answer, Odder> {
        answer(job.place)
    }
}

const BROADCASTS: [Where; 7] = [
    Where::Filter,
    Where::Extractor,
    Where::Display,
    Where::Source,
    Where::DropOfError,
    Where::Published,
    Where::Enqueued,
];

on_each! {
    async fn a_broadcast_is_counted_and_the_next_one_handled(world: World) {
        let bus = world.bus().await;
        let seen = Recorder::new();
        let service = bus.serve(Worker { seen: seen.clone() }).await.unwrap();
        world.settle().await;
        for (n, place) in BROADCASTS.into_iter().enumerate() {
            let at = if place == Where::Extractor { 666 } else { 7 };
            Odd { n: at, place }.publish(&bus).await.unwrap();
            eventually(SOON, async || handler(&service, "odd").panicked == n as u64 + 1).await;
            Odd { n: 100 + n as u64, place: Where::Nowhere }.publish(&bus).await.unwrap();
            eventually(SOON, async || seen.all().contains(&(100 + n as u64))).await;
        }
        service.shutdown().await.unwrap();
    }

    async fn a_requester_is_told_at_once(world: World) {
        let bus = world.bus().await;
        let service = bus.serve(Worker { seen: Recorder::new() }).await.unwrap();
        world.settle().await;
        let places = [Where::Display, Where::Source, Where::DropOfError, Where::Answer, Where::DropOfAnswer];
        for (n, place) in places.into_iter().enumerate() {
            let error = Asked { n: 1, place }.request(&bus).timeout(SOON).await.unwrap_err();
            let RequestError::Failed { .. } = error else { panic!("{place:?}: {error}") };
            assert_eq!(handler(&service, "asked").panicked, n as u64 + 1, "{place:?}");
            let answer = Asked { n: 1, place: Where::Nowhere }.request(&bus).timeout(SOON).await.unwrap();
            assert_eq!(answer.place, Where::Nowhere);
        }
        service.shutdown().await.unwrap();
    }

    async fn a_task_is_given_up_and_the_next_one_done(world: World) {
        let bus = world.bus().await;
        let service = bus.serve(Worker { seen: Recorder::new() }).await.unwrap();
        let done = async |place| {
            let enqueued = Job { place }.enqueue(&bus).await.unwrap();
            enqueued.result::<Answer, NoError>(&bus).within(SOON).await
        };
        for place in [Where::Display, Where::Source, Where::DropOfError, Where::Rule, Where::Answer, Where::DropOfAnswer] {
            let error = done(place).await.unwrap_err();
            assert!(matches!(error, ResultError::Dead { .. }), "{place:?}: {error}");
            assert_eq!(done(Where::Nowhere).await.unwrap().place, Where::Nowhere);
        }
        // What cannot be announced has ended all the same.
        assert_eq!(done(Where::Announced).await.unwrap().place, Where::Announced);
        service.shutdown_within(Duration::MAX).await.unwrap();
    }
}
