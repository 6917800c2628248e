//! What a handler's return value asks for.

use std::{fmt, marker::PhantomData};

use serde::Serialize;

use crate::{
    bus::{handle::Bus, replies::reach_of_answers, sending::Draft, tasks::EnqueueOptions},
    codec::{
        answers::{ANSWER, Answer, Answers},
        contract::Exchange,
        headers::Headers,
    },
    error::PublishError,
    handler::{
        enqueue::{Enqueue, Planned},
        outcome::{Enclosed, Failure, Outcome, Outgoing},
        publish::{Addressed, Publish},
    },
    message::{
        contract::Message,
        delivery::Delivery,
        kind::{NoError, Request},
        older::Answered,
        reading::written,
    },
    observe::observation::Observation,
    transport::contract::Parcel,
};

/// What a handler may return: nothing, [`Publish`], [`Enqueue`], or a `Result` of any of these with any error that can be displayed. It is not
/// meant to be implemented.
///
/// A tuple of up to four [`Publish`] and [`Enqueue`], each of them also in an `Option` or a `Vec`, such a `Vec` alone and an `Option` of any of these
/// are outcomes too.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "not an outcome",
    note = "a handler returns nothing, `Publish<M>`, `Enqueue<M>`, or `Result<_, E>` with an error that implements `Display`",
    note = "what is answered to a request, or kept of a task, its message says: write `#[reply(Type)]` on it, and for a task `results = \"1h\"` in its `#[queue(…)]`"
)]
pub trait IntoOutcome {
    #[doc(hidden)]
    fn into_outcome(self, delivery: &Delivery, bus: &Bus) -> Outcome;
}

impl IntoOutcome for () {
    fn into_outcome(self, _delivery: &Delivery, _bus: &Bus) -> Outcome {
        Outcome::Done
    }
}

/// `Display`, in words for the error of a handler.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no error of a handler: it cannot be displayed",
    label = "does not implement `Display`",
    note = "what an error says is logged: write `#[derive(thiserror::Error)]` with `#[error(\"…\")]` on `{Self}`, or `impl std::fmt::Display for {Self}`; or return \
            a `String`"
)]
pub trait Displayed: fmt::Display {}

#[diagnostic::do_not_recommend]
impl<E: fmt::Display> Displayed for E {}

impl<T: IntoOutcome, E: Displayed> IntoOutcome for Result<T, E> {
    fn into_outcome(self, delivery: &Delivery, bus: &Bus) -> Outcome {
        match self {
            Ok(value) => IntoOutcome::into_outcome(value, delivery, bus),
            Err(error) => Outcome::Failed(Failure::new(&error)),
        }
    }
}

impl<T: IntoOutcome> IntoOutcome for Option<T> {
    fn into_outcome(self, delivery: &Delivery, bus: &Bus) -> Outcome {
        self.map_or(Outcome::Done, |value| IntoOutcome::into_outcome(value, delivery, bus))
    }
}

/// What a handler wants sent after it has returned: [`Publish`] and [`Enqueue`], in any mixture.
#[doc(hidden)]
pub trait FollowUp {
    /// Encodes it, and adds it to what is sent.
    fn add_to(self, outgoing: &mut Outgoing, delivery: &Delivery, bus: &Bus) -> Result<(), Failure>;
}

// Only a broadcast can be put into one: a bound here, or on the type, would say so again at each mention of it.
impl<M: Message> FollowUp for Publish<M> {
    fn add_to(self, outgoing: &mut Outgoing, delivery: &Delivery, bus: &Bus) -> Result<(), Failure> {
        if self.messages.is_empty() {
            return Ok(());
        }
        outgoing.hops = hop::<M>(delivery, bus).map_err(|error| error.to_string())?;
        for message in &self.messages {
            outgoing.messages.push(enclose(message, outgoing.hops, bus).map_err(|error| error.to_string())?);
        }
        Ok(())
    }
}

