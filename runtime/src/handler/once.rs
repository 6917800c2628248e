//! Handlers of queues that do not run twice: what the generated code asks before such a handler runs.

use std::{borrow::Cow, sync::PoisonError, time::Duration};

use crate::{
    bus::handle::Bus,
    channel::{param::ChannelParam, text::ChannelWriter},
    error::QueueError,
    handler::outcome::{Failure, Outcome, Rule},
    message::{delivery::Delivery, facts::Facts, lease::Task},
    transport::durable::task::{Begun, OnceKey},
};

/// When a handler is begun again, about which the server could not be asked.
const ASKED_AGAIN: Duration = Duration::from_secs(1);

/// A field that says which tasks are the same, for `#[handler(once = field)]`: in words of our own.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot say which tasks are the same",
    label = "a field with text of one spelling for each value is needed",
    note = "`once = field` takes an integer, a text, or another type that can be a parameter of a channel, such as one with `#[derive(ChannelParam)]`; \
            `once` alone takes the task's id"
)]
pub trait TellsApart {
    fn write_to(&self, key: &mut ChannelWriter<'_>);
}

#[diagnostic::do_not_recommend]
impl<P: ChannelParam> TellsApart for P {
    fn write_to(&self, key: &mut ChannelWriter<'_>) {
        key.param(self);
    }
}

/// Of a task that borrows: the same key as that of a `String`.
#[diagnostic::do_not_recommend]
impl TellsApart for &str {
    fn write_to(&self, key: &mut ChannelWriter<'_>) {
        (**self).write_to(key);
    }
}

#[diagnostic::do_not_recommend]
impl TellsApart for str {
    fn write_to(&self, key: &mut ChannelWriter<'_>) {
        key.param(&self.to_owned());
    }
}

/// A field on its way to [`once_for`]. A `Cow` of a task that borrows is no parameter of a channel, all of which live for ever, and yet a text; generated code asks,
/// where the type is known.
#[doc(hidden)]
#[derive(Debug)]
pub struct Field<'f, T>(pub &'f T);

impl<'f> Field<'f, Cow<'_, str>> {
    #[must_use]
    pub fn told(self) -> &'f str {
        self.0
    }
}

/// Any other field tells tasks apart by itself, or not at all. It comes second: where the type itself has a method, that is called.
#[doc(hidden)]
pub trait ToldByItself<'f, T> {
    fn told(self) -> &'f T;
}

impl<'f, T> ToldByItself<'f, T> for Field<'f, T> {
    fn told(self) -> &'f T {
        self.0
    }
}

/// The key of a handler that runs once for a task's id.
#[doc(hidden)]
#[must_use]
pub fn once_for_id(facts: Facts, delivery: &Delivery) -> String {
    once_for(facts, &delivery.id().unwrap_or_default().to_owned())
}

/// The key of a handler that runs once for a field: the wire name and the field's text, each encoded as in a channel. So no two values have one
/// key, and none leaves its part.
#[doc(hidden)]
#[must_use]
pub fn once_for<T: TellsApart + ?Sized>(facts: Facts, field: &T) -> String {
    let mut key = String::new();
    let mut writer = ChannelWriter::new(&mut key);
    writer.param(&facts.name().to_owned());
    writer.literal(":");
    field.write_to(&mut writer);
    key
}

/// Notes that a handler that runs once begins. `Some` says that it is not to run, and what came of the task.
#[doc(hidden)]
pub async fn begin(key: String, delivery: &Delivery, bus: &Bus, window_nanos: u64) -> Option<Outcome> {
    let Task { queue, entry, once, .. } = delivery.task()?;
    let key = OnceKey { key, window: Duration::from_nanos(window_nanos) };
    let begun = bus.durable().begin(queue, &key, &entry.id, entry.token()).await;
    let (outcome, holds) = match begun {
        Ok(Begun::Now) => (None, true),
        Ok(Begun::Done) => (Some(Outcome::DoneBefore), false),
        Ok(Begun::Before) => (Some(Outcome::Unfinished), true),
        Ok(Begun::Elsewhere) => (Some(Outcome::Elsewhere), false),
        // It may hold, and is freed with the attempt.
        Err(error) => (Some(not_begun(&error)), true),
    };
    *once.lock().unwrap_or_else(PoisonError::into_inner) = holds.then_some(key);
    outcome
}

/// That nobody could be asked is no failure of the handler's, where it passes.
fn not_begun(error: &QueueError) -> Outcome {
    let failure = Failure::new(error);
    if error.is_passing() {
        Outcome::Ruled(failure.with_rule(Rule::RetryAfter(ASKED_AGAIN)))
    } else {
        Outcome::Failed(failure)
    }
}

#[cfg(test)]
mod tests {
    use crate::channel::template::Template;

    use super::*;

    #[test]
    fn no_two_values_have_one_key() {
        let key = |text: &str| once_for(Facts::stub(Template::new("tasks", &[])), &text.to_owned());
        assert_eq!(key("a"), "%_:a");
        assert_eq!(key("a:b\n"), "%_:a%3Ab%0A");
        assert_eq!(key(""), "%_:%_");
        assert_eq!(key("%_"), "%_:%25_");
    }

    #[test]
    fn a_text_that_is_borrowed_has_the_key_of_one_that_is_owned() {
        let facts = || Facts::stub(Template::new("tasks", &[]));
        for text in ["a", "a:b\n", "", "%_"] {
            let owned = once_for(facts(), &text.to_owned());
            assert_eq!(once_for(facts(), Field(&text).told()), owned);
            for text in [Cow::Borrowed(text), Cow::Owned(text.to_owned())] {
                assert_eq!(once_for(facts(), Field(&text).told()), owned);
            }
        }
    }

    #[test]
    fn a_server_that_is_away_costs_no_attempt() {
        let queue = "tasks";
        let server = |reason: &str| QueueError::Server { queue, reason: reason.to_owned() };
        for passing in [
            QueueError::NotConnected { queue, reason: String::new() },
            QueueError::TimedOut { queue, timeout: ASKED_AGAIN },
            server("BUSY a script"),
        ] {
            let again = not_begun(&passing);
            assert!(
                matches!(again, Outcome::Ruled(failure) if failure.rule() == Rule::RetryAfter(ASKED_AGAIN)),
                "{passing}"
            );
        }
        for lasting in [server("WRONGTYPE"), QueueError::Refused { queue, reason: String::new(), rule: String::new() }]
        {
            assert!(matches!(not_begun(&lasting), Outcome::Failed(_)), "{lasting}");
        }
    }
}
