//! Addresses: channels with typed parameters, written and read segment by segment.

use std::{fmt, ops::Deref};

use crate::{
    channel::{
        encoding::{self, Encoder},
        param::{ChannelParam, RestParam},
        shape::Shape,
        template::Segment,
    },
    error::AddressError,
    message::Message,
};

/// A concrete channel of messages of type `M`, with its parameters as typed fields.
///
/// `M::channel(…)` makes one, and a handler may take one: `address: Address<ChatEvent>` then has `address.room`.
/// Its text is injective: two addresses with different parameters never share a channel.
pub struct Address<M: Message> {
    params: M::Params,
}

impl<M: Message> Address<M> {
    #[doc(hidden)]
    #[must_use]
    pub fn from_params(params: M::Params) -> Self {
        Self { params }
    }

    /// Reads an address from a channel's text.
    ///
    /// # Errors
    ///
    /// [`AddressError`] when the channel does not match the template of `M`.
    pub fn parse(channel: &str) -> Result<Self, AddressError> {
        let mut reader = ChannelReader::new(channel);
        let params = M::Params::read(&mut reader)?;
        reader.finish()?;
        Ok(Self { params })
    }
}

impl<M: Message> Deref for Address<M> {
    type Target = M::Params;

    fn deref(&self) -> &M::Params {
        &self.params
    }
}

impl<M: Message> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self { params: self.params.clone() }
    }
}

impl<M: Message> PartialEq for Address<M> {
    fn eq(&self, other: &Self) -> bool {
        // The text is injective: the parameters need not be comparable themselves.
        self.to_string() == other.to_string()
    }
}

impl<M: Message> fmt::Display for Address<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut channel = String::new();
        self.params.write(&mut ChannelWriter::new(&mut channel));
        formatter.write_str(&channel)
    }
}

impl<M: Message> fmt::Debug for Address<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Address({self})")
    }
}

/// What can be subscribed to: an [`Address`], or a pattern that `M::any()` makes.
///
/// Implemented by addresses and by the generated patterns only.
#[diagnostic::on_unimplemented(
    message = "`{Self}` says nothing about which channels of `{M}` to subscribe to",
    label = "neither an address nor a pattern of `{M}`",
    note = "write `{M}::channel(…)` for one channel, or `{M}::any()` for all of them"
)]
pub trait Selector<M>: Send {
    #[doc(hidden)]
    fn write(&self, channel: &mut ChannelWriter<'_>);
}

impl<M: Message> Selector<M> for Address<M> {
    fn write(&self, channel: &mut ChannelWriter<'_>) {
        self.params.write(channel);
    }
}

impl<M, T: Selector<M> + Sync> Selector<M> for &T {
    fn write(&self, channel: &mut ChannelWriter<'_>) {
        (**self).write(channel);
    }
}

/// What `publish_to` takes: an [`Address`] of the message, owned or borrowed.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no address of `{M}`",
    label = "not an address of `{M}`",
    note = "write `{M}::channel(…)`"
)]
pub trait AddressOf<M: Message> {
    fn as_address(&self) -> &Address<M>;
}

#[diagnostic::do_not_recommend]
impl<M: Message> AddressOf<M> for Address<M> {
    fn as_address(&self) -> &Self {
        self
    }
}

#[diagnostic::do_not_recommend]
impl<M: Message> AddressOf<M> for &Address<M> {
    fn as_address(&self) -> &Address<M> {
        self
    }
}

/// The parameters of a message's template, as the derive generates them.
pub trait Params: Clone + Send + Sync + 'static {
    #[doc(hidden)]
    fn write(&self, channel: &mut ChannelWriter<'_>);

    #[doc(hidden)]
    fn read(channel: &mut ChannelReader<'_>) -> Result<Self, AddressError>;
}

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

    fn any(&mut self) {
        self.channel.push('*');
        self.wildcard = true;
    }
}

/// Reads a channel segment by segment: the generated code calls it.
#[derive(Debug)]
pub struct ChannelReader<'a> {
    rest: Option<&'a str>,
}

