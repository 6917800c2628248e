//! What the text of a parameter can look like, known at compile time.

/// The set of texts that a parameter's type can have in a channel.
///
/// The compiler compares shapes to prove that two routes never take the same channel: `orders:<id>` with `id: u64`
/// and `orders:new` are disjoint, because no [`Unsigned`](Shape::Unsigned) is spelled `new`.
///
/// A type of your own that promises a shape must keep the promise: a value that writes a text outside of its shape
/// is refused by every route of that type, and counted.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Shape {
    /// Any text.
    Text,
    /// A decimal number without a sign, without leading zeros.
    Unsigned,
    /// A decimal number, perhaps with a leading `-`, without leading zeros.
    Signed,
    /// A UUID in its hyphenated lower-case form.
    Uuid,
    /// One character.
    Char,
    /// An IP address: hexadecimal digits, `.` and `:`.
    IpAddress,
    /// One of these texts. None of them needs percent-encoding.
    OneOf(&'static [&'static str]),
}

impl Shape {
    /// Whether the encoded segment can be the text of a value of this shape.
    #[inline]
    pub(crate) const fn accepts(&self, segment: &[u8]) -> bool {
        match self {
            // Most parameters are a number.
            Self::Unsigned => is_unsigned(segment, 0),
            shape => shape.takes(segment),
        }
    }

    /// The same, and no part of whoever asks.
    const fn takes(&self, segment: &[u8]) -> bool {
        match self {
            Self::Text => !segment.is_empty(),
            Self::Unsigned => is_unsigned(segment, 0),
            Self::Signed => is_signed(segment),
            Self::Uuid => is_uuid(segment),
            Self::Char => is_char(segment),
            Self::IpAddress => is_ip_address(segment),
            Self::OneOf(texts) => is_one_of(segment, texts),
        }
    }

    /// Whether some segment is accepted by both. May say `true` in doubt, never `false`.
    pub(crate) const fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text, _) | (_, Self::Text) => true,
            (Self::OneOf(texts), shape) | (shape, Self::OneOf(texts)) => any_accepted(texts, shape),
            (Self::Uuid, Self::Uuid) => true,
            (Self::Uuid, _) | (_, Self::Uuid) => false,
            (
                Self::Unsigned | Self::Signed | Self::Char | Self::IpAddress,
                Self::Unsigned | Self::Signed | Self::Char | Self::IpAddress,
            ) => true,
        }
    }

    /// Whether every segment that `other` accepts is accepted by this shape too. May say `false` in doubt, never `true`.
    pub(crate) const fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text, _)
            | (Self::Signed, Self::Signed | Self::Unsigned)
            | (Self::Unsigned, Self::Unsigned)
            | (Self::Uuid, Self::Uuid)
            | (Self::Char, Self::Char)
            | (Self::IpAddress, Self::IpAddress | Self::Unsigned) => true,
            (shape, Self::OneOf(texts)) => all_accepted(texts, shape),
            _ => false,
        }
    }
}

#[inline]
const fn is_unsigned(segment: &[u8], from: usize) -> bool {
    let digits = segment.len() - from;
    if digits == 0 || (digits > 1 && segment[from] == b'0') {
        return false;
    }
    let mut index = from;
    while index < segment.len() {
        if !segment[index].is_ascii_digit() {
            return false;
        }
        index += 1;
    }
    true
}

const fn is_signed(segment: &[u8]) -> bool {
    if segment.len() > 1 && segment[0] == b'-' {
        return segment[1] != b'0' && is_unsigned(segment, 1);
    }
    is_unsigned(segment, 0)
}

const fn is_uuid(segment: &[u8]) -> bool {
    if segment.len() != 36 {
        return false;
    }
    let mut index = 0;
    while index < 36 {
        let fits = match index {
            8 | 13 | 18 | 23 => segment[index] == b'-',
            _ => matches!(segment[index], b'0'..=b'9' | b'a'..=b'f'),
        };
        if !fits {
            return false;
        }
        index += 1;
    }
    true
}

/// One UTF-8 sequence, or one that is percent-encoded byte by byte.
const fn is_char(segment: &[u8]) -> bool {
    match segment {
        [] => false,
        [b'%', ..] => segment.len().is_multiple_of(3) && segment.len() <= 12,
        [first, ..] => {
            let width = match first {
                0x00..=0x7F => 1,
                0xC0..=0xDF => 2,
                0xE0..=0xEF => 3,
                _ => 4,
            };
            segment.len() == width
        }
    }
}

const fn is_ip_address(segment: &[u8]) -> bool {
    let mut index = 0;
    while index < segment.len() {
        if !(segment[index].is_ascii_hexdigit() || matches!(segment[index], b'.' | b'%')) {
            return false;
        }
        index += 1;
    }
    !segment.is_empty()
}

const fn is_one_of(segment: &[u8], texts: &[&str]) -> bool {
    let mut index = 0;
    while index < texts.len() {
        if bytes_equal(segment, texts[index].as_bytes()) {
            return true;
        }
        index += 1;
    }
    false
}

const fn any_accepted(texts: &[&str], shape: &Shape) -> bool {
    let mut index = 0;
    while index < texts.len() {
        if shape.accepts(texts[index].as_bytes()) {
            return true;
        }
        index += 1;
    }
    false
}

const fn all_accepted(texts: &[&str], shape: &Shape) -> bool {
    let mut index = 0;
    while index < texts.len() {
        if !shape.accepts(texts[index].as_bytes()) {
            return false;
        }
        index += 1;
    }
    true
}

