//! What is left to do once a handler has returned: sending its messages and its answer, or telling whoever asked that there is none.
//!
//! The call only says how it ended. What follows from that is decided here, without a clock or a transport, and carried out by the driver,
//! for which it is one more future.

use std::borrow::Cow;

use crate::{
    bus::handle::Bus,
    codec::answers::Answer,
    error::PublishError,
    handler::{
        outcome::{Enclosed, Ended, Outcome, Outgoing},
        returned::answer,
    },
    message::{delivery::Delivery, kind::NoError},
    observe::{
        label::{Label, Observed},
        observation::{Observation, watch},
    },
    transport::contract::Parcel,
};

/// A call that has ended.
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) ended: Ended,
    /// Absent where nothing is left to be done. Boxed, because mostly it is absent.
    pub(crate) open: Option<Box<Open>>,
}

/// What is needed to carry out what a call asks for.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) delivery: Delivery,
    pub(crate) observation: Option<Box<Observation>>,
}

impl Called {
    pub(crate) fn settled(ended: Ended) -> Self {
        Self { ended, open: None }
    }

    pub(crate) fn open(ended: Ended, delivery: Delivery, observation: Option<Box<Observation>>) -> Self {
        Self { ended, open: Some(Box::new(Open { delivery, observation })) }
    }
}

/// What a call's end asks for.
#[derive(Debug)]
enum Settlement {
    Nothing,
    /// Send what the handler returned.
    Send(Box<Outgoing>),
    /// Tell whoever asked that there will be no answer, and why.
    Excuse(Cow<'static, str>),
}

/// What follows from how a call ended. What is to be sent is taken out of it; the call then counts as done.
///
/// A requester learns that the handler failed, and why only where the reason is meant for it (`Refused`). After a filter it is told nothing:
/// another service may take the message.
fn decide(ended: &mut Ended) -> Settlement {
    let excuse = match ended {
        Ended::Returned(Outcome::Done | Outcome::Expired | Outcome::Filtered) => return Settlement::Nothing,
        Ended::Returned(outcome @ Outcome::Send(_)) => match std::mem::replace(outcome, Outcome::Done) {
            Outcome::Send(outgoing) => return Settlement::Send(outgoing),
            _ => return Settlement::Nothing,
        },
        Ended::Returned(Outcome::Refused(reason)) => return Settlement::Excuse(reason.clone().into()),
        Ended::Returned(Outcome::Rejected(rejection)) => rejection.kind(),
        Ended::Returned(Outcome::Failed(_)) => FAILED,
        Ended::Panicked => "the handler panicked",
        Ended::TimedOut => "the handler ran past its timeout",
    };
    Settlement::Excuse(excuse.into())
}

const FAILED: &str = "the handler failed";

/// How a call ended in the end.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) ended: Ended,
    /// Why messages that the handler returned were not published, one for each.
    pub(crate) unsent: Vec<PublishError>,
}

impl Observed for Settled {
    fn label(&self) -> Label {
        self.ended.label()
    }
}

/// Carries out what a call asks for.
pub(crate) fn carry_out(bus: &Bus, ended: Ended, open: Open) -> impl Future<Output = Settled> + Send + '_ {
    let Open { delivery, observation } = open;
    watch(observation, fulfil(bus, ended, delivery))
}

async fn fulfil(bus: &Bus, mut ended: Ended, delivery: Delivery) -> Settled {
    let mut unsent = Vec::new();
    let excuse = match decide(&mut ended) {
        Settlement::Nothing => return Settled { ended, unsent },
        Settlement::Excuse(reason) => reason,
        Settlement::Send(outgoing) => {
            let Outgoing { messages, answer } = *outgoing;
            unsent = send(bus, messages).await;
            let Some(error) = unsent.first() else {
                return Settled { ended: answered(bus, answer).await, unsent };
            };
            ended = Ended::Returned(Outcome::Failed(error.to_string()));
            FAILED.into()
        }
    };
    if let Ok(Some(parcel)) = answer::<(), NoError>(&Answer::Failure(excuse.into_owned()), &delivery, bus) {
        // Where even this cannot be sent, the requester's timeout ends its wait.
        let _ = bus.send(parcel).await;
    }
    Settled { ended, unsent }
}

/// Sends the messages that a handler returned in one round trip; what could not be published is no reason to leave the others out.
async fn send(bus: &Bus, messages: Vec<Enclosed>) -> Vec<PublishError> {
    if messages.is_empty() {
        return Vec::new();
    }
    let (parcels, observations): (Vec<_>, Vec<_>) =
        messages.into_iter().map(|Enclosed { parcel, observation }| (parcel, observation)).unzip();
    let sent = bus.send_all(parcels).await;
    let mut unsent = Vec::new();
    for (result, observation) in sent.into_iter().zip(observations) {
        observation.iter().for_each(|observation| observation.ended(&result));
        unsent.extend(result.err());
    }
    unsent
}

/// Sends the answer, once everything before it was accepted.
async fn answered(bus: &Bus, answer: Option<Parcel>) -> Ended {
    let Some(answer) = answer else { return Ended::Returned(Outcome::Done) };
    match bus.send(answer).await {
        Ok(_) => Ended::Returned(Outcome::Done),
        Err(error) => Ended::Returned(Outcome::Failed(error.to_string())),
    }
}

#[cfg(test)]
mod tests {

    use crate::error::Rejection;

    use super::*;

    fn excuse(mut ended: Ended) -> Option<String> {
        match decide(&mut ended) {
            Settlement::Excuse(reason) => Some(reason.into_owned()),
            Settlement::Nothing | Settlement::Send(_) => None,
        }
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
            assert_eq!(excuse(ended).as_deref(), Some(told));
        }
        for outcome in [Outcome::Done, Outcome::Filtered, Outcome::Expired] {
            let ended = Ended::Returned(outcome);
            assert!(ended.is_settled());
            assert_eq!(excuse(ended), None);
        }
    }

    #[test]
    fn what_is_sent_is_taken_out_and_the_call_is_done() {
        let mut ended = Ended::Returned(Outcome::Send(Box::default()));
        assert!(!ended.is_settled());
        assert!(matches!(decide(&mut ended), Settlement::Send(_)));
        assert!(matches!(ended, Ended::Returned(Outcome::Done)));
    }
}
