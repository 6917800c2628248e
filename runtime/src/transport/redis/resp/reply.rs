//! What commands are answered with: numbers, errors, and the texts of anything else.

use crate::transport::redis::{
    capabilities::Capabilities,
    resp::{
        parts::{ELEMENT_LIMIT, LINE_LIMIT, ProtocolError, Span, Stop, blob, blob_error, header, length, line, owned},
        skip::Skip,
    },
    words::cleaned,
};

/// What a command is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Integer(u64),
    Error(Span),
    /// Of a value of any other kind, one after the other, however they are nested.
    Texts(Vec<String>),
}

/// The answer at `at`, and where it ends; nothing if more bytes are needed.
///
/// # Errors
///
/// When it is no value, or a push: a connection without subscriptions gets none.
pub(crate) fn reply(buffer: &[u8], mut at: usize) -> Result<Option<(Reply, usize)>, ProtocolError> {
    // What is said of an answer is no answer.
    while buffer.get(at) == Some(&b'|') {
        match attribute(buffer, at) {
            Ok(end) => at = end,
            Err(Stop::Incomplete(_)) => return Ok(None),
            Err(Stop::Protocol(error)) => return Err(error),
        }
    }
    let reply = match buffer.get(at) {
        None => return Ok(None),
        Some(b':') => length(buffer, at + 1).map(|(number, end)| (Reply::Integer(number as u64), end)),
        Some(b'-') => line(buffer, at + 1).map(|(text, end)| (Reply::Error(text), end)),
        Some(b'!') => blob_error(buffer, at + 1).map(|(text, end)| (Reply::Error(text), end)),
        Some(b'>') => Err(ProtocolError::UnexpectedReply(buffer[at]).into()),
        Some(_) => texts(buffer, at).map(|(texts, end)| (Reply::Texts(texts), end)),
    };
    match reply {
        Ok(reply) => Ok(Some(reply)),
        Err(Stop::Incomplete(_)) => Ok(None),
        Err(Stop::Protocol(error)) => Err(error),
    }
}

/// What the server answered, and where that ends.
pub(crate) type HelloAnswer = (Result<Capabilities, String>, usize);

/// The answer to HELLO: a map, or the server's error.
///
/// # Errors
///
/// When it is neither.
pub(crate) fn hello(buffer: &[u8]) -> Result<Option<HelloAnswer>, ProtocolError> {
    let answer = match buffer.first() {
        None => return Ok(None),
        Some(b'-') => line(buffer, 1).map(|(text, end)| (Err(cleaned(&buffer[text])), end)),
        Some(b'!') => blob_error(buffer, 1).map(|(text, end)| (Err(cleaned(&buffer[text])), end)),
        Some(b'%') => hello_map(buffer).map(|(capabilities, end)| (Ok(capabilities), end)),
        Some(&other) => Err(ProtocolError::UnexpectedReply(other).into()),
    };
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Stop::Incomplete(length)) if length > LINE_LIMIT => Err(ProtocolError::Line),
        Err(Stop::Incomplete(_)) => Ok(None),
        Err(Stop::Protocol(error)) => Err(error),
    }
}

fn hello_map(buffer: &[u8]) -> Result<(Capabilities, usize), Stop> {
    let mut capabilities = Capabilities::default();
    let (pairs, mut at) = length(buffer, 1)?;
    for _ in 0..pairs {
        let (key, value_at) = text(buffer, at)?;
        let (value, end) = text(buffer, value_at)?;
        match key {
            b"mode" => capabilities.mode = owned(value),
            b"role" => capabilities.role = owned(value),
            b"version" => capabilities.version = owned(value),
            _ => {}
        }
        at = end;
    }
    Ok((capabilities, at))
}

/// Where what is said of the answer after it ends.
fn attribute(buffer: &[u8], at: usize) -> Result<usize, Stop> {
    let (pairs, values) = length(buffer, at + 1)?;
    let (end, done) = Skip::values(pairs.min(ELEMENT_LIMIT + 1) * 2)?.advance(buffer, values)?;
    match done {
        true => Ok(end),
        false if buffer.len() - at > LINE_LIMIT => Err(ProtocolError::Line.into()),
        false => Err(Stop::Incomplete(buffer.len() + 1)),
    }
}

/// The texts in a value, and where it ends.
fn texts(buffer: &[u8], mut at: usize) -> Result<(Vec<String>, usize), Stop> {
    let (end, true) = Skip::value().advance(buffer, at)? else {
        // Nothing that is asked has so long an answer.
        let is_long = buffer.len() - at > LINE_LIMIT;
        return Err(if is_long { ProtocolError::Line.into() } else { Stop::Incomplete(buffer.len() + 1) });
    };
    let mut texts = Vec::new();
    while at < end {
        let header = header(buffer, at)?;
        at = header.end;
        match (header.kind, header.length) {
            (b'$' | b'!' | b'=', Some(length)) => {
                let (text, end) = blob(buffer, at, length)?;
                texts.push(owned(&buffer[text]));
                at = end;
            }
            (b'+' | b'-' | b':' | b'#' | b',' | b'(', _) => texts.push(owned(&buffer[header.text])),
            _ => {}
        }
    }
    Ok((texts, end))
}

/// A value's text, empty for an aggregate, and where the value ends.
fn text(buffer: &[u8], at: usize) -> Result<(&[u8], usize), Stop> {
    let header = header(buffer, at)?;
    match (header.kind, header.length) {
        (b'$' | b'!' | b'=', Some(length)) => blob(buffer, header.end, length).map(|(text, end)| (&buffer[text], end)),
        (_, None) => Ok((&buffer[header.text], header.end)),
        _ => match Skip::value().advance(buffer, at)? {
            (end, true) => Ok((&[], end)),
            _ => Err(Stop::Incomplete(buffer.len() + 1)),
        },
    }
}
