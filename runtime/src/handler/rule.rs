//! What an error says of the task whose handler returned it.

use std::{rc::Rc, sync::Arc, time::Duration};

use crate::handler::outcome::Rule;

/// An error that says what is to become of the task whose handler returned it. Derive it with `#[derive(Outcome)]`: each variant has a rule, and
/// one without does not compile.
///
/// A handler of a queue may fail with any error that can be displayed. One of a type that does not implement this is tried again, as often as the
/// handler's `retries` say.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tidings::{Outcome, Rule};
///
/// #[derive(Debug, Outcome, thiserror::Error)]
/// enum ResizeError {
///     #[outcome(retry)]
///     #[error("the disk is full")]
///     DiskFull,
///     #[outcome(retry_after = after)]
///     #[error("asked to wait")]
///     Busy { after: Duration },
///     #[outcome(dead_letter)]
///     #[error("no image")]
///     NoImage,
///     #[outcome(discard)]
///     #[error("too old")]
///     TooOld,
/// }
///
/// assert_eq!(ResizeError::NoImage.rule(), Rule::DeadLetter);
/// assert_eq!(ResizeError::Busy { after: Duration::from_secs(3) }.rule(), Rule::RetryAfter(Duration::from_secs(3)));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what is to become of a task",
    label = "has no rules",
    note = "write `#[derive(tidings::Outcome)]` on `{Self}`, and a rule on each of its variants, such as `#[outcome(retry)]`"
)]
pub trait Outcome {
    /// What is to become of the task.
    fn rule(&self) -> Rule;
}

macro_rules! behind_pointers {
    ($($pointer:ty),*) => {
        $(#[diagnostic::do_not_recommend]
        impl<T: Outcome + ?Sized> Outcome for $pointer {
            fn rule(&self) -> Rule {
                T::rule(self)
            }
        })*
    };
}

behind_pointers!(&T, Box<T>, Rc<T>, Arc<T>);

/// A time after which a task is tried again, for `#[outcome(retry_after = field)]`: in words of our own.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no time after which a task could be tried again",
    label = "not a `Duration`",
    note = "`retry_after` names a field whose type is `std::time::Duration`"
)]
pub trait After: Copy {
    fn after(self) -> Duration;
}

impl After for Duration {
    fn after(self) -> Duration {
        self
    }
}

/// Called by generated code.
#[doc(hidden)]
pub fn after<T: After>(time: &T) -> Duration {
    time.after()
}
