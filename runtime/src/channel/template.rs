//! Channel templates as constants that the derive emits and the route proofs read.

use std::fmt;

use crate::channel::shape::Shape;

/// A message type's channel with its parameters left open, such as `orders:<id>`.
///
/// The derive splits the template; nothing parses text at run time or in constant evaluation.
#[derive(Clone, Copy)]
pub struct Template {
    text: &'static str,
    segments: &'static [Segment],
}

/// One segment of a [`Template`].
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Segment {
    /// Text that stands in the channel as it is.
    #[non_exhaustive]
    Literal {
        /// The text.
        text: &'static str,
        /// A hash of the text, the same in constant evaluation and at run time.
        hash: u64,
    },
    /// One segment that a parameter fills.
    #[non_exhaustive]
    Parameter {
        /// The parameter's name.
        name: &'static str,
        /// What its text can look like.
        shape: Shape,
    },
    /// All remaining segments.
    #[non_exhaustive]
    Rest {
        /// The parameter's name.
        name: &'static str,
        /// What the text of each of its segments can look like.
        shape: Shape,
    },
}

impl Template {
    #[doc(hidden)]
    #[must_use]
    pub const fn new(text: &'static str, segments: &'static [Segment]) -> Self {
        Self { text, segments }
    }

    /// The template as it was written, without the types of its parameters: `chat:room:<room>`.
    #[must_use]
    pub const fn text(&self) -> &'static str {
        self.text
    }

    /// The segments, in order.
    #[must_use]
    pub const fn segments(&self) -> &'static [Segment] {
        self.segments
    }

    /// Whether the template has parameters.
    #[must_use]
    pub fn has_parameters(&self) -> bool {
        !self.segments.iter().all(|segment| matches!(segment, Segment::Literal { .. }))
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.text, formatter)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text)
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal { text, .. } => formatter.debug_tuple("Literal").field(text).finish(),
            Self::Parameter { name, .. } => formatter.debug_tuple("Parameter").field(name).finish(),
            Self::Rest { name, .. } => formatter.debug_tuple("Rest").field(name).finish(),
        }
    }
}

impl Segment {
    #[doc(hidden)]
    #[must_use]
    pub const fn literal(text: &'static str) -> Self {
        Self::Literal { text, hash: hash_segment(text.as_bytes()) }
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn parameter(name: &'static str, shape: Shape) -> Self {
        Self::Parameter { name, shape }
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn rest(name: &'static str, shape: Shape) -> Self {
        Self::Rest { name, shape }
    }
}

/// A 64-bit hash of one segment, eight bytes a step, the same in constant evaluation and at run time.
///
/// It narrows a search; equal text is always checked after equal hashes, so collisions cost time and nothing else.
pub(crate) const fn hash_segment(segment: &[u8]) -> u64 {
    // The multiplier is 2^64 divided by the golden ratio, made odd: it spreads each input bit over the high half.
    const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut hash = SPREAD ^ segment.len() as u64;
    let mut rest = segment;
    while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
        hash = fold(hash ^ u64::from_le_bytes(*chunk), SPREAD);
        rest = tail;
    }
    let mut last = 0;
    let mut index = 0;
    while index < rest.len() {
        last |= (rest[index] as u64) << (8 * index);
        index += 1;
    }
    fold(hash ^ last, SPREAD)
}

const fn fold(left: u64, right: u64) -> u64 {
    let product = left as u128 * right as u128;
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_template_has_parameters_where_not_every_segment_is_literal() {
        const LITERAL: [Segment; 2] = [Segment::literal("orders"), Segment::literal("new")];
        const REST: [Segment; 1] = [Segment::rest("all", Shape::Text)];
        const OPEN: [Segment; 2] = [Segment::literal("orders"), Segment::parameter("id", Shape::Unsigned)];
        let (literal, open) = (Template::new("orders:new", &LITERAL), Template::new("orders:<id>", &OPEN));
        assert!(!literal.has_parameters() && open.has_parameters());
        assert!(Template::new("<all..>", &REST).has_parameters());
        assert_eq!((literal.to_string(), open.text()), ("orders:new".to_owned(), "orders:<id>"));
        assert_eq!(format!("{open:?}"), r#""orders:<id>""#);
        assert_eq!(format!("{OPEN:?} {REST:?}"), r#"[Literal("orders"), Parameter("id")] [Rest("all")]"#);
    }

    /// Texts that differ in as little as segments do: in one byte at any place, in length, in the order of their bytes.
    fn similar_segments() -> HashSet<Vec<u8>> {
        let numbers = (0..2_000_u64).flat_map(|number| {
            [number.to_string().into_bytes(), number.to_le_bytes().to_vec(), number.to_be_bytes().to_vec()]
        });
        let runs = (0..40).flat_map(|length| [vec![0; length % 9], vec![b'a'; length]]);
        let one_byte = (0..24).flat_map(|at| {
            (0..8).map(move |bit| {
                let mut segment = vec![b'a'; 24 - at % 3];
                let last = segment.len() - 1;
                segment[at.min(last)] ^= 1 << bit;
                segment
            })
        });
        let turned = (0..26).map(|turn| (0..26).map(|letter| b'a' + (letter + turn) % 26).collect());
        numbers.chain(runs).chain(one_byte).chain(turned).collect()
    }

    #[test]
    fn similar_segments_have_different_hashes_in_which_every_high_bit_counts() {
        let segments = similar_segments();
        let hashes: HashSet<u64> = segments.iter().map(|segment| hash_segment(segment)).collect();
        assert_eq!(hashes.len(), segments.len());
        for bit in 32..64 {
            let set = hashes.iter().filter(|&hash| hash >> bit & 1 == 1).count();
            assert!((40..60).contains(&(100 * set / hashes.len())), "bit {bit} is set in {set} of {}", hashes.len());
        }
    }
}
