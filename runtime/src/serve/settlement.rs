//! What is left to do once a handler has returned: sending its messages and its answer, or telling whoever asked that there is none.
//!
//! The call only says how it ended. What follows from that is decided here, without a clock or a transport, in steps that the driver carries
//! out one after the other:
//!
//! ```text
//! ended ─▶ Publish: its messages ──▶ Answer: counted, and the answer leaves
//!      └──────────────────────────▶
//! ```
//!
//! The messages are put in line before the lane goes on, so that their order is that of the handling. The answer holds nothing.

use std::time::{Duration, Instant};

use futures_util::{FutureExt, future::BoxFuture};
use memchr::memmem;
use tokio::sync::oneshot;

use crate::{
    bus::handle::Bus,
    codec::{
        answers::{Answer, PassedOn, SHARED_BY},
        contract::Format,
        envelope::without_data,
        headers::Headers,
    },
    error::{EnqueueError, PublishError, Rejection},
    handler::{
        outcome::{Enclosed, Ended, Outcome, Outgoing},
        returned::answer_of,
    },
    message::{
        delivery::Delivery,
        facts::{Facts, Kind},
        kind::NoError,
    },
    observe::observation::{Observation, enter},
    transport::{
        contract::{Lined, Parcel},
        durable::task::NewTask,
        frame::{Frame, Origin},
    },
};

/// A call that has ended. It is returned in registers, as its outcome is, so nothing more is said of one that mostly is all there is to say.
#[derive(Debug)]
pub(crate) enum Called {
    /// Nothing is left to be done or to be said, as after most broadcasts.
    Settled(Ended),
    Open(Box<Open>),
}

/// How a call ended, and what is needed to carry out what it asks for.
#[derive(Debug)]
pub(crate) struct Open {
    /// Until it is looked at.
    ended: Ended,
    delivery: Delivery,
    observation: Option<Box<Observation>>,
    /// How long a request took, in microseconds.
    busy_micros: u32,
}

/// What is to be done next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Count how it ended, and send the answer, if there is one.
    Answer(Ended, Option<Parcel>, Box<Open>),
    /// Publish what the handler returned; what follows is known then.
    Publish(Box<Publishing>),
}

/// What a handler that succeeded wants sent, and the call that it belongs to.
#[derive(Debug)]
pub(crate) struct Publishing {
    outgoing: Outgoing,
    open: Box<Open>,
    shared: usize,
}

/// What has become of the messages that a handler returned.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) ended: Ended,
    pub(crate) answer: Option<Parcel>,
    /// Why messages were not published, one for each.
    pub(crate) unsent: Vec<PublishError>,
    pub(crate) open: Box<Open>,
}

/// A call of a task that has ended, and what it has published is sent.
#[derive(Debug)]
pub(crate) struct Worked {
    pub(crate) ended: Ended,
    /// To be enqueued in the step that says that the task is done.
    pub(crate) follow_ups: Vec<NewTask>,
    /// The reply, in JSON, where it is kept.
    pub(crate) result: Option<Vec<u8>>,
    /// How far what it has returned is from the first of its chain; 0 where that is nothing.
    pub(crate) hops: u32,
    /// Why messages were not published, one for each.
    pub(crate) unsent: Vec<PublishError>,
    /// Absent where nothing was left to be done.
    pub(crate) open: Option<Box<Open>>,
    pub(crate) unreadable: u32,
}

impl Worked {
    pub(crate) fn of(ended: Ended) -> Self {
        Self { ended, follow_ups: Vec::new(), result: None, hops: 0, unsent: Vec::new(), open: None, unreadable: 0 }
    }
}

impl Called {
    pub(crate) fn open(ended: Ended, delivery: Delivery, observation: Option<Box<Observation>>) -> Self {
        Self::Open(Box::new(Open { ended, delivery, observation, busy_micros: 0 }))
    }

    /// The same, of a request that took so long.
    pub(crate) fn after(mut self, time: Duration) -> Self {
        if let Self::Open(open) = &mut self {
            open.busy_micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        }
        self
    }
}

impl Open {
    /// Members of the envelope's metadata that could not be read.
    pub(crate) fn unreadable(&self) -> u32 {
        self.delivery.unreadable_metadata()
    }

