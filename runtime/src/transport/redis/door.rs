//! The way into one server: TCP or a unix socket, TLS, HELLO.

use std::{io, net::SocketAddr, path::Path, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, lookup_host},
    time::{Instant, timeout_at},
};

use crate::{
    error::ConnectError,
    transport::redis::{
        capabilities::Capabilities,
        login::Login,
        race::{alternating, first},
        resp::reply::hello,
        stream::{Stream, Unencrypted},
        tls::{Tls, Trust},
        topology::Endpoint,
        wire::encode,
    },
};

/// The way into one server. It looks at the address anew each time.
#[derive(Clone, Debug)]
pub(super) struct Door {
    pub(super) endpoint: Endpoint,
    pub(super) login: Login,
    pub(super) tls: Option<Tls>,
    pub(super) timeout: Duration,
}

/// How servers are reached, wherever they are.
#[derive(Clone, Debug)]
pub(super) struct Servers {
    pub(super) login: Login,
    pub(super) trust: Option<Trust>,
    pub(super) timeout: Duration,
}

impl Servers {
    pub(super) fn door(&self, endpoint: Endpoint) -> Result<Door, ConnectError> {
        let tls = match (&self.trust, &endpoint) {
            (Some(trust), Endpoint::Network { host, .. }) => {
                let address = endpoint.to_string();
                Some(trust.of(host).map_err(|reason| ConnectError::Tls { address, reason })?)
            }
            _ => None,
        };
        Ok(Door { endpoint, login: self.login.clone(), tls, timeout: self.timeout })
    }
}

/// What to write where the server says NOAUTH.
const NO_PASSWORD: &str = "none were given, and it asks for a password: write it in the address, `redis://:password@host` or \
    `redis://user:password@host`; that of a Sentinel is given with `BusBuilder::sentinel_credentials`";

/// What the server has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Master,
    Any,
}

/// Where one attempt goes.
#[derive(Clone, Copy, Debug)]
enum Place<'a> {
    Network(SocketAddr),
    Local(&'a Path),
}

/// A connection that has signed in.
pub(super) struct Opened {
    /// Host and port of the server.
    pub(super) address: String,
    pub(super) stream: Stream,
    pub(super) capabilities: Capabilities,
}

impl Door {
    /// Connects and signs in under `name`, which CLIENT LIST shows. All of it until the deadline.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes what was made so far.
    pub(super) async fn open(&self, role: Role, name: &str, deadline: Instant) -> Result<Opened, ConnectError> {
        let places = timeout_at(deadline, self.places()).await.map_err(|_| self.late())??;
        self.open_any(places, deadline, role, name).await
    }

    async fn open_any(
        &self,
        places: Vec<Place<'_>>,
        deadline: Instant,
        role: Role,
        name: &str,
    ) -> Result<Opened, ConnectError> {
        // Of several failures, that of an address where something answered says more than that nobody was there.
        let tells = |error: &ConnectError| !matches!(error, ConnectError::Unreachable { .. });
        let opened = first(places, deadline, tells, |place| self.open_at(place, role, name)).await;
        opened.map_err(|failure| failure.unwrap_or_else(|| self.late()))
    }

    /// Where to try, at least one place. The name is looked up anew each time.
    async fn places(&self) -> Result<Vec<Place<'_>>, ConnectError> {
        match &self.endpoint {
            Endpoint::Local(path) => Ok(vec![Place::Local(path)]),
            Endpoint::Network { host, port } => {
                let found = lookup_host((host.as_str(), *port)).await.map_err(|error| self.unreachable(error))?;
                let addresses = alternating(found);
                if addresses.is_empty() {
                    return Err(self.unreachable(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
                }
                Ok(addresses.into_iter().map(Place::Network).collect())
            }
        }
    }

    async fn open_at(&self, place: Place<'_>, role: Role, name: &str) -> Result<Opened, ConnectError> {
        let mut stream = match place {
            Place::Local(path) => local(path).await.map_err(|error| self.unreachable(error))?,
            Place::Network(address) => self.open_network(address).await?,
        };
        let capabilities = self.greet(&mut stream, name).await?;
        match capabilities.role.as_str() {
            _ if role == Role::Any || capabilities.is_master() => {
                Ok(Opened { address: self.address(), stream, capabilities })
            },
            _ if capabilities.mode == "sentinel" => Err(self.unusable(
                "it is a Sentinel, which only knows where the master is: write `redis+sentinel://…/name`, with the name that it gives the master",
            )),
            "" => Err(self.unusable("it does not say that it is the master: connect to the master itself")),
            other => Err(self.unusable(&format!(
                "its role is {other}: what is published there reaches only its own subscribers; connect to the master"
            ))),
        }
    }

    async fn open_network(&self, address: SocketAddr) -> Result<Stream, ConnectError> {
        let stream = TcpStream::connect(address).await.map_err(|error| self.unreachable(error))?;
        // Small commands and confirmations must not wait for each other.
        stream.set_nodelay(true).map_err(|error| self.unreachable(error))?;
        match &self.tls {
            None => Ok(Box::new(Unencrypted::from(stream))),
            Some(tls) => Ok(Box::new(tls.wrap(stream).await.map_err(|reason| self.no_tls(reason))?)),
        }
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
            Some("NOAUTH") => ConnectError::Unauthorized { address: self.address(), reason: NO_PASSWORD.to_owned() },
            Some("WRONGPASS" | "NOPERM") => ConnectError::Unauthorized { address: self.address(), reason },
            _ => self.unusable(words),
        }
    }

