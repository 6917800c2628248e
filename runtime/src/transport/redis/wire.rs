//! What a connection reads into and writes from, and how a command is written.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::transport::redis::stream::Stream;

/// A command as Redis expects it: an array of strings.
pub(super) fn encode<W: AsRef<[u8]>>(to: &mut BytesMut, count: usize, words: impl IntoIterator<Item = W>) {
    push_header(to, b'*', count);
    for word in words {
        let word = word.as_ref();
        push_header(to, b'$', word.len());
        to.extend_from_slice(word);
        to.extend_from_slice(b"\r\n");
    }
}

fn push_header(to: &mut BytesMut, kind: u8, length: usize) {
    to.extend_from_slice(&[kind]);
    to.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    to.extend_from_slice(b"\r\n");
}

/// The reason of a connection's end, in words.
pub(super) fn lost(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
        _ => error.to_string(),
    }
}

/// What a connection reads into and writes from.
pub(super) struct Wire {
    stream: Stream,
    pub(super) incoming: BytesMut,
    pub(super) outgoing: BytesMut,
    unflushed: bool,
}

/// From 128 KiB on, larger reads save no more system calls that would be seen in a measurement.
const READ_BUFFER: usize = 128 * 1024;

/// With less room than this a new buffer is taken, so that reads do not become small at a buffer's end.
const LEAST_READ: usize = 32 * 1024;

impl Wire {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, incoming: BytesMut::new(), outgoing: BytesMut::new(), unflushed: false }
    }

    /// Writes what there is to write, and completes when something was read. `needed` is how many bytes the buffer must hold.
    ///
    /// # Cancel safety
    ///
    /// No byte is lost: what was read is in `incoming`, what was written has left `outgoing`.
    pub(super) async fn advance(&mut self, needed: usize) -> io::Result<()> {
        self.make_room(needed);
        std::future::poll_fn(|context| {
            if let Poll::Ready(Err(error)) = self.poll_write(context) {
                return Poll::Ready(Err(error));
            }
            // A `read_buf` has no state of its own: a new one for each poll is the same one.
            let read = std::pin::pin!(self.stream.read_buf(&mut self.incoming));
            match read.poll(context) {
                Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                other => other.map_ok(|_| ()),
            }
        })
        .await
    }

    /// Only writes; completes when all is written.
    ///
    /// # Cancel safety
    ///
    /// As of [`advance`](Self::advance).
    pub(super) async fn write(&mut self) -> io::Result<()> {
        std::future::poll_fn(|context| self.poll_write(context)).await
    }

    pub(super) fn has_to_write(&self) -> bool {
        self.unflushed || !self.outgoing.is_empty()
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let write = std::pin::pin!(self.stream.write_buf(&mut self.outgoing));
            match write.poll(context) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(_)) => self.unflushed = true,
                other => return other.map_ok(|_| ()),
            }
        }
        if self.unflushed {
            std::task::ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn make_room(&mut self, needed: usize) {
        let room = self.incoming.capacity() - self.incoming.len();
        if needed > self.incoming.capacity() {
            self.incoming.reserve((needed - self.incoming.len()).max(READ_BUFFER));
        } else if needed <= LEAST_READ && self.incoming.capacity() > 4 * READ_BUFFER {
            // The buffer of a large message: small ones must not hold it.
            let mut smaller = BytesMut::with_capacity(READ_BUFFER);
            smaller.extend_from_slice(&self.incoming);
            self.incoming = smaller;
        } else if room < LEAST_READ && needed <= self.incoming.len() + LEAST_READ {
            self.incoming.reserve(READ_BUFFER);
        }
    }
}