pub(crate) const fn bytes_equal(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut index = 0;
    while index < left.len() {
        if left[index] != right[index] {
            return false;
        }
        index += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPES: [Shape; 7] = [
        Shape::Text,
        Shape::Unsigned,
        Shape::Signed,
        Shape::Uuid,
        Shape::Char,
        Shape::IpAddress,
        Shape::OneOf(&["high", "low", "7", "x", "beef"]),
    ];

    const SEGMENTS: [&str; 16] = [
        "0",
        "7",
        "42",
        "-7",
        "-0",
        "007",
        "x",
        "é",
        "%3A",
        "high",
        "beef",
        "10.0.0.1",
        "%3A%3A1",
        "new",
        "%_",
        "67e55044-10b1-426f-9247-bb680e5fe0c8",
    ];

    #[test]
    fn numbers_have_one_spelling() {
        for (segment, unsigned, signed) in [
            ("0", true, true),
            ("10", true, true),
            ("-1", false, true),
            ("-0", false, false),
            ("01", false, false),
            ("", false, false),
        ] {
            assert_eq!(Shape::Unsigned.accepts(segment.as_bytes()), unsigned, "{segment}");
            assert_eq!(Shape::Signed.accepts(segment.as_bytes()), signed, "{segment}");
        }
    }

    #[test]
    fn a_shape_accepts_the_spellings_of_its_values_alone() {
        const UUID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        let accepts = |shape: Shape, accepted: &[&str], refused: &[&str]| {
            accepted.iter().for_each(|text| assert!(shape.accepts(text.as_bytes()), "{shape:?} {text}"));
            refused.iter().for_each(|text| assert!(!shape.accepts(text.as_bytes()), "{shape:?} {text}"));
        };
        accepts(Shape::Text, &["a", "%_", "\u{e9}"], &[""]);
        accepts(Shape::Unsigned, &["0", "9", "10", "42"], &["", "-1", "00", "01", "1a", "a1", "-"]);
        accepts(Shape::Signed, &["0", "10", "-1", "-10"], &["", "-", "-0", "-01", "00", "--1", "1-", "-1a"]);
        accepts(
            Shape::Uuid,
            &[UUID],
            &["", &UUID[1..], &format!("{UUID}0"), &UUID.to_uppercase(), &UUID.replace('e', "g")],
        );
        for at in 0..UUID.len() {
            let mut wrong = UUID.as_bytes().to_vec();
            wrong[at] = if wrong[at] == b'-' { b'0' } else { b'-' };
            assert!(!Shape::Uuid.accepts(&wrong), "{at}");
        }
        accepts(
            Shape::Char,
            &[
                "x",
                "\u{7f}",
                "\u{e9}",
                "\u{7ff}",
                "\u{800}",
                "\u{ffff}",
                "\u{1f980}",
                "%3A",
                "%C2%A0",
                "%E2%80%A8",
                "%F0%9F%A6%80",
            ],
            &["", "xy", "\u{e9}x", "\u{20ac}x", "\u{1f980}x", "%", "%3", "%3A%", "%3A%3A%3A%3A%3A"],
        );
        accepts(
            Shape::IpAddress,
            &["10.0.0.1", "%3A%3A1", "2001%3Adb8%3A%3AAF", "7"],
            &["", "10.0.0.g", "g", "a_b", "1:2"],
        );
        accepts(Shape::OneOf(&["high", "low"]), &["high", "low"], &["", "hig", "highs", "hugh", "hihg", "gh"]);
        accepts(Shape::OneOf(&[]), &[], &["", "high"]);
    }

    /// In the order of `SHAPES`, in rows and in columns.
    #[test]
    fn which_shapes_overlap_and_which_cover_which() {
        let table = |holds: fn(&Shape, &Shape) -> bool| {
            SHAPES
                .map(|row| SHAPES.map(|column| if holds(&row, &column) { 'x' } else { '.' }).iter().collect::<String>())
        };
        assert_eq!(
            table(Shape::overlaps),
            ["xxxxxxx", "xxx.xxx", "xxx.xxx", "x..x...", "xxx.xxx", "xxx.xxx", "xxx.xxx"]
        );
        assert_eq!(table(Shape::covers), ["xxxxxxx", ".x.....", ".xx....", "...x...", "....x..", ".x...x.", "......x"]);
    }

    #[test]
    fn a_shape_covers_texts_only_if_it_accepts_each_of_them() {
        for (shape, texts, covers) in [
            (Shape::Unsigned, Shape::OneOf(&["7", "8"]), true),
            (Shape::Unsigned, Shape::OneOf(&["7", "x"]), false),
            (Shape::Unsigned, Shape::OneOf(&["x", "7"]), false),
            (Shape::Char, Shape::OneOf(&["7", "x"]), true),
            (Shape::OneOf(&["a", "b", "c"]), Shape::OneOf(&["c", "a"]), true),
            (Shape::OneOf(&["c", "a"]), Shape::OneOf(&["a", "b", "c"]), false),
        ] {
            assert_eq!(shape.covers(&texts), covers, "{shape:?} {texts:?}");
        }
    }

    #[test]
    fn overlap_and_cover_agree_with_what_is_accepted() {
        for left in &SHAPES {
            for right in &SHAPES {
                assert_eq!(left.overlaps(right), right.overlaps(left), "{left:?} {right:?}");
                for segment in SEGMENTS.map(str::as_bytes) {
                    if left.accepts(segment) && right.accepts(segment) {
                        assert!(left.overlaps(right), "{left:?} {right:?}");
                    }
                    if left.covers(right) && right.accepts(segment) {
                        assert!(left.accepts(segment), "{left:?} {right:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn words_and_numbers_are_disjoint() {
        assert!(!Shape::Unsigned.overlaps(&Shape::OneOf(&["high", "low"])));
        assert!(!Shape::Unsigned.overlaps(&Shape::Uuid));
        assert!(Shape::Unsigned.overlaps(&Shape::Signed));
    }
}