    /// How long a request took, in microseconds.
    pub(crate) fn busy_micros(&self) -> u32 {
        self.busy_micros
    }

    /// Sends what the handler of a task has returned to be published. Follow-ups are handed on, and enqueued here only where the task is done
    /// already: its queue delivers at most once.
    pub(crate) async fn worked(mut self: Box<Self>, bus: &Bus, is_done: bool) -> Worked {
        let unreadable = self.unreadable();
        let (mut follow_ups, result, hops) = match &mut self.ended {
            Ended::Returned(Outcome::Send(outgoing)) => {
                (std::mem::take(&mut outgoing.tasks), outgoing.result.take(), outgoing.hops)
            }
            _ => (Vec::new(), None, 0),
        };
        if is_done && let Some(error) = enqueue(bus, std::mem::take(&mut follow_ups)).await {
            self.ended = Ended::Returned(Outcome::Failed(error.to_string().into()));
        }
        match self.step(Kind::Queue, bus, || 1) {
            Step::Answer(ended, _, open) => {
                Worked { follow_ups, result, hops, open: Some(open), unreadable, ..Worked::of(ended) }
            }
            Step::Publish(publishing) => {
                let (_in_line, sent) = publishing.start(bus);
                let Sent { ended, unsent, open, .. } = sent.await;
                Worked { ended, follow_ups, result, hops, unsent, open: Some(open), unreadable }
            }
        }
    }

    /// What is to be done first, after a message of this kind. `shared` counts the services that share the subscription by which it came.
    pub(crate) fn step(mut self: Box<Self>, kind: Kind, bus: &Bus, shared: impl FnOnce() -> usize) -> Step {
        match std::mem::replace(&mut self.ended, Ended::Returned(Outcome::Done)) {
            Ended::Returned(Outcome::Send(outgoing)) if outgoing.messages.is_empty() && outgoing.tasks.is_empty() => {
                let ended = self.done(Ended::Returned(Outcome::Done));
                Step::Answer(ended, outgoing.answer, self)
            }
            Ended::Returned(Outcome::Send(outgoing)) => {
                Step::Publish(Box::new(Publishing { outgoing: *outgoing, open: self, shared: shared() }))
            }
            ended => {
                let origin = self.delivery.frame().origin();
                let answer = excuse(&ended, kind, origin).and_then(|excuse| self.excuse(excuse, shared(), bus));
                Step::Answer(self.done(ended), answer, self)
            }
        }
    }

    pub(crate) fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// The answer that says why there is none.
    fn excuse(&self, excuse: Answer<(), NoError>, shared: usize, bus: &Bus) -> Option<Parcel> {
        let encode = || excused(&self.delivery, &excuse, shared, bus);
        Observation::scope(self.observation.as_deref(), encode)
    }

    /// The call is over, whatever becomes of its answer.
    fn done(&self, ended: Ended) -> Ended {
        self.observation.iter().for_each(|observation| observation.ended(&ended));
        ended
    }
}

/// The answer that says why there is none.
fn excused(delivery: &Delivery, excuse: &Answer<(), NoError>, shared: usize, bus: &Bus) -> Option<Parcel> {
    let mut headers = Headers::default();
    if shared > 1 {
        headers.set(SHARED_BY, shared.to_string());
    }
    // Where even this cannot be sent, the requester's timeout ends its wait.
    answer_of(excuse, &headers, delivery, bus).ok().flatten()
}

