//! Reads CBOR as RFC 8949 says, and not only as we write it: texts and bytes in pieces, tags that only annotate, whole numbers where fractions are
//! declared and the other way round.

use std::{borrow::Cow, fmt};

use minicbor::{Decoder, data::Type, decode};
use serde::{
    Deserializer,
    de::{
        self, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor,
    },
    forward_to_deserialize_any,
};

use crate::codec::{scan::CUT, words};

/// Reads items in place. What it reads is known to be whole and not too deep, as it calls itself as deep as the items are nested.
pub(super) struct Reader<'de> {
    decoder: Decoder<'de>,
}

/// Why items cannot be read, without a word of the payload.
#[derive(Debug)]
pub(super) struct Broken(Cow<'static, str>);

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

impl de::Error for Broken {
    fn custom<M: fmt::Display>(message: M) -> Self {
        Self(words::of_message(&message.to_string()).into())
    }
}

impl From<decode::Error> for Broken {
    fn from(error: decode::Error) -> Self {
        let is_cut = error.is_end_of_input();
        Self(Cow::Borrowed(if is_cut { CUT } else { "an item that cannot be read" }))
    }
}

/// Tags of numbers that are written as bytes.
const POSITIVE: u64 = 2;
const NEGATIVE: u64 = 3;

/// Whether a tag only says more of its item: that it is a time, base64, an URI, a UUID, a date, a set, bytes of CBOR. Of any other the item is not
/// what its tag makes of it, such as the decimal fractions of tag 4 and the records of some libraries.
fn only_annotates(tag: u64) -> bool {
    matches!(tag, 0 | 1 | 21..=24 | 32..=37 | 64 | 100 | 258 | 259 | 1_004 | 55_799)
}

impl<'de> Reader<'de> {
    pub(super) fn new(payload: &'de [u8]) -> Self {
        Self { decoder: Decoder::new(payload) }
    }

    /// Bytes that have been read.
    pub(super) fn position(&self) -> usize {
        self.decoder.position()
    }

    /// The type of the next item, behind the tags that only annotate it: `Tag` where there is another one.
    fn next_type(&mut self) -> Result<Type, Broken> {
        loop {
            let next = self.decoder.datatype()?;
            if next != Type::Tag {
                return Ok(next);
            }
            if !only_annotates(self.decoder.probe().tag()?.as_u64()) {
                return Ok(Type::Tag);
            }
            self.decoder.tag()?;
        }
    }

    fn is_nothing(&mut self) -> Result<bool, Broken> {
        Ok(matches!(self.next_type()?, Type::Null | Type::Undefined))
    }

    /// Whether the next item is a number with a fraction that is zero, and which.
    fn whole_number(&mut self) -> Result<Option<f64>, Broken> {
        if !matches!(self.next_type()?, Type::F16 | Type::F32 | Type::F64) {
            return Ok(None);
        }
        let number = self.decoder.probe().f64()?;
        // Beyond 2^53 a number stands for others as well.
        Ok((number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0).then_some(number))
    }
}

impl<'de> Reader<'de> {
    /// What a tag makes of its item: a number that is written as bytes, or what no visitor but that of metadata takes.
    fn tagged<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Broken> {
        match self.decoder.probe().tag()?.as_u64() {
            POSITIVE => {
                let number = self.decoder.u128()?;
                match u64::try_from(number) {
                    Ok(small) => visitor.visit_u64(small),
                    Err(_) => visitor.visit_u128(number),
                }
            }
            NEGATIVE => {
                let number = self.decoder.i128()?;
                match i64::try_from(number) {
                    Ok(small) => visitor.visit_i64(small),
                    Err(_) => visitor.visit_i128(number),
                }
            }
            tag => {
                self.decoder.tag()?;
                visitor.visit_enum(Tagged { reader: self, tag })
            }
        }
    }
}

fn is_integer(of_type: Type) -> bool {
    use Type::{I8, I16, I32, I64, U8, U16, U32, U64};
    matches!(of_type, U8 | U16 | U32 | U64 | I8 | I16 | I32 | I64)
}

/// Integers may come as fractions that are whole: JavaScript has no other numbers beyond 32 bits.
macro_rules! integers {
    ($($deserialize:ident)*) => {$(
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Broken> {
            // Nearly all integers are written as such.
            if self.decoder.datatype().is_ok_and(is_integer) {
                return self.deserialize_any(visitor);
            }
            match self.whole_number()? {
                Some(number) => {
                    self.decoder.skip()?;
                    visitor.visit_i64(number as i64)
                }
                None => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Broken;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Broken> {
        match self.next_type()? {
            Type::Bool => visitor.visit_bool(self.decoder.bool()?),
            Type::Null | Type::Undefined => {
                self.decoder.skip()?;
                visitor.visit_unit()
            }
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => visitor.visit_u64(self.decoder.u64()?),
            Type::I8 | Type::I16 | Type::I32 | Type::I64 => visitor.visit_i64(self.decoder.i64()?),
            Type::Int => visitor.visit_i128(self.decoder.int()?.into()),
            Type::Tag => self.tagged(visitor),
            // A simple value that has no meaning is nobody's but metadata's, where it is odd.
            Type::Simple => visitor.visit_enum(Tagged { reader: self, tag: 0 }),
            Type::F16 | Type::F32 | Type::F64 => visitor.visit_f64(self.decoder.f64()?),
            Type::String => visitor.visit_borrowed_str(self.decoder.str()?),
            Type::StringIndef => visitor.visit_string(self.decoder.str_iter()?.collect::<Result<_, _>>()?),
            Type::Bytes => visitor.visit_borrowed_bytes(self.decoder.bytes()?),
            Type::BytesIndef => {
                let pieces: Vec<&[u8]> = self.decoder.bytes_iter()?.collect::<Result<_, _>>()?;
                visitor.visit_byte_buf(pieces.concat())
            }
            Type::Array | Type::ArrayIndef => {
                let left = self.decoder.array()?;
                let mut items = Items { reader: self, left };
                let value = visitor.visit_seq(&mut items)?;
                items.finish().map(|()| value)
            }
            Type::Map | Type::MapIndef => {
                let left = self.decoder.map()?;
                let mut items = Items { reader: self, left };
                let value = visitor.visit_map(&mut items)?;
                items.finish().map(|()| value)
            }
            other => Err(Broken(format!("an item of type {other}").into())),
        }
    }

    integers! { deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 }

    /// A character is the number that we write, or a text.
    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Broken> {
        match self.next_type()? {
            Type::U8 | Type::U16 | Type::U32 => visitor.visit_char(self.decoder.char()?),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Broken> {
        if self.is_nothing()? {
            self.decoder.skip()?;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    /// `null`, or an empty array, as earlier versions wrote it.
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Broken> {
        if self.next_type()? == Type::Array && self.decoder.probe().array()? == Some(0) {
            self.decoder.skip()?;
            return visitor.visit_unit();
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Broken> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Broken> {
        visitor.visit_newtype_struct(self)
    }

    /// A variant is its name, or a map from its name to what it holds.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Broken> {
        match self.next_type()? {
            Type::Map | Type::MapIndef => {
                let left = self.decoder.map()?;
                let mut items = Items { reader: self, left };
                if !items.advance()? {
                    return Err(de::Error::invalid_length(0, &"a map of one variant"));
                }
                let value = visitor.visit_enum(Variant { reader: &mut *items.reader, holds: true })?;
                items.finish().map(|()| value)
            }
            _ => visitor.visit_enum(Variant { reader: self, holds: false }),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Broken> {
        self.decoder.skip()?;
        visitor.visit_unit()
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    forward_to_deserialize_any! {
        bool i128 u128 f32 f64 str string bytes byte_buf seq tuple tuple_struct map struct identifier
    }
}

/// The items of an array or a map, of which so many are left, or all up to a break.
struct Items<'a, 'de> {
    reader: &'a mut Reader<'de>,
    left: Option<u64>,
}

impl Items<'_, '_> {
    /// Whether there is another one; it then counts as read.
    fn advance(&mut self) -> Result<bool, Broken> {
        match &mut self.left {
            Some(0) => Ok(false),
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
            None if self.reader.decoder.datatype()? == Type::Break => {
                self.reader.decoder.skip()?;
                self.left = Some(0);
                Ok(false)
            }
            None => Ok(true),
        }
    }

    /// Whoever takes fewer items than there are expects something else.
    fn finish(&mut self) -> Result<(), Broken> {
        if self.advance()? { Err(Broken("more items than expected".into())) } else { Ok(()) }
    }

    fn hint(&self) -> Option<usize> {
        self.left.and_then(|left| usize::try_from(left).ok())
    }
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Broken;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Broken> {
        if self.advance()? { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

impl<'de> MapAccess<'de> for Items<'_, 'de> {
    type Error = Broken;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Broken> {
        if self.advance()? { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Broken> {
        seed.deserialize(&mut *self.reader)
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

/// An item behind a tag that makes something else of it.
struct Tagged<'a, 'de> {
    reader: &'a mut Reader<'de>,
    tag: u64,
}

impl<'de> EnumAccess<'de> for Tagged<'_, 'de> {
    type Error = Broken;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Broken> {
        let tag: de::value::U64Deserializer<Broken> = self.tag.into_deserializer();
        Ok((seed.deserialize(tag)?, self))
    }
}

impl<'de> VariantAccess<'de> for Tagged<'_, 'de> {
    type Error = Broken;

    fn unit_variant(self) -> Result<(), Broken> {
        Err(de::Error::invalid_type(Unexpected::NewtypeVariant, &"unit variant"))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Broken> {
        seed.deserialize(self.reader)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _length: usize, _visitor: V) -> Result<V::Value, Broken> {
        Err(de::Error::invalid_type(Unexpected::NewtypeVariant, &"tuple variant"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Broken> {
        Err(de::Error::invalid_type(Unexpected::NewtypeVariant, &"struct variant"))
    }
}

/// A variant: its name, and behind it what it holds, if it does.
struct Variant<'a, 'de> {
    reader: &'a mut Reader<'de>,
    holds: bool,
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Broken;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Broken> {
        Ok((seed.deserialize(&mut *self.reader)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Broken;

    fn unit_variant(self) -> Result<(), Broken> {
        if self.holds { de::Deserialize::deserialize(self.reader) } else { Ok(()) }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Broken> {
        if !self.holds {
            return Err(de::Error::invalid_type(Unexpected::UnitVariant, &"newtype variant"));
        }
        seed.deserialize(self.reader)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value, Broken> {
        if !self.holds {
            return Err(de::Error::invalid_type(Unexpected::UnitVariant, &"tuple variant"));
        }
        self.reader.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _fields: &'static [&'static str], visitor: V) -> Result<V::Value, Broken> {
        if !self.holds {
            return Err(de::Error::invalid_type(Unexpected::UnitVariant, &"struct variant"));
        }
        self.reader.deserialize_any(visitor)
    }
}
