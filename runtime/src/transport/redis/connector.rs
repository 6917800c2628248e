//! Makes connections: TCP, TLS, HELLO.

use std::{io, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    config::Config,
    error::ConnectError,
    transport::redis::{
        address::Server,
        resp::reply::{Hello, hello},
        stream::{Stream, Unencrypted},
        tls::Tls,
        wire::encode,
    },
};

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
            None => Box::new(Unencrypted::from(stream)),
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
            match hello(&answer) {
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