/// What whoever asked is told after a call that has no answer for them.
///
/// A requester learns that the handler failed, and why only where the reason is meant for it (`Refused`). What was not begun is declined, and the
/// requester gives it to another instance. Of a request whose time is over it only learns that this one lives.
fn excuse(ended: &Ended, kind: Kind, origin: Origin) -> Option<Answer<(), NoError>> {
    Some(match ended {
        Ended::Returned(
            Outcome::Done | Outcome::Send(_) | Outcome::DoneBefore | Outcome::Unfinished | Outcome::Elsewhere,
        )
        | Ended::Cancelled
        | Ended::LeftToOthers => return None,
        // Nobody can be told.
        Ended::Returned(Outcome::Rejected(rejection)) if matches!(**rejection, Rejection::NobodyToAnswer { .. }) => {
            return None;
        }
        Ended::Returned(Outcome::Expired) => Answer::Declined(PassedOn::Expired),
        Ended::Returned(Outcome::Filtered) => Answer::Declined(PassedOn::Filtered),
        // Another program's request was not even claimed, if it is newer.
        Ended::Returned(Outcome::Rejected(rejection))
            if kind == Kind::Request && matches!(**rejection, Rejection::NewerVersion { .. }) =>
        {
            Answer::Declined(PassedOn::Unknown)
        }
        Ended::Returned(Outcome::Rejected(rejection))
            if origin == Origin::Inbox && matches!(**rejection, Rejection::WrongType { .. }) =>
        {
            Answer::Declined(PassedOn::Unknown)
        }
        Ended::Returned(Outcome::Refused(failure)) => Answer::Failure(failure.reason().to_owned()),
        Ended::Returned(Outcome::Rejected(rejection)) => Answer::Failure(rejection.kind().to_owned()),
        Ended::Returned(Outcome::Failed(_) | Outcome::Ruled(_)) => Answer::Failure(FAILED.to_owned()),
        Ended::Panicked => Answer::Failure("the handler panicked".to_owned()),
        Ended::TimedOut => Answer::Failure("the handler ran past its timeout".to_owned()),
    })
}

const FAILED: &str = "the handler failed";

/// Tells whoever waits for an answer that the message was dropped. Nearly all broadcasts are spared being read for it: a look at the bytes is
/// enough to see that nobody waits.
pub(crate) fn dropped(frame: Frame, format: Format, facts: &Facts, shared: usize, bus: &Bus) -> Option<Parcel> {
    let may_be_answered = match (facts.kind(), frame.origin()) {
        // Every instance got it, and another one may take it.
        (Kind::Request, Origin::Broadcast { .. } | Origin::Task) => false,
        (Kind::Request, Origin::Inbox) => true,
        (Kind::Queue, _) => false,
        (Kind::Broadcast, _) => memmem::find(frame.payload(), b"reply").is_some(),
    };
    if !may_be_answered {
        return None;
    }
    declined(frame, PassedOn::Busy, format, facts, shared, bus)
}

/// Tells whoever waits for an answer why the message is left to others.
pub(crate) fn declined(
    frame: Frame,
    why: PassedOn,
    format: Format,
    facts: &Facts,
    shared: usize,
    bus: &Bus,
) -> Option<Parcel> {
    let mut delivery = Delivery::of(frame, format);
    delivery.read(facts.read_metadata());
    excused(&delivery, &Answer::Declined(why), shared, bus)
}

/// Tells whoever waits for an answer that the message was too large, of which only the head is there: where its data comes last, as we write it,
/// it says before that who that is.
pub(crate) fn oversized(
    head: &[u8],
    now: Instant,
    rejection: &Rejection,
    format: Format,
    facts: &Facts,
    shared: usize,
    bus: &Bus,
) -> Option<Parcel> {
    let read = |payload: Vec<u8>| {
        let end = u32::try_from(payload.len()).unwrap_or_default();
        let frame = Frame::new(payload.into(), 0..0, 0..end, Origin::Broadcast { token: 0 }, now);
        let mut delivery = Delivery::of(frame, format);
        delivery.read(facts.read_metadata());
        delivery
    };
    let delivery = without_data(head).map(read).find(|delivery| delivery.reply_to().is_some())?;
    excused(&delivery, &Answer::Failure(rejection.kind().to_owned()), shared, bus)
}

impl Publishing {
    /// How far the messages are from the first of their chain.
    pub(crate) fn hops(&self) -> u32 {
        self.outgoing.hops
    }

    /// Sends the messages in one round trip; what could not be published is no reason to leave the others out. The receiver tells when they
    /// are in line.
    pub(crate) fn start(self, bus: &Bus) -> (oneshot::Receiver<()>, BoxFuture<'_, Sent>) {
        let (lined, in_line) = oneshot::channel();
        (in_line, self.run(bus, lined).boxed())
    }