// And only a task into one of these.
impl<M: Message> FollowUp for Enqueue<M> {
    fn add_to(self, outgoing: &mut Outgoing, delivery: &Delivery, bus: &Bus) -> Result<(), Failure> {
        if self.tasks.is_empty() {
            return Ok(());
        }
        outgoing.hops = hop::<M>(delivery, bus).map_err(|error| error.to_string())?;
        for Planned { channel, headers, options, message } in self.tasks {
            let options = EnqueueOptions { hops: outgoing.hops, ..options };
            let full = bus.channel(|name| name.literal(&channel));
            bus.check_address(&full, &message).map_err(|error| error.to_string())?;
            let task = bus.task(channel, &message, &headers, options).map_err(|error| error.to_string())?;
            outgoing.tasks.push(task);
        }
        Ok(())
    }
}

#[diagnostic::do_not_recommend]
impl<F: FollowUp> FollowUp for Option<F> {
    fn add_to(self, outgoing: &mut Outgoing, delivery: &Delivery, bus: &Bus) -> Result<(), Failure> {
        self.map_or(Ok(()), |follow_up| follow_up.add_to(outgoing, delivery, bus))
    }
}

#[diagnostic::do_not_recommend]
impl<F: FollowUp> FollowUp for Vec<F> {
    fn add_to(self, outgoing: &mut Outgoing, delivery: &Delivery, bus: &Bus) -> Result<(), Failure> {
        self.into_iter().try_for_each(|follow_up| follow_up.add_to(outgoing, delivery, bus))
    }
}

impl<M: Message> IntoOutcome for Publish<M> {
    fn into_outcome(self, delivery: &Delivery, bus: &Bus) -> Outcome {
        sent(|outgoing| self.add_to(outgoing, delivery, bus))
    }
}

impl<M: Message> IntoOutcome for Enqueue<M> {
    fn into_outcome(self, delivery: &Delivery, bus: &Bus) -> Outcome {
        sent(|outgoing| self.add_to(outgoing, delivery, bus))
    }
}

/// All of it or nothing: what cannot be encoded fails the delivery.
fn sent(add: impl FnOnce(&mut Outgoing) -> Result<(), Failure>) -> Outcome {
    let mut outgoing = Box::<Outgoing>::default();
    match add(&mut outgoing) {
        Ok(()) if outgoing.messages.is_empty() && outgoing.tasks.is_empty() => Outcome::Done,
        Ok(()) => Outcome::Send(outgoing),
        Err(failure) => Outcome::Failed(failure),
    }
}

/// How far what a handler returns is from the first of its chain. A task that is tried again is where it was.
pub(super) fn hop<M: Message>(delivery: &Delivery, bus: &Bus) -> Result<u32, PublishError> {
    let (hops, template) = (delivery.hops().saturating_add(1), M::TEMPLATE.text());
    match bus.config().hop_limit.filter(|&limit| hops >= limit) {
        Some(limit) => Err(PublishError::TooManyHops { template, hops, limit }),
        None => Ok(hops),
    }
}

/// Encodes a message that a handler returned, within a span of its own.
fn enclose<M: Message>(returned: &Addressed<M>, hops: u32, bus: &Bus) -> Result<Enclosed, PublishError> {
    let Addressed { channel, headers, message } = returned;
    let channel = bus.channel(|name| name.literal(channel));
    let observation = bus.observer().publish(M::TEMPLATE.text());
    let encode = || {
        bus.check_address(&channel, message)?;
        let draft = Draft { hops, ..Draft::of::<M>(channel, headers) };
        bus.encode::<M::Codec, _>(draft, written(message))
    };
    match Observation::scope(observation.as_deref(), encode) {
        Ok(parcel) => Ok(Enclosed { parcel, observation }),
        Err(error) => {
            observation.iter().for_each(|observation| observation.ended(&Err::<(), _>(&error)));
            Err(error)
        }
    }
}

#[diagnostic::do_not_recommend]
impl<F: FollowUp> IntoOutcome for Vec<F> {
    fn into_outcome(self, delivery: &Delivery, bus: &Bus) -> Outcome {
        sent(|outgoing| self.add_to(outgoing, delivery, bus))
    }
}

