//! A connection's bytes, encrypted or not.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// A connection's bytes, encrypted or not.
pub(super) type Stream = Box<dyn Duplex>;

pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {
    /// The socket, for writing past the stream. There is none where bytes are encrypted on their way.
    fn socket(&self) -> Option<Arc<OwnedWriteHalf>> {
        None
    }
}

#[cfg(unix)]
impl Duplex for tokio::net::UnixStream {}

#[cfg(test)]
impl Duplex for tokio::io::DuplexStream {}

/// An unencrypted connection: its socket can be written to from elsewhere too.
pub(super) struct Unencrypted {
    read: OwnedReadHalf,
    write: Arc<OwnedWriteHalf>,
}

impl From<TcpStream> for Unencrypted {
    fn from(stream: TcpStream) -> Self {
        let (read, write) = stream.into_split();
        Self { read, write: Arc::new(write) }
    }
}

impl Duplex for Unencrypted {
    fn socket(&self) -> Option<Arc<OwnedWriteHalf>> {
        Some(Arc::clone(&self.write))
    }
}

impl AsyncRead for Unencrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.read).poll_read(context, buffer)
    }
}

impl AsyncWrite for Unencrypted {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            std::task::ready!(self.write.as_ref().as_ref().poll_write_ready(context))?;
            match self.write.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The socket is closed when nobody holds it any more.
    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
