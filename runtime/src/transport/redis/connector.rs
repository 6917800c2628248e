//! Makes connections: to the one server that the address names, or to the master that Sentinels name.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    config::Config,
    error::ConnectError,
    time::deadline_after,
    transport::redis::{
        address::ServerAddress,
        door::{Door, Opened, Role},
        tls::Tls,
        topology::{Endpoint, Topology},
    },
};

/// Makes connections: it knows where the servers are and how to sign in.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    way: Way,
    user: Arc<str>,
    timeout: Duration,
    /// Told of each connection that was made, by whichever clone.
    successes: Arc<watch::Sender<()>>,
}

/// Where connections go.
#[derive(Clone, Debug)]
enum Way {
    /// To this server.
    One(Arc<Door>),
}

impl Connector {
    pub(super) fn new(url: &str, config: &Config) -> Result<Self, ConnectError> {
        let ServerAddress { topology, encrypted, login } = ServerAddress::parse(url, config)?;
        if encrypted && !cfg!(feature = "tls") {
            let reason = "this program is built without TLS: enable the feature `tls` of `tidings`".to_owned();
            return Err(ConnectError::InvalidUrl { url: format!("rediss://{}", topology.endpoint()), reason });
        }
        if !encrypted && config.certificate_authority.is_some() {
            let reason = "a certificate authority is for TLS: write `rediss://` in the address, or leave it away";
            return Err(ConnectError::InvalidConfig(reason.to_owned()));
        }
        let user = login.user().into();
        let Topology::Single(endpoint) = topology;
        let tls = match &endpoint {
            Endpoint::Network { host, .. } if encrypted => {
                let tls = Tls::new(host, config.certificate_authority.as_deref());
                Some(tls.map_err(ConnectError::InvalidConfig)?)
            }
            _ => None,
        };
        let timeout = config.connect_timeout;
        let way = Way::One(Arc::new(Door { endpoint, login, tls, timeout }));
        Ok(Self { way, user, timeout, successes: Arc::default() })
    }

    /// The user of access rules.
    pub(super) fn user(&self) -> &str {
        &self.user
    }

    /// Tells of the connections that are made from now on: when one succeeds, another one will too.
    pub(super) fn successes(&self) -> watch::Receiver<()> {
        self.successes.subscribe()
    }

    /// Connects and signs in under `name`, which CLIENT LIST shows. All of it within the connect timeout.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes what was made so far.
    pub(super) async fn open(&self, name: &str) -> Result<Opened, ConnectError> {
        self.open_to(Role::Any, name).await
    }

    /// Like [`open`](Self::open), where the server has to be the master.
    ///
    /// # Cancel safety
    ///
    /// As of [`open`](Self::open).
    pub(super) async fn open_master(&self, name: &str) -> Result<Opened, ConnectError> {
        self.open_to(Role::Master, name).await
    }

    async fn open_to(&self, role: Role, name: &str) -> Result<Opened, ConnectError> {
        let deadline = deadline_after(self.timeout);
        let opened = match &self.way {
            Way::One(door) => door.open(role, name, deadline).await?,
        };
        self.successes.send_replace(());
        Ok(opened)
    }

    /// Host and port, without credentials.
    pub(super) fn address(&self) -> String {
        match &self.way {
            Way::One(door) => door.address(),
        }
    }
}
