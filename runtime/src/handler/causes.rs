//! What a handler's error says beside its words: what has caused it, for the log, and what is to become of the task.
//!
//! A handler may fail with anything that can be displayed. Where that is an error of the standard library's trait, or hands one out as
//! `anyhow::Error` and boxed errors do, its causes are told with it. Generated code asks for them: the type is known there, so the most special
//! of these traits that it has is the one that is called. Everything else says its causes itself, if at all, in its alternate form `{:#}`.
//! An error that says what is to become of a task, as `#[derive(Outcome)]` writes it, is the most special of all.

use std::error::Error;

use crate::handler::{outcome::Rule, rule::Outcome};

/// Causes that are told at most. An error may be its own cause.
const CAUSES: usize = 32;

/// What a handler has returned.
#[derive(Debug)]
#[doc(hidden)]
pub struct Returning<'a, T>(pub &'a T);

/// What an error says beside its words.
#[derive(Debug, Default)]
#[doc(hidden)]
pub struct Because {
    /// The error with its causes, where it has some.
    pub(crate) causes: Option<String>,
    /// What is to become of the task.
    pub(crate) rule: Option<Rule>,
}

/// The error is one, and has rules.
#[doc(hidden)]
pub trait OfRuledError {
    fn because(&self) -> Because;
}

impl<T, E: Error + Outcome> OfRuledError for &&&&&Returning<'_, Result<T, E>> {
    fn because(&self) -> Because {
        let error = self.0.as_ref().err();
        Because { causes: error.and_then(causes), rule: error.map(Outcome::rule) }
    }
}

/// The error has rules.
#[doc(hidden)]
pub trait OfRules {
    fn because(&self) -> Because;
}

impl<T, E: Outcome> OfRules for &&&&Returning<'_, Result<T, E>> {
    fn because(&self) -> Because {
        Because { causes: None, rule: self.0.as_ref().err().map(Outcome::rule) }
    }
}

/// The error is one.
#[doc(hidden)]
pub trait OfError {
    fn because(&self) -> Because;
}

impl<T, E: Error> OfError for &&&Returning<'_, Result<T, E>> {
    fn because(&self) -> Because {
        Because::of(self.0.as_ref().err().and_then(causes))
    }
}

/// The error hands one out.
#[doc(hidden)]
pub trait OfReport {
    fn because(&self) -> Because;
}

impl<'e, T, E: AsRef<dyn Error + 'e>> OfReport for &&Returning<'_, Result<T, E>> {
    fn because(&self) -> Because {
        Because::of(self.0.as_ref().err().and_then(|error| causes(error.as_ref())))
    }
}

/// The error hands one out that may be sent.
#[doc(hidden)]
pub trait OfSendReport {
    fn because(&self) -> Because;
}

impl<'e, T, E: AsRef<dyn Error + Send + Sync + 'e>> OfSendReport for &Returning<'_, Result<T, E>> {
    fn because(&self) -> Because {
        Because::of(self.0.as_ref().err().and_then(|error| causes(error.as_ref())))
    }
}

/// Nothing is known of it.
#[doc(hidden)]
pub trait OfAnything {
    fn because(&self) -> Because;
}

impl<T> OfAnything for Returning<'_, T> {
    fn because(&self) -> Because {
        Because::default()
    }
}

impl Because {
    /// Of an error without rules.
    pub(crate) fn of(causes: Option<String>) -> Self {
        Self { causes, rule: None }
    }
}

/// The error and its causes, from the outside in; `None` where it has none. What an error repeats of its cause is told once.
pub(crate) fn causes<E: Error + ?Sized>(error: &E) -> Option<String> {
    let mut cause = Some(error.source()?);
    let mut told = error.to_string();
    for _ in 0..CAUSES {
        let Some(error) = cause else { return Some(told) };
        let text = error.to_string();
        if !told.ends_with(&text) {
            told.push_str(": ");
            told.push_str(&text);
        }
        cause = error.source();
    }
    told.push_str(": …");
    Some(told)
}

