//! The parts of RESP3: lines, lengths, strings, headers, and their limits.

use std::ops::Range;

/// Where something is in the read buffer.
pub(crate) type Span = Range<usize>;

/// Bytes that are no RESP3, or more than a server should send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtocolError {
    #[error("a value begins with the byte {0:#04x}")]
    UnknownType(u8),
    #[error("a length is no number or out of range")]
    Length,
    #[error("a line is longer than {LINE_LIMIT} bytes or not ended properly")]
    Line,
    #[error("a string is not followed by a line end")]
    Terminator,
    #[error("values are nested deeper than {DEPTH_LIMIT} levels")]
    Depth,
    #[error("an aggregate has more than {ELEMENT_LIMIT} elements")]
    Elements,
    #[error("the name of a subscription is longer than {NAME_LIMIT} bytes")]
    Name,
    #[error("an answer of type `{}` to a command that has no such answer", *.0 as char)]
    UnexpectedReply(u8),
}

/// Redis sends no string above its `proto-max-bulk-len`, 512 MB unless it is raised.
pub(super) const BLOB_LIMIT: usize = 512 * 1024 * 1024;

/// Error replies are the longest lines; Redis cuts what it quotes in them.
pub(super) const LINE_LIMIT: usize = 16 * 1024;

/// The deepest reply that Redis is known to send here is HELLO's, with three levels.
pub(super) const DEPTH_LIMIT: usize = 8;

/// No push has more than a few elements; a list of keys in one that we never ask for may have many.
pub(super) const ELEMENT_LIMIT: usize = 1024 * 1024;

/// Why there is no value.
pub(super) enum Stop {
    /// The value needs so many bytes from the buffer's beginning: more than it has.
    Incomplete(usize),
    Protocol(ProtocolError),
}

impl From<ProtocolError> for Stop {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

#[inline]
pub(super) fn available(buffer: &[u8], end: usize) -> Result<(), Stop> {
    if buffer.len() < end { Err(Stop::Incomplete(end)) } else { Ok(()) }
}

#[inline]
pub(super) fn byte(buffer: &[u8], at: usize) -> Result<u8, Stop> {
    buffer.get(at).copied().ok_or(Stop::Incomplete(at + 1))
}

/// A length line, and where it ends. Neither null nor streamed lengths: a server sends none where this is called.
#[inline]
pub(super) fn length(buffer: &[u8], at: usize) -> Result<(usize, usize), Stop> {
    // Nearly all have up to three digits, and their end is there.
    if let Some(&[first @ b'0'..=b'9', second, third, fourth, fifth]) = buffer.get(at..).and_then(<[u8]>::first_chunk) {
        let digit = |byte: u8| usize::from(byte - b'0');
        match (second, third, fourth, fifth) {
            (b'\r', b'\n', ..) => return Ok((digit(first), at + 3)),
            (b'0'..=b'9', b'\r', b'\n', _) => return Ok((10 * digit(first) + digit(second), at + 4)),
            (b'0'..=b'9', b'0'..=b'9', b'\r', b'\n') => {
                return Ok((100 * digit(first) + 10 * digit(second) + digit(third), at + 5));
            }
            _ => {}
        }
    }
    any_length(buffer, at)
}

fn any_length(buffer: &[u8], at: usize) -> Result<(usize, usize), Stop> {
    let mut value = 0;
    // 512 MiB has nine digits.
    for index in at..at + 10 {
        match byte(buffer, index)? {
            digit @ b'0'..=b'9' => value = value * 10 + usize::from(digit - b'0'),
            b'\r' if index > at => {
                return match byte(buffer, index + 1)? {
                    b'\n' if value <= BLOB_LIMIT => Ok((value, index + 2)),
                    _ => Err(ProtocolError::Length.into()),
                };
            }
            _ => break,
        }
    }
    Err(ProtocolError::Length.into())
}

/// The bytes of a string of known length, and where the line end after them ends.
#[inline]
pub(super) fn blob(buffer: &[u8], at: usize, length: usize) -> Result<(Span, usize), Stop> {
    let end = at + length;
    available(buffer, end + 2)?;
    if &buffer[end..end + 2] == b"\r\n" { Ok((at..end, end + 2)) } else { Err(ProtocolError::Terminator.into()) }
}

/// The text of an error whose length is given at `at`, and where it ends.
pub(super) fn blob_error(buffer: &[u8], at: usize) -> Result<(Span, usize), Stop> {
    let (length, at) = length(buffer, at)?;
    if length > LINE_LIMIT {
        return Err(ProtocolError::Line.into());
    }
    blob(buffer, at, length)
}

/// The text up to the line's end, and where that ends.
pub(super) fn line(buffer: &[u8], at: usize) -> Result<(Span, usize), Stop> {
    let window = &buffer[at.min(buffer.len())..buffer.len().min(at + LINE_LIMIT)];
    match window.iter().position(|&byte| byte == b'\r') {
        Some(length) => match byte(buffer, at + length + 1)? {
            b'\n' => Ok((at..at + length, at + length + 2)),
            _ => Err(ProtocolError::Line.into()),
        },
        None if window.len() < LINE_LIMIT => Err(Stop::Incomplete(buffer.len() + 1)),
        None => Err(ProtocolError::Line.into()),
    }
}

/// The type, the number after it, and where the header ends.
pub(super) struct Header {
    pub(super) kind: u8,
    /// Of a string or aggregate; nothing for a null or a value that is a line.
    pub(super) length: Option<usize>,
    pub(super) text: Span,
    pub(super) end: usize,
}

pub(super) fn header(buffer: &[u8], at: usize) -> Result<Header, Stop> {
    let kind = byte(buffer, at)?;
    match kind {
        b'$' | b'!' | b'=' | b'*' | b'~' | b'>' | b'%' | b'|' => {
            if byte(buffer, at + 1)? == b'-' {
                available(buffer, at + 5)?;
                return match &buffer[at + 2..at + 5] {
                    b"1\r\n" => Ok(Header { kind, length: None, text: at..at, end: at + 5 }),
                    _ => Err(ProtocolError::Length.into()),
                };
            }
            let (length, end) = length(buffer, at + 1)?;
            if !matches!(kind, b'$' | b'!' | b'=') && length > ELEMENT_LIMIT {
                return Err(ProtocolError::Elements.into());
            }
            Ok(Header { kind, length: Some(length), text: at..at, end })
        }
        b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => {
            let (text, end) = line(buffer, at + 1)?;
            Ok(Header { kind, length: None, text, end })
        }
        other => Err(ProtocolError::UnknownType(other).into()),
    }
}

pub(crate) fn owned(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Far above the default limit of a bus, 512 characters: such a channel is somebody else's.
pub(super) const NAME_LIMIT: usize = 64 * 1024;
