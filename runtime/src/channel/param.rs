//! Types that can stand in a channel.

use std::{
    borrow::Cow,
    fmt::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use crate::channel::shape::Shape;

/// A value that can fill one segment of a channel.
///
/// Implemented for all integers, `bool`, `char`, `String` and its smart-pointer relatives, IP addresses and, with the feature
/// `uuid`, `uuid::Uuid`; `#[derive(ChannelParam)]` implements it for enums without fields, and for structs around one of these. Any other type of
/// your own implements the two functions in plain text: percent-encoding is done around them, so any text is allowed.
///
/// # Examples
///
/// ```
/// use std::fmt::Write;
/// use tidings::channel::{ChannelParam, InvalidParam};
///
/// #[derive(Clone, Debug)]
/// struct Sku(String);
///
/// impl ChannelParam for Sku {
///     fn write(&self, text: &mut dyn Write) -> std::fmt::Result {
///         text.write_str(&self.0)
///     }
///
///     fn parse(text: &str) -> Result<Self, InvalidParam> {
///         text.starts_with("SKU-").then(|| Sku(text.to_owned())).ok_or(InvalidParam::because("a SKU begins with `SKU-`"))
///     }
/// }
/// ```
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
pub trait ChannelParam: Sized + Clone + Send + Sync + 'static {
    /// What the text can look like. The default, any text, is always right; a narrower shape proves more routes disjoint.
    const SHAPE: Shape = Shape::Text;

    /// Writes the value as plain text.
    ///
    /// # Errors
    ///
    /// Only those of `text` itself.
    fn write(&self, text: &mut dyn Write) -> fmt::Result;

    /// Reads the value from plain text: the inverse of [`write`](Self::write).
    ///
    /// # Errors
    ///
    /// [`InvalidParam`] when no value is written like that.
    fn parse(text: &str) -> Result<Self, InvalidParam>;

    /// Whether the plain text is this value.
    fn is_written_as(&self, text: &str) -> bool {
        let mut comparison = Comparison { rest: text };
        self.write(&mut comparison).is_ok() && comparison.rest.is_empty()
    }

    /// The same of ASCII text, as nearly every segment is, which is not looked through again to see that it is text.
    #[doc(hidden)]
    fn is_written_in(&self, ascii: &[u8]) -> bool {
        str::from_utf8(ascii).is_ok_and(|text| self.is_written_as(text))
    }

    /// Whether a segment, as it stands in the channel, is this value in digits, which are their own plain text. `false` says nothing.
    #[doc(hidden)]
    #[inline]
    fn is_in_digits(&self, segment: &[u8]) -> bool {
        let _ = segment;
        false
    }

    /// Whether the plain text is some value. Override it where that needs no allocation.
    fn is_value(text: &str) -> bool {
        Self::parse(text).is_ok()
    }
}

/// Compares what is written with a text, without keeping it.
struct Comparison<'a> {
    rest: &'a str,
}

impl Write for Comparison<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.rest = self.rest.strip_prefix(text).ok_or(fmt::Error)?;
        Ok(())
    }
}

/// The error of a text that is no value of the parameter's type.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{}", reason.as_deref().unwrap_or("the text is no value of the parameter's type"))]
pub struct InvalidParam {
    reason: Option<Cow<'static, str>>,
}

impl InvalidParam {
    /// Says no more than that.
    #[must_use]
    pub const fn new() -> Self {
        Self { reason: None }
    }

    pub(crate) fn reason(self) -> Option<String> {
        self.reason.map(Cow::into_owned)
    }

    /// Says why, without the text itself: `InvalidParam::because("a stock-keeping unit begins with SKU-")`.
    #[must_use]
    pub fn because(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: Some(reason.into()) }
    }
}

/// A value that can fill all remaining segments of a channel: a `Vec` of parameters. It is not meant to be implemented.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot take the remaining segments of a channel",
    label = "not a list of channel parameters",
    note = "the type of a `<rest..>` parameter is a `Vec`, such as `Vec<String>`"
)]
pub trait RestParam: Sized + Clone + Send + Sync + 'static {
    /// One segment.
    type Item: ChannelParam;

    /// The segments, in order.
    fn items(&self) -> &[Self::Item];

    /// The value that consists of these segments.
    fn from_items(items: Vec<Self::Item>) -> Self;
}

impl<T: ChannelParam> RestParam for Vec<T> {
    type Item = T;