    async fn run(self, bus: &Bus, lined: Lined) -> Sent {
        let Self { outgoing: Outgoing { messages, answer, tasks, .. }, mut open, shared } = self;
        // Before the messages are in line, so that the order of tasks is that of the handling too.
        let not_enqueued = enqueue(bus, tasks).await;
        let unsent = match open.observation.take() {
            None => send(bus, messages, lined).await,
            Some(observation) => {
                let (unsent, observation) = enter(observation, send(bus, messages, lined)).await;
                open.observation = observation;
                unsent
            }
        };
        let failure = unsent.first().map(ToString::to_string).or_else(|| Some(not_enqueued?.to_string()));
        let (ended, answer) = match failure {
            None => (Outcome::Done, answer),
            Some(failure) => {
                (Outcome::Failed(failure.into()), open.excuse(Answer::Failure(FAILED.to_owned()), shared, bus))
            }
        };
        Sent { ended: open.done(Ended::Returned(ended)), answer, unsent, open }
    }
}

/// Enqueues follow-ups in one round trip; why one of them is not in its queue, or not known to be.
async fn enqueue(bus: &Bus, tasks: Vec<NewTask>) -> Option<EnqueueError> {
    if tasks.is_empty() {
        return None;
    }
    bus.durable().enqueue(tasks, false).await.into_iter().find_map(Result::err)
}

async fn send(bus: &Bus, messages: Vec<Enclosed>, lined: Lined) -> Vec<PublishError> {
    let (parcels, observations): (Vec<_>, Vec<_>) =
        messages.into_iter().map(|Enclosed { parcel, observation }| (parcel, observation)).unzip();
    let sent = bus.send_all(parcels, Some(lined)).await;
    let mut unsent = Vec::new();
    for (result, observation) in sent.into_iter().zip(observations) {
        observation.iter().for_each(|observation| observation.ended(&result));
        unsent.extend(result.err());
    }
    unsent
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use crate::error::Rejection;

    use super::*;

    #[test]
    fn how_a_call_has_ended_is_returned_in_registers() {
        // Two words are; what is larger is written by one future and read by the next, at each of five levels.
        assert_eq!(size_of::<Poll<Called>>(), 2 * size_of::<usize>());
        assert_eq!(size_of::<Poll<Outcome>>(), 2 * size_of::<usize>());
    }

    #[test]
    fn whoever_asked_is_told_of_each_end_without_an_answer_and_of_nothing_from_the_inside() {
        for (ended, told) in [
            (Ended::Returned(Outcome::Failed("the password is wrong".into())), "the handler failed"),
            (Ended::Returned(Outcome::Refused("sold out".into())), "sold out"),
            (
                Ended::Returned(Outcome::Rejected(Box::new(Rejection::TooLarge { size: 2, limit: 1 }))),
                "payload too large",
            ),
            (Ended::Panicked, "the handler panicked"),
            (Ended::TimedOut, "the handler ran past its timeout"),
        ] {
            assert!(!ended.is_settled());
            assert!(
                matches!(excuse(&ended, Kind::Request, Origin::Inbox), Some(Answer::Failure(reason)) if reason == told),
                "{told}"
            );
        }
        let rejected = |rejection| Ended::Returned(Outcome::Rejected(Box::new(rejection)));
        let newer = rejected(Rejection::NewerVersion { name: "Quote", found: 2, known: 1 });
        let other = rejected(Rejection::WrongType { name: "Quote", found: "Order".to_owned() });
        let by_name = Origin::Broadcast { token: 0 };
        assert!(matches!(excuse(&newer, Kind::Request, by_name), Some(Answer::Declined(PassedOn::Unknown))));
        for (ended, kind, told) in [(&newer, Kind::Broadcast, "newer version"), (&other, Kind::Request, "wrong type")] {
            assert!(matches!(excuse(ended, kind, by_name), Some(Answer::Failure(reason)) if reason == told), "{told}");
        }
        for (ended, why) in [
            (Ended::Returned(Outcome::Filtered), PassedOn::Filtered),
            (Ended::Returned(Outcome::Expired), PassedOn::Expired),
            (newer, PassedOn::Unknown),
            (other, PassedOn::Unknown),
        ] {
            assert!(
                matches!(excuse(&ended, Kind::Request, Origin::Inbox), Some(Answer::Declined(told)) if told == why),
                "{why:?}"
            );
        }
        for ended in [Ended::Returned(Outcome::Done), Ended::Cancelled, Ended::LeftToOthers] {
            assert!(ended.is_settled());
            assert!(excuse(&ended, Kind::Request, Origin::Inbox).is_none());
        }
    }
}