    /// The connection ended during the greeting. Under TLS 1.3 a server that wants a client's certificate says so only here.
    fn cut_off(&self, source: io::Error) -> ConnectError {
        match self.tls {
            Some(_) if source.kind() == io::ErrorKind::InvalidData => self.no_tls(source.to_string()),
            _ => self.unreachable(source),
        }
    }

    fn unreachable(&self, source: io::Error) -> ConnectError {
        ConnectError::Unreachable { address: self.address(), source }
    }

    pub(super) fn late(&self) -> ConnectError {
        ConnectError::TimedOut { address: self.address(), timeout: self.timeout }
    }

    fn no_tls(&self, reason: String) -> ConnectError {
        ConnectError::Tls { address: self.address(), reason }
    }

    /// Host and port, without credentials.
    pub(super) fn address(&self) -> String {
        self.endpoint.to_string()
    }

    pub(super) fn unusable(&self, reason: &str) -> ConnectError {
        ConnectError::Unusable { address: self.address(), reason: reason.to_owned() }
    }
}

#[cfg(unix)]
async fn local(path: &Path) -> io::Result<Stream> {
    Ok(Box::new(tokio::net::UnixStream::connect(path).await?))
}

#[cfg(not(unix))]
async fn local(_path: &Path) -> io::Result<Stream> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpListener, task::JoinSet};

    use crate::time::deadline_after;

    use super::*;

    const MASTER: &[u8] = b"%2\r\n$5\r\nproto\r\n:3\r\n$4\r\nrole\r\n$6\r\nmaster\r\n";
    const REPLICA: &[u8] = b"%2\r\n$5\r\nproto\r\n:3\r\n$4\r\nrole\r\n$7\r\nreplica\r\n";

    /// Accepts and answers so, or not at all, for as long as the task lives.
    async fn server(tokio_tasks: &mut JoinSet<()>, answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio_tasks.spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.write_all(answer).await.unwrap();
                held.push(stream);
            }
        });
        address
    }

    #[tokio::test]
    async fn of_several_addresses_the_first_that_is_a_master_counts() {
        let mut tokio_tasks = JoinSet::new();
        let (silent, replica) = (server(&mut tokio_tasks, b"").await, server(&mut tokio_tasks, REPLICA).await);
        let master = server(&mut tokio_tasks, MASTER).await;
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let endpoint = Endpoint::Network { host: "name".to_owned(), port: 1 };
        let door = Door { endpoint, login: Login::default(), tls: None, timeout: Duration::from_secs(5) };
        let open = async |addresses: &[SocketAddr], role| {
            let places = addresses.iter().copied().map(Place::Network).collect();
            door.open_any(places, deadline_after(Duration::from_secs(2)), role, "test").await
        };
        let start = Instant::now();
        assert!(open(&[silent, master], Role::Master).await.is_ok());
        assert!(open(&[silent, nobody, replica, master], Role::Master).await.is_ok());
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        let opened = open(&[nobody, replica, master], Role::Any).await.unwrap();
        assert_eq!(opened.capabilities.role, "replica");
        let error = open(&[nobody, replica], Role::Master).await.err();
        assert!(matches!(error, Some(ConnectError::Unusable { .. })), "{error:?}");
        let error = open(&[silent, silent], Role::Master).await.err();
        assert!(matches!(error, Some(ConnectError::TimedOut { .. })), "{error:?}");
    }
}