    fn items(&self) -> &[T] {
        self
    }

    fn from_items(items: Self) -> Self {
        items
    }
}

/// What may be given where a channel wants a parameter of type `T`: a `T`, a `&T`, `&str` for text, and for a `Vec` an array or a slice.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot stand for a channel parameter of type `{T}`",
    label = "expected `{T}`"
)]
pub trait IntoParam<T> {
    /// Converts the value.
    fn into_param(self) -> T;
}

#[diagnostic::do_not_recommend]
impl<T> IntoParam<T> for T {
    fn into_param(self) -> T {
        self
    }
}

#[diagnostic::do_not_recommend]
impl<T: ChannelParam> IntoParam<T> for &T {
    fn into_param(self) -> T {
        self.clone()
    }
}

#[diagnostic::do_not_recommend]
impl<T, P: IntoParam<T>, const N: usize> IntoParam<Vec<T>> for [P; N] {
    fn into_param(self) -> Vec<T> {
        self.map(IntoParam::into_param).into()
    }
}

#[diagnostic::do_not_recommend]
impl<T: ChannelParam> IntoParam<Vec<T>> for &[T] {
    fn into_param(self) -> Vec<T> {
        self.to_vec()
    }
}

#[diagnostic::do_not_recommend]
impl<T: ChannelParam> IntoParam<Vec<T>> for &Vec<T> {
    fn into_param(self) -> Vec<T> {
        self.clone()
    }
}

macro_rules! text_params {
    ($($type:ty),*) => {$(
        #[diagnostic::do_not_recommend]
        impl ChannelParam for $type {
            fn write(&self, text: &mut dyn Write) -> fmt::Result {
                text.write_str(self)
            }

            fn parse(text: &str) -> Result<Self, InvalidParam> {
                Ok(Self::from(text.to_owned()))
            }

            fn is_written_as(&self, text: &str) -> bool {
                **self == *text
            }

            fn is_written_in(&self, ascii: &[u8]) -> bool {
                self.as_bytes() == ascii
            }

            fn is_value(_text: &str) -> bool {
                true
            }
        }

        #[diagnostic::do_not_recommend]
        impl IntoParam<$type> for &str {
            fn into_param(self) -> $type {
                <$type>::from(self.to_owned())
            }
        }
    )*};
}