#[cfg(test)]
mod tests {
    use std::{fmt, io};

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no order")]
    struct NoOrder(#[from] NoRow);

    #[derive(Debug, thiserror::Error)]
    #[error("no row")]
    struct NoRow(#[from] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("twice: {0}")]
    struct Repeats(#[from] NoRow);

    fn no_row() -> NoRow {
        NoRow(io::Error::other("the disk is gone"))
    }

    macro_rules! causes_of {
        ($error:expr) => {
            (&&&&&&Returning(&Err::<(), _>($error))).because().causes
        };
    }

    #[test]
    fn errors_are_told_with_their_causes_whatever_they_are_kept_in() {
        let expected = Some("no order: no row: the disk is gone".to_owned());
        assert_eq!(causes_of!(NoOrder(no_row())), expected);
        assert_eq!(causes_of!(Box::new(NoOrder(no_row()))), expected);
        assert_eq!(causes_of!(Box::<dyn Error>::from(NoOrder(no_row()))), expected);
        assert_eq!(causes_of!(Box::<dyn Error + Send + Sync>::from(NoOrder(no_row()))), expected);
        assert_eq!(causes_of!(std::sync::Arc::new(NoOrder(no_row()))), expected);
    }

    #[test]
    fn what_has_no_cause_or_is_no_error_is_told_as_it_is() {
        assert_eq!(causes_of!("text"), None);
        assert_eq!(causes_of!(String::from("text")), None);
        assert_eq!(causes_of!(fmt::Error), None);
        assert_eq!(Returning(&7).because().causes, None);
        assert_eq!((&&&&Returning(&Ok::<(), NoRow>(()))).because().causes, None);
    }

    #[test]
    fn rules_are_found_beside_causes_and_without() {
        #[derive(Debug, thiserror::Error)]
        #[error("no order")]
        struct Ruled(#[from] NoRow);

        impl Outcome for Ruled {
            fn rule(&self) -> Rule {
                Rule::DeadLetter
            }
        }

        #[derive(Debug)]
        struct NoError;

        impl Outcome for NoError {
            fn rule(&self) -> Rule {
                Rule::Discard
            }
        }

        let because = (&&&&&&Returning(&Err::<(), _>(Ruled(no_row())))).because();
        assert_eq!(because.rule, Some(Rule::DeadLetter));
        assert_eq!(because.causes.as_deref(), Some("no order: no row: the disk is gone"));
        let because = (&&&&&Returning(&Err::<(), _>(NoError))).because();
        assert_eq!((because.rule, because.causes), (Some(Rule::Discard), None));
        assert_eq!((&&&&&Returning(&Err::<(), _>(Box::new(NoError)))).because().rule, Some(Rule::Discard));
        assert_eq!((&&&&Returning(&Err::<(), _>(no_row()))).because().rule, None);
        assert_eq!((&&&&&&Returning(&Ok::<(), Ruled>(()))).because().rule, None);
    }

    #[test]
    fn what_is_repeated_is_told_once_and_a_circle_ends() {
        assert_eq!(causes_of!(Repeats(no_row())), Some("twice: no row: the disk is gone".to_owned()));

        #[derive(Debug)]
        struct Circle;

        impl fmt::Display for Circle {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("around")
            }
        }

        impl Error for Circle {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&Self)
            }
        }

        assert_eq!(causes(&Circle), Some("around: …".to_owned()));
    }

    #[test]
    fn an_error_may_borrow() {
        #[derive(Debug)]
        struct Borrows<'a>(&'a str);

        impl fmt::Display for Borrows<'_> {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.0)
            }
        }

        impl Error for Borrows<'_> {}

        fn boxed<'a>(text: &'a str) -> Box<dyn Error + 'a> {
            Box::new(Borrows(text))
        }

        let text = String::from("text");
        assert_eq!(causes_of!(Borrows(&text)), None);
        assert_eq!(causes_of!(boxed(&text)), None);
    }
}
