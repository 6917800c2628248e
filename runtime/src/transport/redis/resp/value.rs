//! Values of any kind, as they came: where one ends, and what is in it.

use crate::transport::redis::resp::{
    parts::{ProtocolError, Span, blob, header},
    skip::Skip,
};

/// Finds the end of the value that begins a read buffer, however often more of it arrives.
#[derive(Debug)]
pub(crate) struct Whole {
    skip: Skip,
    /// Up to here it was found.
    at: usize,
}

impl Whole {
    pub(crate) fn new() -> Self {
        Self { skip: Skip::value(), at: 0 }
    }

    /// Where the value ends; nothing if more bytes are needed. The buffer begins as it did before.
    ///
    /// # Errors
    ///
    /// When it is no value, or a push: a connection without subscriptions gets none.
    pub(crate) fn end(&mut self, buffer: &[u8]) -> Result<Option<usize>, ProtocolError> {
        if let Some(&kind @ b'>') = buffer.first() {
            return Err(ProtocolError::UnexpectedReply(kind));
        }
        let (end, is_whole) = self.skip.advance(buffer, self.at)?;
        self.at = end;
        Ok(is_whole.then_some(end))
    }
}

/// Walks through a whole value. `None` says that what follows is of another kind.
#[derive(Debug)]
pub(crate) struct Walk {
    at: usize,
}

impl Walk {
    pub(crate) fn new() -> Self {
        Self { at: 0 }
    }

    /// Whether a null follows. It is passed over then.
    pub(crate) fn null(&mut self, value: &[u8]) -> bool {
        match header(value, self.at) {
            Ok(header) if header.length.is_none() && matches!(header.kind, b'_' | b'*' | b'$') => {
                self.at = header.end;
                true
            }
            _ => false,
        }
    }

    /// How many values the array has that follows.
    pub(crate) fn array(&mut self, value: &[u8]) -> Option<usize> {
        self.aggregate(value, b'*')
    }

    /// How many names with values the map has that follows.
    pub(crate) fn map(&mut self, value: &[u8]) -> Option<usize> {
        self.aggregate(value, b'%')
    }

    /// Where the text is that follows.
    pub(crate) fn text(&mut self, value: &[u8]) -> Option<Span> {
        let header = header(value, self.at).ok()?;
        let (text, end) = match (header.kind, header.length) {
            (b'$', Some(length)) => blob(value, header.end, length).ok()?,
            (b'+', _) => (header.text, header.end),
            _ => return None,
        };
        self.at = end;
        Some(text)
    }

    /// The number that follows, a whole one.
    pub(crate) fn number(&mut self, value: &[u8]) -> Option<i64> {
        let header = header(value, self.at).ok().filter(|header| header.kind == b':')?;
        self.at = header.end;
        std::str::from_utf8(&value[header.text]).ok()?.parse().ok()
    }

    fn aggregate(&mut self, value: &[u8], kind: u8) -> Option<usize> {
        let header = header(value, self.at).ok().filter(|header| header.kind == kind)?;
        self.at = header.end;
        header.length
    }
}