text_params!(String, Box<str>, Arc<str>, Cow<'static, str>);

macro_rules! integer_params {
    ($shape:ident: $($type:ty),*) => {$(
        #[diagnostic::do_not_recommend]
        impl ChannelParam for $type {
            const SHAPE: Shape = Shape::$shape;

            fn write(&self, text: &mut dyn Write) -> fmt::Result {
                text.write_str(itoa::Buffer::new().format(*self))
            }

            fn parse(text: &str) -> Result<Self, InvalidParam> {
                // `str::parse` also reads `+7` and `007`, which would give one value several channels.
                if !Self::SHAPE.accepts(text.as_bytes()) {
                    return Err(InvalidParam::new());
                }
                text.parse().map_err(|_| InvalidParam::new())
            }

            fn is_written_as(&self, text: &str) -> bool {
                itoa::Buffer::new().format(*self) == text
            }

            fn is_written_in(&self, ascii: &[u8]) -> bool {
                itoa::Buffer::new().format(*self).as_bytes() == ascii
            }

            #[inline]
            fn is_in_digits(&self, segment: &[u8]) -> bool {
                u64::try_from(*self).is_ok_and(|number| is_decimal(segment, number))
            }
        }
    )*};
}

/// Whether a segment is a number as it is written in a channel: in digits, without a leading zero. One of so many digits that it might overflow is left
/// to others.
#[inline]
fn is_decimal(segment: &[u8], number: u64) -> bool {
    let read = |so_far: u64, &byte: &u8| {
        let digit = byte.wrapping_sub(b'0');
        (digit <= 9).then(|| 10 * so_far + u64::from(digit))
    };
    let has_leading_zero = segment.len() > 1 && segment[0] == b'0';
    (1..20).contains(&segment.len()) && !has_leading_zero && segment.iter().try_fold(0, read) == Some(number)
}

integer_params!(Unsigned: u8, u16, u32, u64, u128, usize);
integer_params!(Signed: i8, i16, i32, i64, i128, isize);

macro_rules! displayed_params {
    ($($type:ty: $shape:expr),*) => {$(
        #[diagnostic::do_not_recommend]
        impl ChannelParam for $type {
            const SHAPE: Shape = $shape;

            fn write(&self, text: &mut dyn Write) -> fmt::Result {
                write!(text, "{self}")
            }

            fn parse(text: &str) -> Result<Self, InvalidParam> {
                let value: Self = text.parse().map_err(|_| InvalidParam::new())?;
                // One spelling for each value: `str::parse` may read several.
                let mut spelling = String::with_capacity(text.len());
                value.write(&mut spelling).map_err(|_| InvalidParam::new())?;
                if spelling == text { Ok(value) } else { Err(InvalidParam::new()) }
            }
        }
    )*};
}

displayed_params!(
    bool: Shape::OneOf(&["false", "true"]),
    char: Shape::Char,
    IpAddr: Shape::IpAddress,
    Ipv4Addr: Shape::IpAddress,
    Ipv6Addr: Shape::IpAddress
);

#[cfg(feature = "uuid")]
displayed_params!(uuid::Uuid: Shape::Uuid);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a first look at the digits says, and what the value's whole text says.
    fn said<P: ChannelParam>(value: P, segment: &str) -> (bool, bool) {
        (value.is_in_digits(segment.as_bytes()), value.is_written_as(segment))
    }

    #[test]
    fn a_list_is_its_elements_however_it_is_given() {
        let list = vec![1_u8, 2];
        assert_eq!(IntoParam::<Vec<u8>>::into_param([1_u8, 2]), list);
        assert_eq!(IntoParam::<Vec<u8>>::into_param(&list), list);
        assert_eq!(IntoParam::<Vec<u8>>::into_param(list.as_slice()), list);
        assert_eq!(IntoParam::<Vec<String>>::into_param(["a", "b"]), ["a", "b"]);
    }

    /// Written in two pieces, and not at all if the second is absent.
    #[derive(Clone)]
    struct Pair(&'static str, Option<&'static str>);

    impl ChannelParam for Pair {
        fn write(&self, text: &mut dyn Write) -> fmt::Result {
            text.write_str(self.0)?;
            text.write_str(self.1.ok_or(fmt::Error)?)
        }

        fn parse(_text: &str) -> Result<Self, InvalidParam> {
            Err(InvalidParam::new())
        }
    }

    #[test]
    fn a_value_of_ones_own_type_is_compared_piece_by_piece() {
        let value = Pair("a", Some("bc"));
        for (text, is_written) in
            [("abc", true), ("ab", false), ("abcd", false), ("", false), ("bca", false), ("xbc", false)]
        {
            assert_eq!(value.is_written_as(text), is_written, "{text}");
            assert_eq!(value.is_written_in(text.as_bytes()), is_written, "{text}");
            assert!(!value.is_in_digits(text.as_bytes()));
        }
        assert!(!value.is_written_in(b"abc\xff"));
        assert!(!Pair("abc", None).is_written_as("abc"));
    }

    #[test]
    fn a_number_is_in_its_own_digits_and_in_no_others() {
        for (segment, is_seven) in
            [("7", true), ("", false), ("07", false), ("77", false), ("+7", false), ("7 ", false), ("٧", false)]
        {
            assert_eq!(said(7_u64, segment), (is_seven, is_seven), "{segment}");
        }
        assert_eq!((said(0_u8, "0"), said(0_u8, "00")), ((true, true), (false, false)));
        assert_eq!(
            (said(-7_i64, "-7"), said(-7_i64, "7")),
            ((false, true), (false, false)),
            "a sign is left to others"
        );
        assert_eq!(said(i64::MAX, "9223372036854775807"), (true, true));
        assert_eq!(said(u64::MAX, "18446744073709551615"), (false, true), "so many digits are left to others");
        assert_eq!(said(u128::MAX, &u128::MAX.to_string()), (false, true));
        // The second is 2^64 more, which would be the same number if it wrapped around.
        assert_eq!(said(8_446_744_073_709_551_616_u64, "8446744073709551616"), (true, true));
        assert_eq!(said(8_446_744_073_709_551_616_u64, "26893488147419103232"), (false, false));
    }

    proptest! {
        #[test]
        fn a_first_look_agrees_with_the_whole_text(value: u64, segment in "[0-9]{0,20}") {
            let (is_in_digits, is_written) = said(value, &segment);
            prop_assert!(!is_in_digits || is_written);
            let text = value.to_string();
            prop_assert_eq!(said(value, &text), (text.len() < 20, true));
        }
    }
}
