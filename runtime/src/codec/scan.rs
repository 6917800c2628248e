//! A look over a binary payload before it is read: where its one item ends, and that it is not too deep.
//!
//! Deserializers recurse as deep as the payload is nested, and a hostile one could overflow the stack; the scan does not recurse.

/// What the next bytes begin.
#[cfg_attr(not(feature = "cbor"), expect(dead_code, reason = "MessagePack always says how many items follow"))]
pub(super) enum Head {
    /// An item without items inside. The cursor has passed it.
    Leaf,
    /// So many items follow.
    Items(u64),
    /// Items follow, up to a break.
    Open,
    /// The end of an open item.
    Break,
    /// A mark of the item that follows.
    Mark,
}

/// The same depth that serde_json allows: far less than a stack holds, more than a message has.
const DEPTH_MAX: usize = 128;

pub(super) const CUT: &str = "the payload ends within an item";
pub(super) const NO_ITEM: &str = "a byte that begins no item";

/// Bytes after the first item, which is whole and not too deep.
pub(super) fn rest_after_item(
    payload: &[u8],
    head: impl Fn(&mut Cursor<'_>) -> Result<Head, &'static str>,
) -> Result<usize, &'static str> {
    let mut cursor = Cursor::new(payload);
    // What is still missing of each item that is open; `None` where a break ends it.
    let mut open: Vec<Option<u64>> = Vec::new();
    loop {
        let begun = match head(&mut cursor)? {
            Head::Mark => continue,
            Head::Leaf | Head::Items(0) => None,
            Head::Break if open.pop() == Some(None) => None,
            Head::Break => return Err(NO_ITEM),
            Head::Items(count) => Some(Some(count)),
            Head::Open => Some(None),
        };
        if let Some(missing) = begun {
            if open.len() == DEPTH_MAX {
                return Err("nested too deeply");
            }
            open.push(missing);
            continue;
        }
        while let Some(Some(missing)) = open.last_mut() {
            *missing -= 1;
            if *missing > 0 {
                break;
            }
            open.pop();
        }
        if open.is_empty() {
            return Ok(cursor.rest.len());
        }
    }
}

/// The bytes that were not yet looked at.
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    #[cfg(feature = "cbor")]
    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    pub(super) fn byte(&mut self) -> Result<u8, &'static str> {
        self.number(1).map(|number| number as u8)
    }

    /// A number of up to eight bytes.
    pub(super) fn number(&mut self, bytes: usize) -> Result<u64, &'static str> {
        let (number, rest) = self.rest.split_at_checked(bytes).ok_or(CUT)?;
        self.rest = rest;
        Ok(number.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// Passes over bytes that hold nothing.
    pub(super) fn leaf(&mut self, bytes: u64) -> Result<Head, &'static str> {
        let bytes = usize::try_from(bytes).map_err(|_| CUT)?;
        self.rest = self.rest.get(bytes..).ok_or(CUT)?;
        Ok(Head::Leaf)
    }
}
