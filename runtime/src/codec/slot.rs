//! Where in a payload the time left stands, so that it can be brought up to date when the payload leaves.

use std::time::Duration;

/// The longest time left that can be said, in milliseconds: nearly 25 days. CloudEvents has no larger integer.
pub(crate) const TIME_LEFT_MAX: u32 = i32::MAX as u32;

/// A time as whole milliseconds, rounded down, the longest that can be said at most.
pub(crate) fn whole_millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(TIME_LEFT_MAX).min(TIME_LEFT_MAX)
}

/// Where in a payload the [time left](crate::codec::Exchange::time_left) of a request stands: a number of fixed width, which is written again
/// at the moment when the payload leaves, since a request may wait after it was encoded.
///
/// [`Codec::encode_with_slot`](crate::codec::Codec::encode_with_slot) returns it.
///
/// # Examples
///
/// ```
/// use tidings::codec::{Codec, Exchange, Expected, Json, Outbound};
///
/// let request = Outbound::new("Ping", "id-1").exchange(Exchange::new("c-1").reply_to("answers").time_left(5_000));
/// let mut payload = Vec::new();
/// let slot = Json::encode_with_slot(&request, &7, &mut payload).unwrap().expect("a request has a slot");
/// slot.write(&mut payload, 4_321);
/// let (number, inbound) = Json::decode::<u8>(&Expected::new("Ping", 1), &payload).unwrap();
/// assert_eq!((number, inbound.time_left), (7, Some(4_321)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    offset: usize,
    form: Form,
}

/// How the number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Ten bytes: decimal digits behind spaces.
    Decimal,
    /// Four bytes, the most significant first.
    BigEndian,
}

/// Digits of the largest number.
const DIGITS: usize = 10;

impl Slot {
    /// Ten bytes from `offset` on: decimal digits, with spaces before them. JSON takes spaces before a number.
    #[must_use]
    pub const fn decimal(offset: usize) -> Self {
        Self { offset, form: Form::Decimal }
    }

    /// Four bytes from `offset` on, the most significant first, as CBOR and MessagePack write a number of 32 bits behind its mark.
    #[must_use]
    pub const fn big_endian(offset: usize) -> Self {
        Self { offset, form: Form::BigEndian }
    }

    /// The slot in a payload that got so many bytes more before it.
    #[must_use]
    pub const fn behind(self, bytes: usize) -> Self {
        Self { offset: self.offset + bytes, form: self.form }
    }

    /// Writes the time left, in milliseconds, in the place of the one that stands there: 2³¹ − 1 at most. A payload that ends before the slot
    /// does is left as it is.
    pub fn write(&self, payload: &mut [u8], millis: u32) {
        let millis = millis.min(TIME_LEFT_MAX);
        match self.form {
            Form::Decimal => {
                let mut text = itoa::Buffer::new();
                let digits = text.format(millis).as_bytes();
                if let Some(place) = self.place(payload, DIGITS) {
                    let (spaces, number) = place.split_at_mut(DIGITS - digits.len());
                    spaces.fill(b' ');
                    number.copy_from_slice(digits);
                }
            }
            Form::BigEndian => {
                if let Some(place) = self.place(payload, size_of::<u32>()) {
                    place.copy_from_slice(&millis.to_be_bytes());
                }
            }
        }
    }

    /// Appends a slot of ten digits that holds this number.
    pub(super) fn append_decimal(payload: &mut Vec<u8>, millis: u32) -> Self {
        let slot = Self::decimal(payload.len());
        payload.extend_from_slice(&[b' '; DIGITS]);
        slot.write(payload, millis);
        slot
    }

    /// Appends a slot of four bytes that holds this number, behind its mark.
    #[cfg(any(feature = "cbor", feature = "messagepack"))]
    pub(super) fn append_big_endian(payload: &mut Vec<u8>, mark: u8, millis: u32) -> Self {
        payload.push(mark);
        let slot = Self::big_endian(payload.len());
        payload.extend_from_slice(&[0; size_of::<u32>()]);
        slot.write(payload, millis);
        slot
    }

    fn place<'p>(&self, payload: &'p mut [u8], width: usize) -> Option<&'p mut [u8]> {
        payload.get_mut(self.offset..)?.get_mut(..width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_in_its_place_and_nowhere_else() {
        let mut payload = b"<          >".to_vec();
        for (millis, expected) in [
            (0, "<         0>"),
            (1_234, "<      1234>"),
            (7, "<         7>"),
            (TIME_LEFT_MAX, "<2147483647>"),
            (u32::MAX, "<2147483647>"),
        ] {
            Slot::decimal(1).write(&mut payload, millis);
            assert_eq!(payload, expected.as_bytes());
        }
        let mut payload = [9; 6];
        Slot::big_endian(0).behind(1).write(&mut payload, 0x0102_0304);
        assert_eq!(payload, [9, 1, 2, 3, 4, 9]);
    }

    #[test]
    fn a_payload_without_the_slot_stays_as_it_is() {
        let mut payload = [9; 6];
        Slot::decimal(0).write(&mut payload, 1);
        Slot::big_endian(3).write(&mut payload, 1);
        Slot::big_endian(usize::MAX).write(&mut payload, 1);
        assert_eq!(payload, [9; 6]);
    }

    #[test]
    fn a_time_is_cut_to_what_can_be_said() {
        assert_eq!(whole_millis(Duration::MAX), TIME_LEFT_MAX);
        assert_eq!(whole_millis(Duration::from_micros(1_999)), 1);
    }
}
