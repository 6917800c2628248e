//! What a handler of a queue may return: what follows from its task, and where results are kept, its reply.

use std::{fmt, marker::PhantomData};

use serde::Serialize;

use crate::{
    bus::handle::Bus,
    handler::{
        outcome::{Failure, Outcome, Outgoing, Rule},
        returned::{FollowUp, IntoOutcome, Returned},
    },
    message::{delivery::Delivery, facts::QueueFacts, kind::Results},
};

/// Tasks of a queue that keeps no results.
#[doc(hidden)]
#[derive(Debug)]
pub enum Worked {}

impl<T: IntoOutcome> Returned<Worked> for T {
    fn into_outcome(self, delivery: &Delivery, bus: &Bus) -> Outcome {
        IntoOutcome::into_outcome(self, delivery, bus)
    }
}

/// Tasks whose reply is kept. `M` is the task: what it lacks, its derive says, and no handler again.
#[doc(hidden)]
#[derive(Debug)]
pub struct WorkedWith<M>(PhantomData<M>);

impl<M: Results, T: IntoResult<M::Output>> Returned<WorkedWith<M>> for T {
    fn into_outcome(self, delivery: &Delivery, bus: &Bus) -> Outcome {
        match self.into_result() {
            Ok(returned) => kept::<M, _>(returned, delivery, bus),
            Err(failure) => Outcome::Failed(failure),
        }
    }
}

/// Tasks whose reply is kept, or their typed error.
#[doc(hidden)]
#[derive(Debug)]
pub struct WorkedOr<M>(PhantomData<M>);

impl<M: ResultRules, T: IntoEnd<M::Output, M::Error>> Returned<WorkedOr<M>> for T {
    fn into_outcome(self, delivery: &Delivery, bus: &Bus) -> Outcome {
        match self.into_end() {
            Ok(Ok(returned)) => kept::<M, _>(returned, delivery, bus),
            Ok(Err(error)) => Outcome::Ruled(M::rule(&error), failed::<M>(&error)),
            Err(failure) => Outcome::Failed(failure),
        }
    }
}

/// What is to become of a task whose handler returned its typed error. The derive implements it where it names one.
#[doc(hidden)]
pub trait ResultRules: Results {
    fn rule(error: &Self::Error) -> Rule;
}

/// The reply, and what follows: all of it or nothing.
fn kept<M: Results, T: WithReply<M::Output>>(returned: T, delivery: &Delivery, bus: &Bus) -> Outcome {
    let mut outgoing = Box::<Outgoing>::default();
    let encoded = returned.take_apart(&mut outgoing, delivery, bus).and_then(|reply| {
        let encoded = encoded::<M, _>(&reply);
        encoded.map_err(|problem| Failure::from(format!("the reply cannot be kept: {problem}")))
    });
    match encoded {
        Ok(result) => {
            outgoing.result = Some(result);
            Outcome::Send(outgoing)
        }
        Err(failure) => Outcome::Failed(failure),
    }
}

/// The error, in words and as it is. Its rule decides, whether or not it can be kept.
fn failed<M: Results>(error: &M::Error) -> Failure {
    match encoded::<M, _>(error) {
        Ok(typed) => Failure::new(error).with_typed(typed),
        Err(problem) => Failure::new(&format_args!("{error} (the error itself cannot be kept: {problem})")),
    }
}

/// A reply or an error, as the queue keeps it.
fn encoded<M: Results, T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    let encoded = serde_json::to_vec(value).map_err(|error| format!("it cannot be encoded: {error}"))?;
    let limit = M::QUEUE.unwrap_or(QueueFacts::DEFAULT).payload_limit;
    if encoded.len() > limit {
        let (template, size) = (M::TEMPLATE.text(), encoded.len());
        return Err(format!("it has {size} bytes, and `payload_limit` of `{template}` is {limit}"));
    }
    Ok(encoded)
}