impl<'a> ChannelReader<'a> {
    pub(crate) fn new(channel: &'a str) -> Self {
        Self { rest: Some(channel) }
    }

    fn next(&mut self) -> Result<&'a str, AddressError> {
        let rest = self.rest.ok_or(AddressError::Mismatch)?;
        // Segments are short: a loop over the bytes is faster than `split_once`, which prepares a search.
        let Some(end) = rest.bytes().position(|byte| byte == b':') else {
            self.rest = None;
            return Ok(rest);
        };
        self.rest = Some(&rest[end + 1..]);
        Ok(&rest[..end])
    }

    /// One literal segment.
    #[doc(hidden)]
    pub fn literal(&mut self, text: &str) -> Result<(), AddressError> {
        if self.next()? == text { Ok(()) } else { Err(AddressError::Mismatch) }
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
        if rest == encoding::EMPTY_REST {
            return Ok(P::from_items(Vec::new()));
        }
        let items: Result<Vec<_>, _> = rest.split(':').map(|segment| parse_segment(segment, name)).collect();
        Ok(P::from_items(items?))
    }

    /// Passes a segment that the route table has compared already.
    #[doc(hidden)]
    pub fn skip(&mut self) -> Result<(), AddressError> {
        self.next().map(drop)
    }

    /// Checks that the segment is the value of the message's field.
    #[doc(hidden)]
    pub fn equals<P: ChannelParam>(&mut self, name: &'static str, value: &P) -> Result<(), AddressError> {
        let text = encoding::decode(self.next()?).ok_or(AddressError::Invalid { parameter: name })?;
        if value.is_written_as(&text) { Ok(()) } else { Err(AddressError::Disagrees { parameter: name }) }
    }

    /// Checks that the remaining segments are the value of the message's field.
    #[doc(hidden)]
    pub fn rest_equals<P: RestParam>(&mut self, name: &'static str, value: &P) -> Result<(), AddressError> {
        let rest = self.rest.take().ok_or(AddressError::Mismatch)?;
        let (mut given, mut wanted) = (rest.split(':'), value.items().iter());
        let equal = if rest == encoding::EMPTY_REST {
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
        let text = encoding::decode(self.next()?).ok_or(AddressError::Invalid { parameter: name })?;
        if P::is_value(&text) { Ok(()) } else { Err(AddressError::Invalid { parameter: name }) }
    }

    /// Checks that the remaining segments are some value of a rest parameter that is no field.
    #[doc(hidden)]
    pub fn rest_valid<P: RestParam>(&mut self, name: &'static str) -> Result<(), AddressError> {
        self.rest::<P>(name).map(drop)
    }

    pub(crate) fn finish(self) -> Result<(), AddressError> {
        if self.rest.is_none() { Ok(()) } else { Err(AddressError::Mismatch) }
    }
}

fn parse_segment<P: ChannelParam>(segment: &str, name: &'static str) -> Result<P, AddressError> {
    let text = encoding::decode(segment).ok_or(AddressError::Invalid { parameter: name })?;
    P::parse(&text).map_err(|_| AddressError::Invalid { parameter: name })
}

/// One parameter of a template, as the generated code uses it.
///
/// The derive makes one constant of it for each parameter. Only there is the type asked to be a parameter: a type that is none
/// gives one error, and everything else in the generated code still has a meaning.
#[doc(hidden)]
#[derive(Debug)]
pub struct Parameter<T> {
    name: &'static str,
    segment: Segment,
    functions: Functions<T>,
}

