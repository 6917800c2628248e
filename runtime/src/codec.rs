//! Wire formats.

/// How a message is written. Every format is understood on receive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// The standard envelope, `{"id", "type", "timestamp", "version", "data"}`.
    #[default]
    Envelope,
    /// The message alone, as JSON.
    Plain,
}