/// A reply, alone or in a tuple before what follows.
#[doc(hidden)]
pub trait WithReply<R> {
    /// The reply; what follows is encoded, and added to what is sent.
    fn take_apart(self, outgoing: &mut Outgoing, delivery: &Delivery, bus: &Bus) -> Result<R, Failure>;
}

/// What a handler of a task may return whose queue keeps results, and no typed error.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a handler of this task cannot return `{Self}`",
    label = "expected `{R}`, as `#[reply({R})]` says, or `Result<{R}, _>`",
    note = "a tuple of `{R}` and up to three of `Publish<M>` and `Enqueue<M>` is right too"
)]
pub trait IntoResult<R> {
    type Returned: WithReply<R>;

    /// What was returned, or an error that is not kept.
    fn into_result(self) -> Result<Self::Returned, Failure>;
}

/// What a handler of a task may return whose queue keeps results, and a typed error.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a handler of this task cannot return `{Self}`",
    label = "expected `Result<{R}, {E}>`, as `#[reply({R}, error = {E})]` says",
    note = "a tuple of `{R}` and up to three of `Publish<M>` and `Enqueue<M>` is right in the place of `{R}`, and `Result<Result<{R}, {E}>, _>` where something \
            else can go wrong that is not kept"
)]
pub trait IntoEnd<R, E> {
    type Returned: WithReply<R>;

    /// What was returned, or an error that is not kept.
    fn into_end(self) -> Result<Result<Self::Returned, E>, Failure>;
}

/// Written out, since only so the compiler sees that no type is two of these.
macro_rules! replies {
    ($(($returned:ty: $($follow_up:ident),*))*) => {$(
        impl<R, $($follow_up: FollowUp),*> WithReply<R> for $returned {
            #[allow(non_snake_case, unused_variables)]
            fn take_apart(self, outgoing: &mut Outgoing, delivery: &Delivery, bus: &Bus) -> Result<R, Failure> {
                replies!(@take_apart self, outgoing, delivery, bus, $($follow_up),*)
            }
        }

        #[diagnostic::do_not_recommend]
        impl<R, $($follow_up: FollowUp),*> IntoResult<R> for $returned {
            type Returned = Self;

            fn into_result(self) -> Result<Self, Failure> {
                Ok(self)
            }
        }

        #[diagnostic::do_not_recommend]
        impl<R, $($follow_up: FollowUp,)* X: fmt::Display> IntoResult<R> for Result<$returned, X> {
            type Returned = $returned;

            fn into_result(self) -> Result<$returned, Failure> {
                self.map_err(|error| Failure::new(&error))
            }
        }

        #[diagnostic::do_not_recommend]
        impl<R, E, $($follow_up: FollowUp),*> IntoEnd<R, E> for $returned {
            type Returned = Self;

            fn into_end(self) -> Result<Result<Self, E>, Failure> {
                Ok(Ok(self))
            }
        }

        #[diagnostic::do_not_recommend]
        impl<R, E, $($follow_up: FollowUp),*> IntoEnd<R, E> for Result<$returned, E> {
            type Returned = $returned;

            fn into_end(self) -> Result<Self, Failure> {
                Ok(self)
            }
        }

        #[diagnostic::do_not_recommend]
        impl<R, E, $($follow_up: FollowUp,)* X: fmt::Display> IntoEnd<R, E> for Result<Result<$returned, E>, X> {
            type Returned = $returned;

            fn into_end(self) -> Result<Result<$returned, E>, Failure> {
                self.map_err(|error| Failure::new(&error))
            }
        }
    )*};
    (@take_apart $returned:expr, $outgoing:ident, $delivery:ident, $bus:ident,) => { Ok($returned) };
    (@take_apart $returned:expr, $outgoing:ident, $delivery:ident, $bus:ident, $($follow_up:ident),+) => {{
        let (reply, $($follow_up),+) = $returned;
        $($follow_up.add_to($outgoing, $delivery, $bus)?;)+
        Ok(reply)
    }};
}

replies! {
    (R:)
    ((R, A): A)
    ((R, A, B): A, B)
    ((R, A, B, C): A, B, C)
}
