//! Makes connections: TCP, TLS, HELLO.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::{
    config::Config,
    error::ConnectError,
    transport::redis::{
        address::Server,
        resp::{self, Hello},
        tls::Tls,
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

#[cfg(test)]
impl Duplex for tokio::io::DuplexStream {}

/// An unencrypted connection: its socket can be written to from elsewhere too.
pub(super) struct Plain {
    read: OwnedReadHalf,
    write: Arc<OwnedWriteHalf>,
}

impl From<TcpStream> for Plain {
    fn from(stream: TcpStream) -> Self {
        let (read, write) = stream.into_split();
        Self { read, write: Arc::new(write) }
    }
}

impl Duplex for Plain {
    fn socket(&self) -> Option<Arc<OwnedWriteHalf>> {
        Some(Arc::clone(&self.write))
    }
}

impl AsyncRead for Plain {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.read).poll_read(context, buffer)
    }
}

impl AsyncWrite for Plain {
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

/// Makes connections to one server, each with a fresh look at its address.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    server: Server,
    tls: Option<Tls>,
    timeout: Duration,
}

impl Connector {
    pub(super) fn new(url: &str, config: &Config) -> Result<Self, ConnectError> {
        let server = Server::parse(url, config)?;
        let tls = match server.encrypted {
            false => None,
            true if !cfg!(feature = "tls") => {
                let reason = "this program is built without TLS: enable the feature `tls` of `tidings`".to_owned();
                return Err(ConnectError::InvalidUrl { url: format!("rediss://{}", server.address()), reason });
            }
            true => Some(
                Tls::new(&server.host, config.certificate_authority.as_deref()).map_err(ConnectError::InvalidConfig)?,
            ),
        };
        Ok(Self { server, tls, timeout: config.connect_timeout })
    }

    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// Connects and signs in under `name`, which CLIENT LIST shows. All of it within the connect timeout.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes what was made so far.
    pub(super) async fn open(&self, name: &str) -> Result<(Stream, Hello), ConnectError> {
        match tokio::time::timeout(self.timeout, self.open_unbounded(name)).await {
            Ok(opened) => opened,
            Err(_) => Err(ConnectError::TimedOut { address: self.server.address(), timeout: self.timeout }),
        }
    }

    async fn open_unbounded(&self, name: &str) -> Result<(Stream, Hello), ConnectError> {
        let unreachable = |source| ConnectError::Unreachable { address: self.server.address(), source };
        let stream = TcpStream::connect((self.server.host.as_str(), self.server.port)).await.map_err(unreachable)?;
        // Small commands and confirmations must not wait for each other.
        stream.set_nodelay(true).map_err(unreachable)?;
        let mut stream: Stream = match &self.tls {
            None => Box::new(Plain::from(stream)),
            Some(tls) => Box::new(tls.wrap(stream).await.map_err(|reason| self.no_tls(reason))?),
        };
        let hello = self.greet(&mut stream, name).await?;
        Ok((stream, hello))
    }

    /// <https://redis.io/docs/latest/commands/hello/>
    async fn greet(&self, stream: &mut Stream, name: &str) -> Result<Hello, ConnectError> {
        let mut words = vec!["HELLO", "3"];
        if let Some(password) = &self.server.password {
            words.extend(["AUTH", self.server.user(), password]);
        }
        words.extend(["SETNAME", name]);
        let mut command = BytesMut::new();
        encode(&mut command, words.len(), words);
        stream.write_all(&command).await.map_err(|error| self.cut_off(error))?;
        stream.flush().await.map_err(|error| self.cut_off(error))?;
        let mut answer = BytesMut::with_capacity(1024);
        loop {
            if stream.read_buf(&mut answer).await.map_err(|error| self.cut_off(error))? == 0 {
                return Err(self.cut_off(io::ErrorKind::UnexpectedEof.into()));
            }
            match resp::hello(&answer) {
                Ok(None) => {}
                Ok(Some((Ok(hello), end))) if end == answer.len() => return Ok(hello),
                Ok(Some((Err(words), _))) => return Err(self.refused(&words)),
                Ok(Some(_)) => return Err(self.unusable("it says more than it was asked")),
                Err(error) => {
                    let hint = if self.tls.is_some() { "" } else { "; if it expects TLS, write `rediss://`" };
                    return Err(self.unusable(&format!("it does not speak Redis's protocol ({error}){hint}")));
                }
            }
        }
    }

    fn refused(&self, words: &str) -> ConnectError {
        // An old server quotes the arguments of a command that it does not know, and the password is one of them.
        if words.contains("unknown command") {
            return self.unusable("it does not know HELLO: Redis 6 or newer is needed");
        }
        let reason = words.to_owned();
        match words.split(' ').next() {
            Some("WRONGPASS" | "NOAUTH" | "NOPERM") => {
                ConnectError::Unauthorized { address: self.server.address(), reason }
            }
            _ => self.unusable(words),
        }
    }

    /// The connection ended during the greeting. Under TLS 1.3 a server that wants a client's certificate says so only here.
    fn cut_off(&self, source: io::Error) -> ConnectError {
        match self.tls {
            Some(_) if source.kind() == io::ErrorKind::InvalidData => self.no_tls(source.to_string()),
            _ => ConnectError::Unreachable { address: self.server.address(), source },
        }
    }

    fn no_tls(&self, reason: String) -> ConnectError {
        ConnectError::Tls { address: self.server.address(), reason }
    }

    pub(super) fn unusable(&self, reason: &str) -> ConnectError {
        ConnectError::Unusable { address: self.server.address(), reason: reason.to_owned() }
    }
}

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
