//! What a command was answered with, or why it was not.

pub(super) type Answered = Result<Response, Unanswered>;

#[derive(Debug)]
pub(super) enum Response {
    Integer(u64),
    /// The server's words, cleaned.
    Error(String),
    /// The texts of any other answer.
    Texts(Vec<String>),
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    NotSent,
    /// The command may have been executed.
    Lost(String),
    /// The same: there was no answer in time.
    Late,
}

/// Why whoever has asked has no answer.
#[derive(Debug)]
pub(super) enum Unasked {
    /// It was not sent, for this reason.
    NotSent(String),
    /// It may have been carried out.
    Lost(String),
    /// The same: there was no answer in time.
    Late,
}
