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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_value_is_found_however_it_arrives() {
        let (value, next) = (b"*2\r\n$3\r\nabc\r\n%1\r\n+k\r\n:7\r\n", b"+OK\r\n");
        let bytes = [value.as_slice(), next].concat();
        let mut whole = Whole::new();
        for arrived in 0..value.len() {
            assert_eq!(whole.end(&bytes[..arrived]), Ok(None), "{arrived}");
        }
        assert_eq!(whole.end(&bytes), Ok(Some(value.len())));
        assert_eq!(Whole::new().end(&bytes), Ok(Some(value.len())));
        assert_eq!(Whole::new().end(b">1\r\n+x\r\n"), Err(ProtocolError::UnexpectedReply(b'>')));
        assert!(Whole::new().end(b"what\r\n").is_err());
    }

    #[test]
    fn a_walk_passes_over_what_it_was_asked_for_and_over_nothing_else() {
        let value = b"*6\r\n$3\r\nabc\r\n+de\r\n:-7\r\n_\r\n%2\r\n$-1\r\n*-1\r\n";
        let mut walk = Walk::new();
        let text = |walk: &mut Walk| walk.text(value).map(|text| String::from_utf8(value[text].to_vec()).unwrap());
        assert_eq!((walk.null(value), walk.map(value), text(&mut walk), walk.number(value)), (false, None, None, None));
        assert_eq!(walk.array(value), Some(6));
        assert_eq!((walk.null(value), walk.array(value), walk.number(value)), (false, None, None));
        assert_eq!(text(&mut walk).unwrap(), "abc");
        assert_eq!((walk.null(value), walk.number(value)), (false, None));
        assert_eq!(text(&mut walk).unwrap(), "de");
        assert_eq!((walk.null(value), text(&mut walk)), (false, None));
        assert_eq!(walk.number(value), Some(-7));
        assert_eq!((walk.array(value), text(&mut walk), walk.number(value)), (None, None, None));
        assert!(walk.null(value));
        assert_eq!((walk.null(value), walk.array(value)), (false, None));
        assert_eq!(walk.map(value), Some(2));
        // Null is written in two further ways, of which neither is a text.
        for _ in 0..2 {
            assert_eq!(text(&mut walk), None);
            assert!(walk.null(value));
        }
        assert_eq!((walk.at, walk.null(value), walk.array(value)), (value.len(), false, None));
    }

    #[test]
    fn a_number_is_a_whole_one() {
        let number = |value: &[u8]| Walk::new().number(value);
        assert_eq!(number(b":0\r\n"), Some(0));
        assert_eq!(number(b":9223372036854775807\r\n"), Some(i64::MAX));
        assert_eq!([number(b":x\r\n"), number(b",1\r\n"), number(b"+1\r\n"), number(b":1")], [None; 4]);
        // Nor is what has no length, and is no null.
        assert!(!Walk::new().null(b":1\r\n") && !Walk::new().null(b"+x\r\n") && !Walk::new().null(b"*0\r\n"));
    }
}
