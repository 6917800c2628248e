//! Received bytes.

use std::{ops::Range, time::Instant};

use bytes::Bytes;

use crate::time::Arrival;

/// One received message: a slice of the read buffer that holds channel and payload.
///
/// One reference count for both keeps the hot path at two atomic operations a message.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    bytes: Bytes,
    channel: Range<u32>,
    payload: Range<u32>,
    origin: Origin,
    arrived: Arrival,
}

/// How a frame came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// On publish/subscribe; the token says which of an inbox's names delivered it.
    Broadcast { token: u32 },
    /// To the inbox of this instance, and to nobody else.
    Inbox,
    /// From a queue, to this instance alone.
    Task,
}

impl Frame {
    /// The ranges are within `bytes`. The channel is without its namespace.
    #[inline]
    pub(crate) fn new(
        bytes: Bytes,
        channel: Range<u32>,
        payload: Range<u32>,
        origin: Origin,
        arrived: impl Into<Arrival>,
    ) -> Self {
        Self { bytes, channel, payload, origin, arrived: arrived.into() }
    }

    /// Of a task. The channel is without its namespace.
    pub(crate) fn of_task(channel: &str, payload: &[u8], arrived: Instant) -> Self {
        let mut bytes = Vec::with_capacity(channel.len() + payload.len());
        bytes.extend_from_slice(channel.as_bytes());
        bytes.extend_from_slice(payload);
        let (channel, end) = (channel.len() as u32, bytes.len() as u32);
        Self::new(Bytes::from(bytes), 0..channel, channel..end, Origin::Task, arrived)
    }

    #[inline]
    pub(crate) fn channel(&self) -> &[u8] {
        &self.bytes[self.channel.start as usize..self.channel.end as usize]
    }

    #[inline]
    pub(crate) fn payload(&self) -> &[u8] {
        &self.bytes[self.payload.start as usize..self.payload.end as usize]
    }

    #[inline]
    pub(crate) fn payload_len(&self) -> usize {
        self.payload.len()
    }

    /// The payload, shared.
    pub(crate) fn share_payload(&self) -> Bytes {
        self.bytes.slice(self.payload.start as usize..self.payload.end as usize)
    }

    /// What came to an inbox: its payload begins with the channel, of which so many bytes are the namespace, up to `end`. `None` where that is
    /// shorter.
    pub(crate) fn taken_apart(mut self, namespace: usize, end: usize) -> Option<Self> {
        let local = end.checked_sub(namespace).filter(|_| end < self.payload.len())?;
        let end = self.payload.start + u32::try_from(end).ok()?;
        self.channel = end - u32::try_from(local).ok()?..end;
        self.payload.start = end + 1;
        self.origin = Origin::Inbox;
        Some(self)
    }

    #[inline]
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// When it was read from the connection.
    #[inline]
    pub(crate) fn arrived(&self) -> Arrival {
        self.arrived
    }

    /// Bytes of channel and payload.
    #[inline]
    pub(crate) fn size(&self) -> usize {
        self.channel.len() + self.payload.len()
    }

    /// Moves the frame out of the read buffer, so that a message that waits for long does not hold the whole buffer.
    pub(crate) fn compact(&mut self) {
        let mut bytes = Vec::with_capacity(self.size());
        bytes.extend_from_slice(self.channel());
        bytes.extend_from_slice(self.payload());
        let channel = self.channel.len() as u32;
        self.payload = channel..bytes.len() as u32;
        self.channel = 0..channel;
        self.bytes = Bytes::from(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to_inbox(payload: &'static [u8]) -> Frame {
        let bytes = Bytes::from([b"inbox", payload].concat());
        let end = bytes.len() as u32;
        Frame::new(bytes, 0..5, 5..end, Origin::Broadcast { token: 7 }, Instant::now())
    }

    #[test]
    fn what_comes_to_an_inbox_is_taken_apart_at_its_first_line_end() {
        let request = to_inbox(b"ns:quotes:7\n{\n}").taken_apart(3, 11).unwrap();
        assert_eq!((request.channel(), request.payload()), (&b"quotes:7"[..], &b"{\n}"[..]));
        assert_eq!(request.origin(), Origin::Inbox);
        let request = to_inbox(b"ns:\n").taken_apart(3, 3).unwrap();
        assert_eq!((request.channel(), request.payload()), (&b""[..], &b""[..]));
        assert!(to_inbox(b"n\n{}").taken_apart(3, 1).is_none(), "shorter than the namespace");
        assert!(to_inbox(b"ns:a").taken_apart(3, 4).is_none(), "there is no line end");
    }
}
