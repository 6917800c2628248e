//! The injective encoding of one segment: no value leaves its segment, opens a glob or moves a cluster slot.
//!
//! `% : * ? [ ] \ { }`, white space and control characters are percent-encoded byte by byte. The empty text is `%_`, a rest
//! without segments is `%.`; neither is a percent-encoding, so no other value can have them. Decoding accepts exactly what
//! encoding produces: every value has one spelling, and every spelling one value.

use std::{borrow::Cow, fmt};

/// The empty text.
pub(crate) const EMPTY: &str = "%_";
/// A `<rest..>` without segments.
pub(crate) const EMPTY_REST: &str = "%.";

const UPPER_HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Writes plain text into a channel, encoded.
pub(crate) struct Encoder<'a> {
    channel: &'a mut String,
    start: usize,
}

impl<'a> Encoder<'a> {
    pub(crate) fn new(channel: &'a mut String) -> Self {
        let start = channel.len();
        Self { channel, start }
    }

    /// Marks a segment into which nothing was written.
    pub(crate) fn finish(self) {
        if self.channel.len() == self.start {
            self.channel.push_str(EMPTY);
        }
    }
}

impl fmt::Write for Encoder<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.bytes().all(is_plain_ascii) {
            self.channel.push_str(text);
            return Ok(());
        }
        for character in text.chars() {
            if needs_encoding(character) {
                let mut buffer = [0; 4];
                for byte in character.encode_utf8(&mut buffer).bytes() {
                    self.channel.push('%');
                    self.channel.push(char::from(UPPER_HEX[usize::from(byte >> 4)]));
                    self.channel.push(char::from(UPPER_HEX[usize::from(byte & 15)]));
                }
            } else {
                self.channel.push(character);
            }
        }
        Ok(())
    }
}

/// For each byte, whether it stands for itself in a segment: a look where several comparisons would be made for every byte that arrives.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        plain[byte as usize] = is_plain_ascii(byte);
        byte += 1;
    }
    plain
};

/// Whether a segment is ASCII, and its own plain text.
#[inline]
pub(crate) fn is_plain(segment: &[u8]) -> bool {
    !segment.is_empty() && segment.iter().all(|&byte| PLAIN[usize::from(byte)])
}

/// The plain text of a segment, or `None` when no value is encoded like that.
pub(crate) fn decode(segment: &[u8]) -> Option<Cow<'_, str>> {
    let segment = str::from_utf8(segment).ok().filter(|segment| !segment.is_empty())?;
    if is_plain(segment.as_bytes()) {
        return Some(Cow::Borrowed(segment));
    }
    if segment == EMPTY {
        return Some(Cow::Borrowed(""));
    }
    if !segment.contains('%') {
        return segment.chars().all(|character| !needs_encoding(character)).then_some(Cow::Borrowed(segment));
    }
    decode_escapes(segment).map(Cow::Owned)
}

fn decode_escapes(segment: &str) -> Option<String> {
    let bytes = segment.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        if bytes[index] == b'%' {
            let (high, low) = (hex(*bytes.get(index + 1)?)?, hex(*bytes.get(index + 2)?)?);
            plain.push(high << 4 | low);
            index += 3;
        } else {
            plain.push(bytes[index]);
            index += 1;
        }
    }
    let plain = String::from_utf8(plain).ok()?;
    // Only the one spelling that encoding produces: anything else would give two channels to one value.
    let mut again = String::with_capacity(segment.len());
    let mut encoder = Encoder::new(&mut again);
    fmt::Write::write_str(&mut encoder, &plain).ok()?;
    (again == segment).then_some(plain)
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

const fn is_plain_ascii(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'%' | b':' | b'*' | b'?' | b'[' | b']' | b'\\' | b'{' | b'}')
}

fn needs_encoding(character: char) -> bool {
    match u8::try_from(character) {
        Ok(byte) if byte.is_ascii() => !is_plain_ascii(byte),
        _ => character.is_whitespace() || character.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn encode(text: &str) -> String {
        let mut channel = String::new();
        let mut encoder = Encoder::new(&mut channel);
        encoder.write_str(text).unwrap();
        encoder.finish();
        channel
    }

    #[test]
    fn special_characters_stay_in_their_segment() {
        for (plain, encoded) in [
            ("", "%_"),
            ("a:b", "a%3Ab"),
            ("*", "%2A"),
            ("{x}", "%7Bx%7D"),
            ("50%", "50%25"),
            ("a b\n", "a%20b%0A"),
            ("\u{a0}", "%C2%A0"),
            ("grün", "grün"),
            ("%_", "%25_"),
        ] {
            assert_eq!(encode(plain), encoded);
            assert_eq!(decode(encoded.as_bytes()).as_deref(), Some(plain));
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for segment in ["", "a b", "%41", "%3a", "%", "%2", "%ZZ", "%FF", "%.", "x%_", "a*", "\u{a0}"] {
            assert_eq!(decode(segment.as_bytes()), None, "{segment:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn every_text_comes_back(plain in "\\PC*|(?s).{0,40}|[:*?\\[\\]\\\\{}% a]{0,12}") {
            let encoded = encode(&plain);
            let decoded = decode(encoded.as_bytes());
            prop_assert_eq!(decoded.as_deref(), Some(plain.as_str()));
            let stays = |byte: u8| !b":*?[]\\{} \r\n\0".contains(&byte);
            prop_assert!(encoded.bytes().all(stays));
        }

        #[test]
        fn no_two_texts_share_a_segment(left in "[:%_.a0-9A-F]{0,5}", right in "[:%_.a0-9A-F]{0,5}") {
            prop_assert_eq!(left == right, encode(&left) == encode(&right));
        }
    }
}
