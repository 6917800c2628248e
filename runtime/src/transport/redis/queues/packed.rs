//! Reads what scripts answer: everything in one text, as `cmsgpack` packs it. The crate's parser has one value to make of it, and payloads are
//! slices of it.
//!
//! <https://github.com/msgpack/msgpack/blob/master/spec.md>

use std::ops::Range;

use bytes::Bytes;

/// From this size on a payload is a slice of what was read, and holds that. What is smaller is copied: it would hold a whole buffer for as long as
/// its task runs.
const SHARED: usize = 32 * 1024;

/// A payload of an answer.
pub(super) fn payload(answer: &Bytes, range: Range<usize>) -> Bytes {
    if range.len() < SHARED { Bytes::copy_from_slice(&answer[range]) } else { answer.slice(range) }
}

/// An answer that is read from its beginning. `None` says that it is none of ours.
pub(super) struct Packed {
    bytes: Bytes,
    at: usize,
}

impl Packed {
    pub(super) fn new(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), at: 0 }
    }

    /// Whether it is an empty array.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self.bytes.as_ref(), [0x90 | 0x80])
    }

    /// Whether it is an array of one short text, and this.
    pub(super) fn is_only(&self, text: &str) -> bool {
        let [0x91, tag, rest @ ..] = self.bytes.as_ref() else { return false };
        usize::from(*tag) == 0xa0 + text.len() && rest == text.as_bytes()
    }

    /// How many values the array has that follows.
    pub(super) fn array(&mut self) -> Option<usize> {
        match self.byte()? {
            tag @ 0x90..=0x9f => Some(usize::from(tag & 0x0f)),
            0xdc => self.length(2),
            0xdd => self.length(4),
            // An empty table may be one of names.
            0x80 => Some(0),
            _ => None,
        }
    }

    /// Where the text is that follows.
    pub(super) fn text(&mut self) -> Option<Range<usize>> {
        let length = match self.byte()? {
            tag @ 0xa0..=0xbf => usize::from(tag & 0x1f),
            0xd9 => self.length(1)?,
            0xda => self.length(2)?,
            0xdb => self.length(4)?,
            _ => return None,
        };
        let start = self.at;
        self.at = start.checked_add(length).filter(|&end| end <= self.bytes.len())?;
        Some(start..self.at)
    }

    pub(super) fn str(&mut self) -> Option<&str> {
        let range = self.text()?;
        std::str::from_utf8(&self.bytes[range]).ok()
    }

    pub(super) fn string(&mut self) -> Option<String> {
        let range = self.text()?;
        Some(String::from_utf8_lossy(&self.bytes[range]).into_owned())
    }

    /// The number that follows, a whole one.
    pub(super) fn number(&mut self) -> Option<i64> {
        let signed = |value: Option<u64>, bits: u32| value.map(|value| (value as i64) << (64 - bits) >> (64 - bits));
        match self.byte()? {
            tag @ 0x00..=0x7f => Some(i64::from(tag)),
            tag @ 0xe0..=0xff => Some(i64::from(tag as i8)),
            0xcc => self.unsigned(1).map(|value| value as i64),
            0xcd => self.unsigned(2).map(|value| value as i64),
            0xce => self.unsigned(4).map(|value| value as i64),
            0xcf => self.unsigned(8).map(|value| value as i64),
            0xd0 => signed(self.unsigned(1), 8),
            0xd1 => signed(self.unsigned(2), 16),
            0xd2 => signed(self.unsigned(4), 32),
            0xd3 => signed(self.unsigned(8), 64),
            0xca => self.unsigned(4).map(|bits| f32::from_bits(bits as u32) as i64),
            0xcb => self.unsigned(8).map(|bits| f64::from_bits(bits) as i64),
            _ => None,
        }
    }

    /// Whether a number follows, and no text or array.
    pub(super) fn is_number(&self) -> bool {
        self.bytes.get(self.at).is_some_and(|tag| matches!(tag, 0x00..=0x7f | 0xca..=0xd3 | 0xe0..=0xff))
    }

    pub(super) fn get(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    pub(super) fn keep(&self, range: Range<usize>) -> Bytes {
        payload(&self.bytes, range)
    }

    /// Writes an array of texts, as it is read here and by scripts.
    pub(super) fn write(texts: &[&[u8]]) -> Vec<u8> {
        let mut packed = Vec::with_capacity(5 + texts.iter().map(|text| text.len() + 5).sum::<usize>());
        match u8::try_from(texts.len()) {
            Ok(length) if length < 16 => packed.push(0x90 | length),
            _ => write_length(&mut packed, 0xdd, texts.len()),
        }
        for text in texts {
            match u8::try_from(text.len()) {
                Ok(length) if length < 32 => packed.push(0xa0 | length),
                _ => write_length(&mut packed, 0xdb, text.len()),
            }
            packed.extend_from_slice(text);
        }
        packed
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn unsigned(&mut self, size: usize) -> Option<u64> {
        let bytes = self.bytes.get(self.at..self.at + size)?;
        self.at += size;
        Some(bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    fn length(&mut self, size: usize) -> Option<usize> {
        self.unsigned(size).and_then(|length| usize::try_from(length).ok())
    }
}

fn write_length(packed: &mut Vec<u8>, tag: u8, length: usize) {
    packed.push(tag);
    packed.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        for length in [0, 1, 15, 16, 70_000] {
            let text = "x".repeat(length);
            let mut packed = Packed::new(Packed::write(&vec![text.as_bytes(); length.min(100)]));
            assert_eq!(packed.array(), Some(length.min(100)));
            assert!((0..length.min(100)).all(|_| packed.str() == Some(&text)));
            assert_eq!(packed.byte(), None);
        }
    }

    #[test]
    fn reads_what_was_packed_and_nothing_beyond() {
        let mut packed = Packed::new(vec![
            0x95, 0xa2, b'a', b'b', 0xcd, 1, 0, 0xff, 0xcf, 0, 0, 1, 0x8f, 0xff, 0xff, 0xff, 0xff, 0x90,
        ]);
        assert_eq!(packed.array(), Some(5));
        assert_eq!(packed.str(), Some("ab"));
        assert!(packed.is_number());
        assert_eq!((packed.number(), packed.number()), (Some(256), Some(-1)));
        assert_eq!(packed.number(), Some(0x0000_018f_ffff_ffff));
        assert_eq!((packed.array(), packed.array()), (Some(0), None));
        assert_eq!(Packed::new(vec![0xdb, 0xff, 0xff, 0xff, 0xff]).text(), None);
        assert_eq!(Packed::new(vec![0xd9]).text(), None);
        assert_eq!(Packed::new(vec![0xd1, 0xff, 0x00]).number(), Some(-256));
    }
}
