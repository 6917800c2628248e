//! Passes over values of any size without holding them.

use crate::transport::redis::resp::parts::{DEPTH_LIMIT, ELEMENT_LIMIT, Header, ProtocolError, Stop, header};

/// How much is still to be passed over. No recursion: nesting is counted, and bounded.
#[derive(Debug)]
pub(super) struct Skip {
    /// Of the string that is being skipped, with the line end after it.
    bytes: usize,
    /// Values to come at each level, the innermost last.
    levels: [usize; DEPTH_LIMIT],
    depth: usize,
}

impl Skip {
    /// One whole value.
    pub(super) fn value() -> Self {
        let mut levels = [0; DEPTH_LIMIT];
        levels[0] = 1;
        Self { bytes: 0, levels, depth: 1 }
    }

    /// So many whole values.
    pub(super) fn values(count: usize) -> Result<Self, ProtocolError> {
        if count > 2 * ELEMENT_LIMIT {
            return Err(ProtocolError::Elements);
        }
        let mut skip = Self::value();
        skip.levels[0] = count;
        Ok(skip)
    }

    /// What is left of a string, its line end, and so many values.
    pub(super) fn rest(bytes: usize, values: usize) -> Self {
        let mut skip = Self::value();
        skip.bytes = bytes + 2;
        skip.levels[0] = values;
        skip
    }

    /// Goes on at `at`; returns up to where the buffer is used up, and whether all is skipped.
    pub(super) fn advance(&mut self, buffer: &[u8], mut at: usize) -> Result<(usize, bool), ProtocolError> {
        loop {
            at += self.string(&buffer[at..])?;
            if self.bytes > 0 {
                return Ok((at, false));
            }
            while self.depth > 0 && self.levels[self.depth - 1] == 0 {
                self.depth -= 1;
            }
            if self.depth == 0 {
                return Ok((at, true));
            }
            let header = match header(buffer, at) {
                Ok(header) => header,
                Err(Stop::Incomplete(_)) => return Ok((at, false)),
                Err(Stop::Protocol(error)) => return Err(error),
            };
            at = header.end;
            self.enter(&header)?;
        }
    }

    fn string(&mut self, bytes: &[u8]) -> Result<usize, ProtocolError> {
        let mut used = self.bytes.saturating_sub(2).min(bytes.len());
        self.bytes -= used;
        while self.bytes > 0 && used < bytes.len() {
            let expected = if self.bytes == 2 { b'\r' } else { b'\n' };
            if bytes[used] != expected {
                return Err(ProtocolError::Terminator);
            }
            used += 1;
            self.bytes -= 1;
        }
        Ok(used)
    }

    fn enter(&mut self, header: &Header) -> Result<(), ProtocolError> {
        // Attributes precede the value that they belong to and do not count as one.
        if header.kind != b'|' {
            self.levels[self.depth - 1] -= 1;
        }
        let Some(length) = header.length else { return Ok(()) };
        let elements = match header.kind {
            b'$' | b'!' | b'=' => {
                self.bytes = length + 2;
                return Ok(());
            }
            b'%' | b'|' => length * 2,
            _ => length,
        };
        if self.depth == DEPTH_LIMIT {
            return Err(ProtocolError::Depth);
        }
        self.levels[self.depth] = elements;
        self.depth += 1;
        Ok(())
    }
}
