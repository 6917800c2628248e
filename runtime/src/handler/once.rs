//! Handlers of queues that do not run twice: what the generated code asks before such a handler runs.

use std::{sync::PoisonError, time::Duration};

use crate::{
    bus::handle::Bus,
    channel::{param::ChannelParam, text::ChannelWriter},
    handler::outcome::{OnceBefore, Outcome},
    message::{delivery::Delivery, facts::Facts, lease::Task},
    transport::durable::{
        contract::Durable,
        task::{Begun, OnceKey},
    },
};

/// A field that says which tasks are the same, for `#[handler(once = field)]`: in words of our own.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot say which tasks are the same",
    label = "a field with text of one spelling for each value is needed",
    note = "`once = field` takes an integer, a `String`, or another type that can be a parameter of a channel, such as one with `#[derive(ChannelParam)]`; \
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

/// Begins a task whose handler runs once for its id. `Some` says that it is not to run, and what came of it.
#[doc(hidden)]
pub async fn begin(facts: Facts, delivery: &Delivery, bus: &Bus, window_nanos: u64) -> Option<Outcome> {
    let task = delivery.task()?;
    let key = key(facts, &String::from(&*task.entry.id));
    begin_with(key, task, bus, window_nanos).await
}

/// Begins a task whose handler runs once for a field.
#[doc(hidden)]
pub fn begin_by<'a, T: TellsApart>(
    facts: Facts,
    delivery: &'a Delivery,
    bus: &'a Bus,
    window_nanos: u64,
    field: &T,
) -> impl Future<Output = Option<Outcome>> + Send + use<'a, T> {
    let begun = delivery.task().map(|task| (key(facts, field), task));
    async move {
        let (key, task) = begun?;
        begin_with(key, task, bus, window_nanos).await
    }
}

/// `once:<wire name>:<text>`, both parts in the encoding of channels: no two values have one key, and no value leaves its part.
fn key(facts: Facts, tells_apart: &impl TellsApart) -> String {
    let mut key = String::new();
    let mut writer = ChannelWriter::new(&mut key);
    writer.literal("once:");
    writer.param(&facts.name().to_owned());
    writer.literal(":");
    tells_apart.write_to(&mut writer);
    key
}

async fn begin_with(key: String, task: &Task, bus: &Bus, window_nanos: u64) -> Option<Outcome> {
    let note = |key| *task.once.lock().unwrap_or_else(PoisonError::into_inner) = key;
    let key = OnceKey { key, window: Duration::from_nanos(window_nanos) };
    // Noted before it is known: where no answer comes the key may hold, and is to be freed with the attempt.
    note(Some(key.clone()));
    match bus.durable().begin(&task.queue, &key, &task.entry.id, task.entry.token()).await {
        Ok(Begun::Now) => None,
        Ok(Begun::Done) => {
            note(None);
            Some(Outcome::Once(OnceBefore::Done))
        }
        Ok(Begun::Before) => {
            note(None);
            Some(Outcome::Once(OnceBefore::Unfinished))
        }
        Ok(Begun::Elsewhere) => {
            note(None);
            Some(Outcome::Once(OnceBefore::Elsewhere))
        }
        Err(error) => Some(Outcome::Failed(error.to_string().into())),
    }
}

#[cfg(test)]
mod tests {
    use crate::channel::template::Template;

    use super::*;

    #[test]
    fn no_two_values_have_one_key() {
        let key = |text: &str| key(Facts::stub(Template::new("tasks", &[])), &text.to_owned());
        assert_eq!(key("a"), "once:%_:a");
        assert_eq!(key("a:b\n"), "once:%_:a%3Ab%0A");
        assert_eq!(key(""), "once:%_:%_");
        assert_eq!(key("%_"), "once:%_:%25_");
    }
}
