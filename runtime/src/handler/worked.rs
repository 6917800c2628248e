//! What a handler of a queue may return: what follows from its task, and where results are kept, its reply.

use std::{fmt, marker::PhantomData};

use serde::Serialize;

use crate::{
    bus::handle::Bus,
    handler::{
        outcome::{Failure, Outcome, Outgoing, Rule},
        returned::{FollowUp, IntoOutcome, Returns, Takes},
    },
    message::{
        delivery::Delivery,
        facts::QueueFacts,
        kind::{NoError, Results},
        older::Answered,
    },
};

/// Tasks of a queue that keeps no results.
#[doc(hidden)]
#[derive(Debug)]
pub enum Worked {}

impl Answered for Worked {
    type Types = ();
    const IS_AWAITED: bool = false;
}

impl<T: IntoOutcome> Takes<Returns<T>> for Worked {
    fn outcome_of(Returns(returned): Returns<T>, delivery: &Delivery, bus: &Bus) -> Outcome {
        returned.into_outcome(delivery, bus)
    }
}

/// Tasks whose reply is kept. `M` is the task: what it lacks, its derive says, and no handler again.
#[doc(hidden)]
#[derive(Debug)]
pub struct WorkedWith<M>(PhantomData<M>);

impl<M: Results> Answered for WorkedWith<M> {
    type Types = (M::Output, NoError);
    const IS_AWAITED: bool = true;
}

impl<M: Results, T: IntoResult<M::Output>> Takes<Returns<T>> for WorkedWith<M> {
    fn outcome_of(Returns(returned): Returns<T>, delivery: &Delivery, bus: &Bus) -> Outcome {
        match returned.into_result() {
            Ok(returned) => kept::<M, _>(returned, delivery, bus),
            Err(failure) => Outcome::Failed(failure),
        }
    }
}

/// Tasks whose reply is kept, or their typed error.
#[doc(hidden)]
#[derive(Debug)]
pub struct WorkedOr<M>(PhantomData<M>);

impl<M: Results> Answered for WorkedOr<M> {
    type Types = (M::Output, M::Error);
    const IS_AWAITED: bool = true;
}

