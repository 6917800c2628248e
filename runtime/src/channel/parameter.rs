//! The parameters of a template, as the generated code uses them.

use std::fmt;

use crate::{
    channel::{
        param::{ChannelParam, InvalidParam, RestParam},
        shape::Shape,
        template::Segment,
        text::{ChannelReader, ChannelWriter},
    },
    error::AddressError,
};

/// The parameters of a message's template. `#[derive(Message)]` makes the type and implements it; never implement it by hand.
pub trait Params: Clone + Send + Sync + 'static {
    #[doc(hidden)]
    fn write(&self, channel: &mut ChannelWriter<'_>);

    #[doc(hidden)]
    fn read(channel: &mut ChannelReader<'_>) -> Result<Self, AddressError>;
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
    note = "parameters are integers, `bool`, `char`, `String`, IP addresses, and types of your own with `#[derive(ChannelParam)]`: an enum without fields, or a struct around one of these",
    note = "a type of another crate is one inside of a struct of your own, with `impl tidings::channel::ChannelParam for` that struct"
)]
#[cfg_attr(
    not(feature = "uuid"),
    diagnostic::on_unimplemented(note = "`uuid::Uuid` is one with the feature `uuid` of `tidings`")
)]
pub trait FillsSegment: Sized {
    const SHAPE: Shape;
    const FUNCTIONS: Functions<Self>;
    const HELD: Held<Self>;
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
    const HELD: Held<Self> = Held {
        shape: T::SHAPE,
        write: T::write,
        parse: T::parse,
        is_written_as: T::is_written_as,
        is_in_digits: T::is_in_digits,
        is_value: T::is_value,
    };
}

/// What a struct with `#[derive(ChannelParam)]` holds, as the generated code uses it: a type that is no parameter gives one error.
#[doc(hidden)]
#[derive(Debug)]
pub struct Held<T> {
    shape: Shape,
    write: fn(&T, &mut dyn fmt::Write) -> fmt::Result,
    parse: fn(&str) -> Result<T, InvalidParam>,
    is_written_as: fn(&T, &str) -> bool,
    is_in_digits: fn(&T, &[u8]) -> bool,
    is_value: fn(&str) -> bool,
}

#[doc(hidden)]
#[must_use]
pub const fn held<T: FillsSegment>() -> Held<T> {
    T::HELD
}

impl<T> Held<T> {
    #[must_use]
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// Writes the value.
    ///
    /// # Errors
    ///
    /// Only those of `text` itself.
    pub fn write(&self, value: &T, text: &mut dyn fmt::Write) -> fmt::Result {
        (self.write)(value, text)
    }

    /// Reads the value.
    ///
    /// # Errors
    ///
    /// When no value is written like that.
    pub fn parse(&self, text: &str) -> Result<T, InvalidParam> {
        (self.parse)(text)
    }

    #[must_use]
    pub fn is_written_as(&self, value: &T, text: &str) -> bool {
        (self.is_written_as)(value, text)
    }

    #[must_use]
    pub fn is_in_digits(&self, value: &T, segment: &[u8]) -> bool {
        (self.is_in_digits)(value, segment)
    }

    #[must_use]
    pub fn is_value(&self, text: &str) -> bool {
        (self.is_value)(text)
    }
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
