//! What a subscription connection receives.

use crate::transport::{
    inbox::HEAD_KEPT,
    redis::resp::{
        parts::{
            BLOB_LIMIT, ELEMENT_LIMIT, NAME_LIMIT, ProtocolError, Span, Stop, available, blob, blob_error, byte,
            length, line,
        },
        skip::Skip,
    },
    registry::standing::Verb,
    status::NameKind,
};

/// Something that the server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scanned {
    Message {
        by: By,
        channel: Span,
        payload: Span,
    },
    /// A message that is too large, of which the head of the payload is left: an answer says there whom it is for. The channel is cut at
    /// [`NAME_KEPT`] bytes if it was the channel's name that is, and there is no head then.
    Oversized {
        by: By,
        channel: Span,
        head: Span,
        size: usize,
    },
    /// The server did, or undid, a subscription.
    Confirmation {
        verb: Verb,
        kind: NameKind,
        name: Span,
    },
    /// A simple string: the answer to PING.
    Reply(Span),
    /// An error: the answer to the oldest command that has none.
    Error(Span),
    /// A push of a kind that was not asked for begins here.
    Foreign,
    /// Something that concerns nobody, or a part of it.
    Skipped,
}

/// The kind of subscription that delivered a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Channel,
    ShardChannel,
    Pattern(Span),
}

impl By {
    /// The name that was subscribed, of a message on `channel`.
    pub(crate) fn name(self, channel: &Span) -> (NameKind, Span) {
        match self {
            Self::Channel => (NameKind::Channel, channel.clone()),
            Self::ShardChannel => (NameKind::ShardChannel, channel.clone()),
            Self::Pattern(pattern) => (NameKind::Pattern, pattern),
        }
    }
}

/// So much of a longer name is shown.
pub(super) const NAME_KEPT: usize = 256;

/// Finds the next value in the read buffer, and passes over what is too large or concerns nobody.
#[derive(Debug)]
pub(crate) struct Scanner {
    payload_limit: usize,
    /// Bytes from the next value's beginning without which scanning it again is in vain.
    needed: usize,
    pub(super) skip: Option<Skip>,
}

impl Scanner {
    pub(crate) fn new(payload_limit: usize) -> Self {
        Self { payload_limit: payload_limit.min(BLOB_LIMIT), needed: 1, skip: None }
    }

    /// How many bytes from the next value's beginning the buffer must be able to hold.
    pub(crate) fn needed(&self) -> usize {
        self.needed
    }

    /// What begins at `start`, and where it ends; nothing if more bytes are needed. The caller continues there.
    ///
    /// # Errors
    ///
    /// After an error the position in the stream is unknown: the connection is of no further use.
    pub(crate) fn next(&mut self, buffer: &[u8], start: usize) -> Result<Option<(Scanned, usize)>, ProtocolError> {
        if buffer.len() - start < self.needed {
            return Ok(None);
        }
        if let Some(skip) = &mut self.skip {
            let (end, done) = skip.advance(buffer, start)?;
            if done {
                self.skip = None;
            }
            // A header that is cut off stays in the buffer; it is scanned again with every read, but it is short.
            self.needed = if end == start && !done { buffer.len() - start + 1 } else { 1 };
            return Ok((end > start || done).then_some((Scanned::Skipped, end)));
        }
        match self.value(buffer, start) {
            Ok(scanned) => {
                self.needed = 1;
                Ok(Some(scanned))
            }
            Err(Stop::Incomplete(length)) => {
                self.needed = length - start;
                Ok(None)
            }
            Err(Stop::Protocol(error)) => Err(error),
        }
    }

    fn value(&mut self, buffer: &[u8], start: usize) -> Result<(Scanned, usize), Stop> {
        const PATTERN_MESSAGE: &[u8] = b">4\r\n$8\r\npmessage\r\n";
        const MESSAGE: &[u8] = b">3\r\n$7\r\nmessage\r\n";
        const SHARD_MESSAGE: &[u8] = b">3\r\n$8\r\nsmessage\r\n";
        let bytes = &buffer[start..];
        if bytes.starts_with(PATTERN_MESSAGE) {
            return self.message(buffer, start + PATTERN_MESSAGE.len(), NameKind::Pattern);
        }
        if bytes.starts_with(MESSAGE) {
            return self.message(buffer, start + MESSAGE.len(), NameKind::Channel);
        }
        if bytes.starts_with(SHARD_MESSAGE) {
            return self.message(buffer, start + SHARD_MESSAGE.len(), NameKind::ShardChannel);
        }
        match bytes[0] {
            b'>' => self.push(buffer, start),
            b'+' => line(buffer, start + 1).map(|(text, end)| (Scanned::Reply(text), end)),
            b'-' => line(buffer, start + 1).map(|(text, end)| (Scanned::Error(text), end)),
            b'!' => blob_error(buffer, start + 1).map(|(text, end)| (Scanned::Error(text), end)),
            b'|' => {
                // Attributes: pairs that say something of the value after them.
                let (pairs, end) = length(buffer, start + 1)?;
                self.skip = Some(Skip::values(pairs.min(ELEMENT_LIMIT + 1) * 2)?);
                Ok((Scanned::Skipped, end))
            }
            kind @ (b'$' | b'=' | b'*' | b'~' | b'%' | b':' | b'_' | b'#' | b',' | b'(') => {
                Err(ProtocolError::UnexpectedReply(kind).into())
            }
            other => Err(ProtocolError::UnknownType(other).into()),
        }
    }

