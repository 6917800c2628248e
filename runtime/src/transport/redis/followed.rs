//! A connection for as long as what is known of its server stays so: that it is the master, or a node of the cluster.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::tcp::OwnedWriteHalf,
    sync::watch,
};

use crate::transport::redis::stream::{Duplex, Stream};

/// A connection that fails as soon as its server is no longer what it was: whatever is on it learns of that like of any other loss.
pub(super) struct Followed {
    stream: Stream,
    /// Completes when that is so; absent once it was.
    replaced: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// What is said then.
    reason: &'static str,
}

impl Followed {
    /// Follows what is known, as long as it `stays`.
    pub(super) fn new<T: Send + Sync + 'static>(
        stream: Stream,
        mut known: watch::Receiver<T>,
        stays: impl Fn(&T) -> bool + Send + Sync + 'static,
        reason: &'static str,
    ) -> Self {
        let replaced = async move {
            // Without a sender nothing changes any more.
            if known.wait_for(|known| !stays(known)).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        Self { stream, replaced: Some(Box::pin(replaced)), reason }
    }

    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if let Some(replaced) = &mut self.replaced
            && replaced.as_mut().poll(context).is_pending()
        {
            return Ok(());
        }
        self.replaced = None;
        Err(io::Error::new(io::ErrorKind::ConnectionReset, self.reason))
    }
}

impl Duplex for Followed {
    fn socket(&self) -> Option<Arc<OwnedWriteHalf>> {
        self.stream.socket()
    }
}

impl AsyncRead for Followed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Followed {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // Whoever reads is told; this only keeps bytes from a server that is another one now. Its waker belongs to the reader.
        if self.replaced.is_none() {
            self.check(context)?;
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn it_fails_once_what_is_known_has_changed_and_not_before() {
        let (near, mut far) = tokio::io::duplex(64);
        let (known, seen) = watch::channel(1);
        let mut followed = Followed::new(Box::new(near), seen, |known| *known == 1, "another is the master");
        far.write_all(b"a").await.unwrap();
        let mut byte = [0];
        assert_eq!(followed.read(&mut byte).await.unwrap(), 1);
        known.send_replace(1);
        followed.write_all(b"b").await.unwrap();
        let (read, _) = tokio::join!(followed.read(&mut byte), async { known.send_replace(2) });
        assert!(read.unwrap_err().to_string().contains("another is the master"));
        assert!(followed.write_all(b"c").await.is_err());
    }
}