macro_rules! tuple_outcomes {
    ($($name:ident),*) => {
        #[diagnostic::do_not_recommend]
        impl<$($name: FollowUp),*> IntoOutcome for ($($name,)*) {
            #[allow(non_snake_case)]
            fn into_outcome(self, delivery: &Delivery, bus: &Bus) -> Outcome {
                let ($($name,)*) = self;
                sent(|outgoing| {
                    $($name.add_to(outgoing, delivery, bus)?;)*
                    Ok(())
                })
            }
        }
    };
}

tuple_outcomes!(A, B);
tuple_outcomes!(A, B, C);
tuple_outcomes!(A, B, C, D);

/// What a handler has returned. It is a type of its own so that the compiler speaks of the return value, in the words of what is asked of it there:
/// [`IntoOutcome`], [`IntoReply`], [`IntoAnswer`], and their like for tasks.
#[doc(hidden)]
#[derive(Debug)]
pub struct Returns<T>(pub T);

/// A handler's return value, where a message is answered as `K` says. The derive of the message names it.
#[doc(hidden)]
pub trait Returned<K> {
    fn into_outcome(self, delivery: &Delivery, bus: &Bus) -> Outcome;
}

/// What becomes of a return value under one kind of answer. [`Returned`] is it, seen from the value: were that implemented for each kind, every error
/// would list all of them.
#[doc(hidden)]
pub trait Takes<T> {
    fn outcome_of(returned: T, delivery: &Delivery, bus: &Bus) -> Outcome;
}

impl<T, K: Takes<T>> Returned<K> for T {
    fn into_outcome(self, delivery: &Delivery, bus: &Bus) -> Outcome {
        K::outcome_of(self, delivery, bus)
    }
}

/// Messages that nobody answers.
#[doc(hidden)]
#[derive(Debug)]
pub enum NoAnswer {}

impl Answered for NoAnswer {
    type Types = ();
    const IS_AWAITED: bool = false;
}

impl<T: IntoOutcome> Takes<Returns<T>> for NoAnswer {
    fn outcome_of(Returns(returned): Returns<T>, delivery: &Delivery, bus: &Bus) -> Outcome {
        let outcome = IntoOutcome::into_outcome(returned, delivery, bus);
        if delivery.reply_to().is_none() {
            return outcome;
        }
        acknowledge(outcome, delivery, bus)
    }
}

/// Adds the acknowledgement that the publisher waits for, behind what the handler publishes itself.
fn acknowledge(outcome: Outcome, delivery: &Delivery, bus: &Bus) -> Outcome {
    let mut outgoing = match outcome {
        Outcome::Done => Box::default(),
        Outcome::Send(outgoing) => outgoing,
        Outcome::Failed(error) => return Outcome::Refused(error),
        other => return other,
    };
    match answer::<(), NoError>(&Answer::Ok(()), delivery, bus) {
        Ok(acknowledgement) => {
            outgoing.answer = acknowledgement;
            Outcome::Send(outgoing)
        }
        Err(error) => Outcome::Failed(error.to_string().into()),
    }
}

/// Requests that are answered with a reply. `M` is the request: what it lacks, its derive says, and no handler again.
#[doc(hidden)]
#[derive(Debug)]
pub struct AnswerWith<M>(PhantomData<M>);

impl<M: Request> Answered for AnswerWith<M> {
    type Types = (M::Reply, NoError);
    const IS_AWAITED: bool = true;
}

impl<M: Request, T: IntoReply<M::Reply>> Takes<Returns<T>> for AnswerWith<M> {
    fn outcome_of(Returns(returned): Returns<T>, delivery: &Delivery, bus: &Bus) -> Outcome {
        match returned.into_reply() {
            Ok(reply) => answered(answer::<_, NoError>(&Answer::Ok(reply), delivery, bus)),
            Err(failure) => Outcome::Failed(failure),
        }
    }
}

/// Requests that are answered with a reply or with a typed error.
#[doc(hidden)]
#[derive(Debug)]
pub struct AnswerOr<M>(PhantomData<M>);

impl<M: Request> Answered for AnswerOr<M> {
    type Types = (M::Reply, M::Error);
    const IS_AWAITED: bool = true;
}