    fn push(&mut self, buffer: &[u8], start: usize) -> Result<(Scanned, usize), Stop> {
        let (elements, at) = length(buffer, start + 1)?;
        let kind = match (elements, byte(buffer, at)?) {
            (2.., b'$') => {
                let (length, at) = length(buffer, at + 1)?;
                // `punsubscribe`, the longest that is known, has 12.
                if length <= 16 { Some(blob(buffer, at, length)?) } else { None }
            }
            _ => None,
        };
        let Some((kind, at)) = kind else { return Ok(self.foreign(start)) };
        let (verb, kind) = match (&buffer[kind], elements) {
            (b"message", 3) => return self.message(buffer, at, NameKind::Channel),
            (b"smessage", 3) => return self.message(buffer, at, NameKind::ShardChannel),
            (b"pmessage", 4) => return self.message(buffer, at, NameKind::Pattern),
            (b"subscribe", 3) => (Verb::Subscribe, NameKind::Channel),
            (b"ssubscribe", 3) => (Verb::Subscribe, NameKind::ShardChannel),
            (b"psubscribe", 3) => (Verb::Subscribe, NameKind::Pattern),
            (b"unsubscribe", 3) => (Verb::Unsubscribe, NameKind::Channel),
            (b"sunsubscribe", 3) => (Verb::Unsubscribe, NameKind::ShardChannel),
            (b"punsubscribe", 3) => (Verb::Unsubscribe, NameKind::Pattern),
            // Of a kind of subscription that is never made: a key changes.
            (b"invalidate", _) => return Ok(self.skipped(start)),
            _ => return Ok(self.foreign(start)),
        };
        if byte(buffer, at)? != b'$' {
            // UNSUBSCRIBE without names, which is never sent, is confirmed with a null.
            return Ok(self.skipped(start));
        }
        let (length, at) = length(buffer, at + 1)?;
        // No name that was asked for is so long.
        if length > NAME_LIMIT {
            return Err(ProtocolError::Name.into());
        }
        let (name, at) = blob(buffer, at, length)?;
        match byte(buffer, at)? {
            b':' => line(buffer, at + 1).map(|(_, end)| (Scanned::Confirmation { verb, kind, name }, end)),
            _ => Err(ProtocolError::Length.into()),
        }
    }

    /// Whether it is to be skipped is the caller's decision.
    fn foreign(&mut self, start: usize) -> (Scanned, usize) {
        let (_, end) = self.skipped(start);
        (Scanned::Foreign, end)
    }

    /// The value at `start` is skipped from the next call on.
    fn skipped(&mut self, start: usize) -> (Scanned, usize) {
        self.skip = Some(Skip::value());
        (Scanned::Skipped, start)
    }

    fn message(&mut self, buffer: &[u8], at: usize, kind: NameKind) -> Result<(Scanned, usize), Stop> {
        let (by, at) = match kind {
            NameKind::Channel => (By::Channel, at),
            NameKind::ShardChannel => (By::ShardChannel, at),
            NameKind::Pattern => {
                let (length, at) = blob_length(buffer, at)?;
                if length > NAME_LIMIT {
                    return Err(ProtocolError::Name.into());
                }
                let (pattern, at) = blob(buffer, at, length)?;
                (By::Pattern(pattern), at)
            }
        };
        let (length, at) = blob_length(buffer, at)?;
        if length > NAME_LIMIT {
            let end = at + NAME_KEPT;
            available(buffer, end)?;
            // The rest of the name, and the payload.
            self.skip = Some(Skip::rest(length - NAME_KEPT, 1));
            return Ok((Scanned::Oversized { by, channel: at..end, head: end..end, size: length }, end));
        }
        let (channel, at) = blob(buffer, at, length)?;
        let (size, at) = blob_length(buffer, at)?;
        // What a shard channel carries begins with the channel of its message, whose payload is measured by whoever takes it apart.
        let limit = self.payload_limit + if by == By::ShardChannel { NAME_LIMIT } else { 0 };
        if size > limit {
            let kept = size.min(HEAD_KEPT);
            let end = at + kept;
            available(buffer, end)?;
            self.skip = Some(Skip::rest(size - kept, 0));
            return Ok((Scanned::Oversized { by, channel, head: at..end, size }, end));
        }
        let (payload, end) = blob(buffer, at, size)?;
        Ok((Scanned::Message { by, channel, payload }, end))
    }
}

fn blob_length(buffer: &[u8], at: usize) -> Result<(usize, usize), Stop> {
    match byte(buffer, at)? {
        b'$' => length(buffer, at + 1),
        _ => Err(ProtocolError::Length.into()),
    }
}
