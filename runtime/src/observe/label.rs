//! How an operation ended, in a word for spans and labels.

/// A word of a small set: it says nothing of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) text: &'static str,
    pub(crate) is_error: bool,
}

/// What nearly all operations end with.
pub(crate) const OK: Label = Label::fine("ok");

impl Label {
    pub(crate) const fn fine(text: &'static str) -> Self {
        Self { text, is_error: false }
    }

    pub(crate) const fn error(text: &'static str) -> Self {
        Self { text, is_error: true }
    }
}

/// What an operation yields.
pub(crate) trait Observed {
    fn label(&self) -> Label;
}

impl<T, E: Observed> Observed for Result<T, E> {
    fn label(&self) -> Label {
        match self {
            Ok(_) => OK,
            Err(error) => error.label(),
        }
    }
}

/// A batch fails as its first message that fails.
impl<T, E: Observed> Observed for Vec<Result<T, E>> {
    fn label(&self) -> Label {
        self.iter().map(Observed::label).find(|label| label.is_error).unwrap_or(OK)
    }
}

impl<E: Observed> Observed for &E {
    fn label(&self) -> Label {
        (**self).label()
    }
}