/// What can be done with a parameter, without its bounds.
#[doc(hidden)]
#[derive(Debug)]
pub struct Functions<T> {
    clone: fn(&T) -> T,
    write: fn(&mut ChannelWriter<'_>, &T),
    read: fn(&mut ChannelReader<'_>, &'static str) -> Result<T, AddressError>,
    equals: fn(&mut ChannelReader<'_>, &'static str, &T) -> Result<(), AddressError>,
    valid: fn(&mut ChannelReader<'_>, &'static str) -> Result<(), AddressError>,
}

/// `ChannelParam`, without a list of every other parameter of the program in its error.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a parameter of a channel",
    label = "not a channel parameter",
    note = "parameters are integers, `bool`, `char`, `String`, IP addresses and enums with `#[derive(ChannelParam)]`; for a type of your own write `impl tidings::channel::ChannelParam for {Self}`"
)]
pub trait FillsSegment: Sized {
    const SHAPE: Shape;
    const FUNCTIONS: Functions<Self>;
}

#[diagnostic::do_not_recommend]
impl<T: ChannelParam> FillsSegment for T {
    const SHAPE: Shape = T::SHAPE;
    const FUNCTIONS: Functions<Self> = Functions {
        clone: T::clone,
        write: |channel, value| channel.param(value),
        read: |channel, name| channel.param(name),
        equals: |channel, name, value| channel.equals(name, value),
        valid: |channel, name| channel.valid::<T>(name),
    };
}

/// `<name>`.
#[doc(hidden)]
#[must_use]
pub const fn parameter<T: FillsSegment>(name: &'static str) -> Parameter<T> {
    Parameter { name, segment: Segment::parameter(name, T::SHAPE), functions: T::FUNCTIONS }
}

/// `<name..>`.
#[doc(hidden)]
#[must_use]
pub const fn rest_parameter<T: RestParam>(name: &'static str) -> Parameter<T> {
    Parameter {
        name,
        segment: Segment::rest(name, <T::Item as ChannelParam>::SHAPE),
        functions: Functions {
            clone: T::clone,
            write: |channel, value| channel.rest(value),
            read: |channel, name| channel.rest(name),
            equals: |channel, name, value| channel.rest_equals(name, value),
            valid: |channel, name| channel.rest_valid::<T>(name),
        },
    }
}

impl<T> Parameter<T> {
    #[must_use]
    pub const fn segment(&self) -> Segment {
        self.segment
    }

    #[must_use]
    pub fn copy(&self, value: &T) -> T {
        (self.functions.clone)(value)
    }

    pub fn write(&self, value: &T, channel: &mut ChannelWriter<'_>) {
        (self.functions.write)(channel, value);
    }

    /// A parameter of a pattern: its value, or a wildcard.
    pub fn write_or_any(&self, value: &Option<T>, channel: &mut ChannelWriter<'_>) {
        match value {
            Some(value) => self.write(value, channel),
            None => channel.any(),
        }
    }

    /// The value in the channel.
    ///
    /// # Errors
    ///
    /// When the channel has no such segment, or it is no value of the parameter.
    pub fn read(&self, channel: &mut ChannelReader<'_>) -> Result<T, AddressError> {
        (self.functions.read)(channel, self.name)
    }

    /// Checks that the channel holds the value of the message's field.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub fn equals(&self, value: &T, channel: &mut ChannelReader<'_>) -> Result<(), AddressError> {
        (self.functions.equals)(channel, self.name, value)
    }

    /// Checks that the channel holds some value of a parameter that is no field.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub fn valid(&self, channel: &mut ChannelReader<'_>) -> Result<(), AddressError> {
        (self.functions.valid)(channel, self.name)
    }
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

/// Writes what a selector says, and tells whether it is a pattern.
pub(crate) fn write_selector<M: Message>(selector: &impl Selector<M>, channel: &mut String) -> bool {
    let mut writer = ChannelWriter::new(channel);
    selector.write(&mut writer);
    writer.is_pattern()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stays_in_its_segment() {
        assert!(fits_pattern("order:*:created", "order:1:created", false));
        assert!(!fits_pattern("order:*:created", "order:1:eu:created", false));
        assert!(!fits_pattern("order:*", "order", false));
        assert!(fits_pattern("logs:*", "logs:a:b", true));
        assert!(!fits_pattern("logs:eu:*", "logs:us:b", true));
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
}