impl<M: Request, T: IntoAnswer<M::Reply, M::Error>> Takes<Returns<T>> for AnswerOr<M> {
    fn outcome_of(Returns(returned): Returns<T>, delivery: &Delivery, bus: &Bus) -> Outcome {
        match returned.into_answer() {
            Ok(Ok(reply)) => answered(answer::<_, M::Error>(&Answer::Ok(reply), delivery, bus)),
            Ok(Err(error)) => answered(answer::<M::Reply, _>(&Answer::Error(error), delivery, bus)),
            Err(failure) => Outcome::Failed(failure),
        }
    }
}

/// What a handler of a request without a typed error may return.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a handler of this request cannot return `{Self}`",
    label = "expected `{R}`, as `#[reply({R})]` says, or `Result<{R}, _>`",
    note = "any error that implements `Display` is logged here, and the requester learns only that the handler failed; to send it, name its type: `#[reply({R}, error = …)]`"
)]
pub trait IntoReply<R> {
    /// The reply, or an error that is not sent.
    fn into_reply(self) -> Result<R, Failure>;
}

#[diagnostic::do_not_recommend]
impl<R> IntoReply<R> for R {
    fn into_reply(self) -> Result<R, Failure> {
        Ok(self)
    }
}

#[diagnostic::do_not_recommend]
impl<R, X: fmt::Display> IntoReply<R> for Result<R, X> {
    fn into_reply(self) -> Result<R, Failure> {
        self.map_err(|error| Failure::new(&error))
    }
}

/// What a handler of a request with a typed error may return.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a handler of this request cannot return `{Self}`",
    label = "expected `Result<{R}, {E}>`, as `#[reply({R}, error = {E})]` says",
    note = "`{R}` alone is right too, and `Result<Result<{R}, {E}>, _>` where something else can go wrong that is not sent"
)]
pub trait IntoAnswer<R, E> {
    /// The answer, or an error that is not sent.
    fn into_answer(self) -> Result<Result<R, E>, Failure>;
}

#[diagnostic::do_not_recommend]
impl<R, E> IntoAnswer<R, E> for R {
    fn into_answer(self) -> Result<Result<R, E>, Failure> {
        Ok(Ok(self))
    }
}

#[diagnostic::do_not_recommend]
impl<R, E> IntoAnswer<R, E> for Result<R, E> {
    fn into_answer(self) -> Result<Result<R, E>, Failure> {
        Ok(self)
    }
}

#[diagnostic::do_not_recommend]
impl<R, E, X: fmt::Display> IntoAnswer<R, E> for Result<Result<R, E>, X> {
    fn into_answer(self) -> Result<Result<R, E>, Failure> {
        self.map_err(|error| Failure::new(&error))
    }
}

/// The answer to whoever asked, encoded. A request that names no inbox wants none, and one that names a channel of somebody else's gets none.
pub(crate) fn answer<R: Serialize, E: Serialize>(
    answer: &Answer<R, E>,
    delivery: &Delivery,
    bus: &Bus,
) -> Result<Option<Parcel>, PublishError> {
    answer_of(answer, &Headers::default(), delivery, bus)
}

/// An answer with headers.
pub(crate) fn answer_of<R: Serialize, E: Serialize>(
    answer: &Answer<R, E>,
    headers: &Headers,
    delivery: &Delivery,
    bus: &Bus,
) -> Result<Option<Parcel>, PublishError> {
    let Some(reply_to) = delivery.reply_to().filter(|reply_to| bus.may_answer(reply_to.channel)) else {
        return Ok(None);
    };
    let draft = Draft {
        channel: reply_to.channel.to_owned(),
        template: "replies",
        name: ANSWER.name,
        version: ANSWER.version,
        headers,
        exchange: Some(Exchange::new(reply_to.correlation_id)),
        hops: 0,
        id: None,
        deadline: None,
        payload_limit: None,
    };
    let reach = reach_of_answers(&draft.channel);
    bus.encode::<Answers, _>(draft, answer).map(|parcel| Some(Parcel { reach, ..parcel }))
}

fn answered(answer: Result<Option<Parcel>, PublishError>) -> Outcome {
    match answer {
        Ok(None) => Outcome::Done,
        Ok(answer) => Outcome::Send(Box::new(Outgoing { answer, ..Outgoing::default() })),
        Err(error) => Outcome::Failed(error.to_string().into()),
    }
}
