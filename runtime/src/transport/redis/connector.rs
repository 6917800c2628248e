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
        address::ServerAddress,
        capabilities::Capabilities,
        login::Login,
        resp::reply::hello,
        stream::{Stream, Unencrypted},
        tls::Tls,
        topology::{Endpoint, Topology},
        wire::encode,
    },
};

/// Makes connections: it knows where the servers are and how to sign in, and looks at the address anew each time.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    topology: Topology,
    login: Login,
    tls: Option<Tls>,
    timeout: Duration,
}

/// A connection that has signed in.
pub(super) struct Opened {
    pub(super) stream: Stream,
    pub(super) capabilities: Capabilities,
}

impl Connector {
    pub(super) fn new(url: &str, config: &Config) -> Result<Self, ConnectError> {
        let ServerAddress { topology, encrypted, login } = ServerAddress::parse(url, config)?;
        let tls = match encrypted {
            false => None,
            true if !cfg!(feature = "tls") => {
                let reason = "this program is built without TLS: enable the feature `tls` of `tidings`".to_owned();
                return Err(ConnectError::InvalidUrl { url: format!("rediss://{}", topology.endpoint()), reason });
            }
            true => {
                let tls = Tls::new(&topology.endpoint().host, config.certificate_authority.as_deref());
                Some(tls.map_err(ConnectError::InvalidConfig)?)
            }
        };
        Ok(Self { topology, login, tls, timeout: config.connect_timeout })
    }

    /// The user of access rules.
    pub(super) fn user(&self) -> &str {
        self.login.user()
    }

    /// Connects and signs in under `name`, which CLIENT LIST shows. All of it within the connect timeout.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes what was made so far.
    pub(super) async fn open(&self, name: &str) -> Result<Opened, ConnectError> {
        match tokio::time::timeout(self.timeout, self.open_unbounded(name)).await {
            Ok(opened) => opened,
            Err(_) => Err(ConnectError::TimedOut { address: self.address(), timeout: self.timeout }),
        }
    }

    /// Like [`open`](Self::open), for commands that write: the server has to be the master.
    ///
    /// # Cancel safety
    ///
    /// As of [`open`](Self::open).
    pub(super) async fn open_master(&self, name: &str) -> Result<Opened, ConnectError> {
        let opened = self.open(name).await?;
        if !opened.capabilities.is_master() {
            return Err(self.unusable(&format!(
                "its role is {}: what is published there reaches only its own subscribers; connect to the master",
                opened.capabilities.role
            )));
        }
        Ok(opened)
    }

    async fn open_unbounded(&self, name: &str) -> Result<Opened, ConnectError> {
        let unreachable = |source| ConnectError::Unreachable { address: self.address(), source };
        let Endpoint { host, port } = self.topology.endpoint();
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?;
        // Small commands and confirmations must not wait for each other.
        stream.set_nodelay(true).map_err(unreachable)?;
        let mut stream: Stream = match &self.tls {
            None => Box::new(Unencrypted::from(stream)),
            Some(tls) => Box::new(tls.wrap(stream).await.map_err(|reason| self.no_tls(reason))?),
        };
        let capabilities = self.greet(&mut stream, name).await?;
        Ok(Opened { stream, capabilities })
    }

    async fn greet(&self, stream: &mut Stream, name: &str) -> Result<Capabilities, ConnectError> {
        let words = self.login.greeting(name);
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
                Ok(Some((Ok(capabilities), end))) if end == answer.len() => return Ok(capabilities),
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
            Some("WRONGPASS" | "NOAUTH" | "NOPERM") => ConnectError::Unauthorized { address: self.address(), reason },
            _ => self.unusable(words),
        }
    }

    /// The connection ended during the greeting. Under TLS 1.3 a server that wants a client's certificate says so only here.
    fn cut_off(&self, source: io::Error) -> ConnectError {
        match self.tls {
            Some(_) if source.kind() == io::ErrorKind::InvalidData => self.no_tls(source.to_string()),
            _ => ConnectError::Unreachable { address: self.address(), source },
        }
    }

    fn no_tls(&self, reason: String) -> ConnectError {
        ConnectError::Tls { address: self.address(), reason }
    }

    fn address(&self) -> String {
        self.topology.endpoint().to_string()
    }

    fn unusable(&self, reason: &str) -> ConnectError {
        ConnectError::Unusable { address: self.address(), reason: reason.to_owned() }
    }
}