impl<M: ResultRules, T: IntoEnd<M::Output, M::Error>> Takes<Returns<T>> for WorkedOr<M> {
    fn outcome_of(Returns(returned): Returns<T>, delivery: &Delivery, bus: &Bus) -> Outcome {
        match returned.into_end() {
            Ok(Ok(returned)) => kept::<M, _>(returned, delivery, bus),
            Ok(Err(error)) => Outcome::Ruled(failed::<M>(&error).with_rule(M::rule(&error))),
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

#[cfg(test)]
mod tests {
    use std::{error::Error, time::Duration};

    use serde::{Deserialize, Serialize, Serializer};
    use tidings::{Enqueue, Message, Outcome as Rules, Publish, handler};

    use crate::{
        bus::handle::Bus,
        handler::{
            contract::Call,
            outcome::{Outcome, Rule},
        },
        message::delivery::Delivery,
        transport::durable::task::Entry,
    };

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Resized {
        bytes: u64,
    }

    #[derive(Debug, Serialize, Deserialize, Rules, thiserror::Error)]
    enum ResizeError {
        #[outcome(retry_after = after)]
        #[error("busy")]
        Busy { after: Duration },
        #[outcome(dead_letter)]
        #[error("no image: {why}")]
        NoImage { why: String },
        #[outcome(discard)]
        #[error("not read")]
        NotRead(#[from] Unreadable),
    }

    #[derive(Debug, Serialize, Deserialize, thiserror::Error)]
    #[error("the disk is gone")]
    struct Unreadable;

    #[derive(Message, Serialize, Deserialize)]
    #[queue("tasks:resize", results = "1h", payload_limit = 100)]
    #[reply(Resized, error = ResizeError)]
    struct Resize {
        what: String,
    }

    #[derive(Message, Serialize, Deserialize)]
    #[queue("tasks:count", results = "1h", payload_limit = 200)]
    #[reply(Fragile)]
    struct Count {
        bytes: u64,
    }

    /// One that is 0 cannot be encoded.
    #[derive(Deserialize)]
    struct Fragile(u64);

    impl Serialize for Fragile {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self.0 {
                0 => Err(serde::ser::Error::custom("it is nothing")),
                bytes => "x".repeat(bytes as usize).serialize(serializer),
            }
        }
    }

    #[derive(Message, Serialize, Deserialize)]
    #[channel("resized:<bytes>")]
    struct Told {
        bytes: u64,
    }

    fn next() -> Enqueue<Count> {
        Enqueue::new(Count { bytes: 1 })
    }

    #[handler(idempotent, timeout = "1m")]
    async fn resize(task: Resize) -> Result<Result<(Resized, Enqueue<Count>), ResizeError>, Box<dyn Error>> {
        match task.what.as_str() {
            "busy" => Ok(Err(ResizeError::Busy { after: Duration::from_secs(3) })),
            "none" => Ok(Err(ResizeError::NoImage { why: "no file".to_owned() })),
            "long" => Ok(Err(ResizeError::NoImage { why: "x".repeat(100) })),
            "else" => Err("something else".into()),
            _ => Ok(Ok((Resized { bytes: 7 }, next()))),
        }
    }

    #[handler(idempotent, timeout = "1m")]
    async fn plain(task: Resize) -> Result<Resized, ResizeError> {
        if task.what.is_empty() { Err(Unreadable.into()) } else { Ok(Resized { bytes: 8 }) }
    }

    #[handler(idempotent, timeout = "1m")]
    async fn count(task: Count) -> (Fragile, Publish<Told>, Option<Enqueue<Count>>, Vec<Enqueue<Count>>) {
        let none = task.bytes == 2;
        (Fragile(task.bytes), Publish::new(Told { bytes: 1 }), (!none).then(next), vec![next(), next()])
    }

    #[handler(idempotent, timeout = "1m")]
    async fn fallible(task: Count) -> Result<Fragile, &'static str> {
        if task.bytes == 0 { Err("nothing to count") } else { Ok(Fragile(task.bytes)) }
    }

    async fn run<H: Call<()>>(channel: &str, payload: &str) -> Outcome {
        let bus = Bus::connect("memory:").await.unwrap();
        let entry = Entry::made(channel, payload);
        H::call(&(), &mut Delivery::of_entry(bus.queue_name("tasks"), entry, bus.config().format), &bus).await
    }

    async fn resizing<H: Call<()>>(what: &str) -> Outcome {
        run::<H>("tasks:resize", &format!(r#"{{"what":"{what}"}}"#)).await
    }

    async fn counting<H: Call<()>>(bytes: u64) -> Outcome {
        run::<H>("tasks:count", &format!(r#"{{"bytes":{bytes}}}"#)).await
    }

    #[track_caller]
    fn sent(outcome: Outcome) -> (String, usize, usize) {
        let Outcome::Send(outgoing) = outcome else { panic!("{outcome:?}") };
        let result = outgoing.result.clone().map(|json| String::from_utf8(json).unwrap());
        (result.expect("a result"), outgoing.messages.len(), outgoing.tasks.len())
    }

    #[track_caller]
    fn failure(outcome: Outcome) -> (Option<Rule>, String, Option<String>, String) {
        let (rule, failure) = match outcome {
            Outcome::Failed(failure) => (None, failure),
            Outcome::Ruled(failure) => (Some(failure.rule()), failure),
            other => panic!("{other:?}"),
        };
        let typed = failure.typed().map(|json| String::from_utf8(json.to_vec()).unwrap());
        (rule, failure.reason().to_owned(), typed, failure.with_causes().to_owned())
    }

    #[tokio::test]
    async fn a_reply_is_kept_alone_and_before_what_follows() {
        assert_eq!(sent(resizing::<plain>("a").await), (r#"{"bytes":8}"#.to_owned(), 0, 0));
        assert_eq!(sent(resizing::<resize>("a").await), (r#"{"bytes":7}"#.to_owned(), 0, 1));
        assert_eq!(sent(counting::<count>(1).await), (r#""x""#.to_owned(), 1, 3));
        assert_eq!(sent(counting::<count>(2).await), (r#""xx""#.to_owned(), 1, 2));
        assert_eq!(sent(counting::<fallible>(1).await), (r#""x""#.to_owned(), 0, 0));
    }

    #[tokio::test]
    async fn a_typed_error_is_kept_with_its_rule_wherever_it_stands() {
        let (rule, reason, typed, _) = failure(resizing::<resize>("none").await);
        assert_eq!((rule, reason.as_str()), (Some(Rule::DeadLetter), "no image: no file"));
        assert_eq!(typed.as_deref(), Some(r#"{"NoImage":{"why":"no file"}}"#));
        let (rule, ..) = failure(resizing::<resize>("busy").await);
        assert_eq!(rule, Some(Rule::RetryAfter(Duration::from_secs(3))));
        let (rule, reason, typed, with_causes) = failure(resizing::<plain>("").await);
        assert_eq!(
            (rule, reason.as_str(), typed.as_deref()),
            (Some(Rule::Discard), "not read", Some(r#"{"NotRead":null}"#))
        );
        assert_eq!(with_causes, "not read: the disk is gone");
    }

    #[tokio::test]
    async fn another_error_is_not_kept() {
        let (rule, reason, typed, _) = failure(resizing::<resize>("else").await);
        assert_eq!((rule, reason.as_str(), typed), (None, "something else", None));
        let (rule, reason, typed, _) = failure(counting::<fallible>(0).await);
        assert_eq!((rule, reason.as_str(), typed), (None, "nothing to count", None));
    }

    #[tokio::test]
    async fn a_reply_that_cannot_be_kept_fails_the_attempt() {
        let (rule, reason, ..) = failure(counting::<count>(0).await);
        assert_eq!((rule, reason.as_str()), (None, "the reply cannot be kept: it cannot be encoded: it is nothing"));
        let (rule, reason, ..) = failure(counting::<count>(199).await);
        let expected = "the reply cannot be kept: it has 201 bytes, and `payload_limit` of `tasks:count` is 200";
        assert_eq!((rule, reason.as_str()), (None, expected));
        sent(counting::<count>(198).await);
    }

    #[tokio::test]
    async fn the_rule_of_an_error_that_cannot_be_kept_decides_still() {
        let (rule, reason, typed, _) = failure(resizing::<resize>("long").await);
        assert_eq!((rule, typed), (Some(Rule::DeadLetter), None));
        let kept = "(the error itself cannot be kept: it has 122 bytes, and `payload_limit` of `tasks:resize` is 100)";
        assert!(reason.starts_with("no image: xxx") && reason.ends_with(kept), "{reason}");
    }
}
