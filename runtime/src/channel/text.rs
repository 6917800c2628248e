//! The text of a channel, written and read segment by segment.

use std::fmt;

use crate::{
    channel::{
        encoding::{self, Encoder},
        param::{ChannelParam, RestParam},
    },
    error::AddressError,
};

/// Writes a channel: the generated code calls it segment by segment.
#[derive(Debug)]
pub struct ChannelWriter<'a> {
    channel: &'a mut String,
    wildcard: bool,
}

impl<'a> ChannelWriter<'a> {
    pub(crate) fn new(channel: &'a mut String) -> Self {
        Self { channel, wildcard: false }
    }

    /// Whether a wildcard was written: the channel is a pattern.
    pub(crate) fn is_pattern(&self) -> bool {
        self.wildcard
    }

    /// Literal segments with their separators, such as `chat:room:`.
    #[doc(hidden)]
    pub fn literal(&mut self, text: &str) {
        self.channel.push_str(text);
    }

    /// The segment of one parameter.
    #[doc(hidden)]
    pub fn param<P: ChannelParam>(&mut self, value: &P) {
        let mut encoder = Encoder::new(self.channel);
        // A `String` takes every text, so an error can only be the parameter's own; its segment then stays as it is.
        let _ = value.write(&mut encoder);
        encoder.finish();
    }

    /// The segments of a rest parameter.
    #[doc(hidden)]
    pub fn rest<P: RestParam>(&mut self, value: &P) {
        if value.items().is_empty() {
            self.channel.push_str(encoding::EMPTY_REST);
        }
        for (index, item) in value.items().iter().enumerate() {
            if index > 0 {
                self.channel.push(':');
            }
            self.param(item);
        }
    }

    pub(crate) fn any(&mut self) {
        self.channel.push('*');
        self.wildcard = true;
    }
}

/// Reads a channel segment by segment: the generated code calls it. That the channel is text is seen segment by segment too.
#[derive(Debug)]
pub struct ChannelReader<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> ChannelReader<'a> {
    #[inline]
    pub(crate) fn new(channel: &'a str) -> Self {
        Self::of_bytes(channel.as_bytes())
    }

    #[inline]
    pub(crate) fn of_bytes(channel: &'a [u8]) -> Self {
        Self { rest: Some(channel) }
    }

    #[inline]
    fn next(&mut self) -> Result<&'a [u8], AddressError> {
        let rest = self.rest.ok_or(AddressError::Mismatch)?;
        // Segments are short: a loop over the bytes is faster than `split_once`, which prepares a search.
        let Some(end) = rest.iter().position(|&byte| byte == b':') else {
            self.rest = None;
            return Ok(rest);
        };
        self.rest = Some(&rest[end + 1..]);
        Ok(&rest[..end])
    }

    /// One literal segment.
    #[doc(hidden)]
    #[inline]
    pub fn literal(&mut self, text: &str) -> Result<(), AddressError> {
        if self.next()? == text.as_bytes() { Ok(()) } else { Err(AddressError::Mismatch) }
    }

    /// The value of one parameter.
    #[doc(hidden)]
    pub fn param<P: ChannelParam>(&mut self, name: &'static str) -> Result<P, AddressError> {
        parse_segment(self.next()?, name)
    }

    /// The value of a rest parameter.
    #[doc(hidden)]
    pub fn rest<P: RestParam>(&mut self, name: &'static str) -> Result<P, AddressError> {
        let rest = self.rest.take().ok_or(AddressError::Mismatch)?;
        if rest == encoding::EMPTY_REST.as_bytes() {
            return Ok(P::from_items(Vec::new()));
        }
        let items: Result<Vec<_>, _> =
            rest.split(|&byte| byte == b':').map(|segment| parse_segment(segment, name)).collect();
        Ok(P::from_items(items?))
    }

    /// Passes a segment that the route table has compared already.
    #[doc(hidden)]
    #[inline]
    pub fn skip(&mut self) -> Result<(), AddressError> {
        self.next().map(drop)
    }

    /// Checks that the segment is the value of the message's field.
    #[doc(hidden)]
    pub fn equals<P: ChannelParam>(&mut self, name: &'static str, value: &P) -> Result<(), AddressError> {
        let segment = self.next()?;
        if value.is_in_digits(segment) {
            return Ok(());
        }
        let is_value = if encoding::is_plain(segment) {
            value.is_written_in(segment)
        } else {
            let text = encoding::decode(segment).ok_or(AddressError::Invalid { parameter: name, reason: None })?;
            value.is_written_as(&text)
        };
        if is_value { Ok(()) } else { Err(AddressError::Disagrees { parameter: name }) }
    }

    /// Checks that the remaining segments are the value of the message's field.
    #[doc(hidden)]
    pub fn rest_equals<P: RestParam>(&mut self, name: &'static str, value: &P) -> Result<(), AddressError> {
        let rest = self.rest.take().ok_or(AddressError::Mismatch)?;
        let (mut given, mut wanted) = (rest.split(|&byte| byte == b':'), value.items().iter());
        let equal = if rest == encoding::EMPTY_REST.as_bytes() {
            wanted.next().is_none()
        } else {
            let same =
                |segment, item: &P::Item| encoding::decode(segment).is_some_and(|text| item.is_written_as(&text));
            given.by_ref().all(|segment| wanted.next().is_some_and(|item| same(segment, item)))
                && wanted.next().is_none()
        };
        if equal { Ok(()) } else { Err(AddressError::Disagrees { parameter: name }) }
    }

    /// Checks that the segment is some value of a parameter that is no field.
    #[doc(hidden)]
    pub fn valid<P: ChannelParam>(&mut self, name: &'static str) -> Result<(), AddressError> {
        let text = encoding::decode(self.next()?).ok_or(AddressError::Invalid { parameter: name, reason: None })?;
        if P::is_value(&text) { Ok(()) } else { Err(AddressError::Invalid { parameter: name, reason: None }) }
    }

    /// Checks that the remaining segments are some value of a rest parameter that is no field.
    #[doc(hidden)]
    pub fn rest_valid<P: RestParam>(&mut self, name: &'static str) -> Result<(), AddressError> {
        self.rest::<P>(name).map(drop)
    }

    #[inline]
    pub(crate) fn finish(self) -> Result<(), AddressError> {
        if self.rest.is_none() { Ok(()) } else { Err(AddressError::Mismatch) }
    }
}

fn parse_segment<P: ChannelParam>(segment: &[u8], name: &'static str) -> Result<P, AddressError> {
    let text = encoding::decode(segment).ok_or(AddressError::Invalid { parameter: name, reason: None })?;
    P::parse(&text).map_err(|invalid| AddressError::Invalid { parameter: name, reason: invalid.reason() })
}

/// Whether the channel fits a pattern segment by segment: unlike in Redis, `*` never crosses a `:`, except in a final rest.
pub(crate) fn fits_pattern(pattern: &str, channel: &str, has_rest: bool) -> bool {
    let mut wanted = pattern.split(':').peekable();
    let mut given = channel.split(':');
    while let Some(want) = wanted.next() {
        let Some(segment) = given.next() else { return false };
        if want == "*" {
            if has_rest && wanted.peek().is_none() {
                return true;
            }
        } else if want != segment {
            return false;
        }
    }
    given.next().is_none()
}

/// A channel, pattern or id in `Debug`: of a long one the beginning.
#[derive(Clone, Copy)]
pub(crate) struct Shown<'a>(pub(crate) &'a str);

/// Most channels and ids are shorter.
const SHOWN: usize = 64;

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(SHOWN) {
            Some((end, _)) => write!(formatter, "{:?}…", &self.0[..end]),
            None => write!(formatter, "{:?}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use crate::channel::param::{ChannelParam, InvalidParam};

    use super::*;

    #[test]
    fn a_wildcard_stays_in_its_segment() {
        assert!(fits_pattern("order:*:created", "order:1:created", false));
        assert!(!fits_pattern("order:*:created", "order:1:eu:created", false));
        assert!(!fits_pattern("order:*", "order", false));
        assert!(fits_pattern("logs:*", "logs:a:b", true));
        assert!(!fits_pattern("logs:eu:*", "logs:us:b", true));
        assert!(fits_pattern("logs:*:*", "logs:a:b:c", true), "only the last is the rest");
        assert!(!fits_pattern("logs:*:x:*", "logs:a:y:c", true));
    }

    #[test]
    fn a_parameter_says_why_a_text_is_none_of_its_values() {
        #[derive(Clone)]
        struct Sku;

        impl ChannelParam for Sku {
            fn write(&self, text: &mut dyn fmt::Write) -> fmt::Result {
                text.write_str("SKU-1")
            }

            fn parse(text: &str) -> Result<Self, InvalidParam> {
                text.starts_with("SKU-").then_some(Self).ok_or(InvalidParam::because("a SKU begins with `SKU-`"))
            }
        }

        let error = ChannelReader::new("7").param::<Sku>("sku").err().unwrap();
        assert_eq!(error.to_string(), "the segment of `sku` is no value of its type: a SKU begins with `SKU-`");
        let error = ChannelReader::new("x").param::<u8>("id").err().unwrap();
        assert_eq!(error.to_string(), "the segment of `id` is no value of its type");
    }

    #[test]
    fn a_rest_keeps_its_segments_apart() {
        for items in [vec![], vec![String::new()], vec!["a:b".to_owned()], vec!["a".to_owned(), "b".to_owned()]] {
            let mut channel = String::from("logs:");
            ChannelWriter::new(&mut channel).rest(&items);
            let mut reader = ChannelReader::new(&channel);
            reader.literal("logs").unwrap();
            assert_eq!(reader.rest::<Vec<String>>("rest").unwrap(), items);
            reader.finish().unwrap();
        }
    }

    #[test]
    fn of_a_long_channel_the_beginning_is_shown() {
        assert_eq!(format!("{:?}", Shown("orders:\"7\"")), r#""orders:\"7\"""#);
        let (longest, longer) = ("é".repeat(64), "é".repeat(65));
        assert_eq!(format!("{:?}", Shown(&longest)), format!("{longest:?}"));
        assert_eq!(format!("{:?}", Shown(&longer)), format!("{longest:?}…"));
    }

    fn written(write: impl FnOnce(&mut ChannelWriter<'_>)) -> (String, bool) {
        let mut channel = String::new();
        let mut writer = ChannelWriter::new(&mut channel);
        write(&mut writer);
        let is_pattern = writer.is_pattern();
        (channel, is_pattern)
    }

    #[test]
    fn a_channel_with_a_wildcard_is_a_pattern() {
        let order = |writer: &mut ChannelWriter<'_>| {
            writer.literal("orders:");
            writer.param(&7_u8);
        };
        assert_eq!(written(order), ("orders:7".to_owned(), false));
        let any_order = |writer: &mut ChannelWriter<'_>| {
            writer.literal("orders:");
            writer.any();
        };
        assert_eq!(written(any_order), ("orders:*".to_owned(), true));
    }

    #[test]
    fn a_reader_passes_each_segment_once_and_knows_the_end() {
        let mut reader = ChannelReader::new("orders:7:x");
        assert_eq!(reader.literal("order"), Err(AddressError::Mismatch));
        assert_eq!(reader.param::<u8>("id"), Ok(7));
        reader.skip().unwrap();
        assert_eq!(reader.skip(), Err(AddressError::Mismatch));
        assert_eq!(reader.finish(), Ok(()));
        assert_eq!(ChannelReader::new("orders").finish(), Err(AddressError::Mismatch));
    }

    #[test]
    fn a_field_must_be_what_the_channel_says() {
        let equals = |channel, value: &str| ChannelReader::new(channel).equals("name", &value.to_owned());
        assert_eq!(equals("a%3Ab", "a:b"), Ok(()));
        assert_eq!(equals("a", "b"), Err(AddressError::Disagrees { parameter: "name" }));
        assert_eq!(equals("a b", "a b"), Err(AddressError::Invalid { parameter: "name", reason: None }));
    }

    #[test]
    fn the_fields_of_a_rest_must_be_what_the_channel_says() {
        for (channel, values, equal) in [
            ("%.", &[][..], true),
            ("a", &["a"], true),
            ("a:b%3A", &["a", "b:"], true),
            ("%.", &["a"], false),
            ("a", &[], false),
            ("a:b", &["a"], false),
            ("a", &["a", "b"], false),
            ("a:b", &["a", "c"], false),
            ("a:b", &["c", "b"], false),
            ("a: ", &["a", " "], false),
        ] {
            let values: Vec<String> = values.iter().map(|&value| value.to_owned()).collect();
            let result = ChannelReader::new(channel).rest_equals("rest", &values);
            let expected = if equal { Ok(()) } else { Err(AddressError::Disagrees { parameter: "rest" }) };
            assert_eq!(result, expected, "{channel} {values:?}");
        }
    }

    #[test]
    fn what_is_no_field_must_be_some_value() {
        let invalid = Err(AddressError::Invalid { parameter: "id", reason: None });
        let valid = |channel| ChannelReader::new(channel).valid::<u8>("id");
        assert_eq!([valid("255"), valid("256"), valid("%3")], [Ok(()), invalid.clone(), invalid.clone()]);
        let rest_valid = |channel| ChannelReader::new(channel).rest_valid::<Vec<u8>>("id");
        assert_eq!([rest_valid("%."), rest_valid("1:2"), rest_valid("1:x")], [Ok(()), Ok(()), invalid]);
    }
}
