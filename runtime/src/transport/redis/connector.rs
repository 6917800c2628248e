//! Makes connections: to the one server that the address names, or to the master that Sentinels name.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    config::Config,
    error::ConnectError,
    time::deadline_after,
    transport::redis::{
        address::{ServerAddress, announced},
        door::{Door, Opened, Role},
        login::Login,
        sentinels::{Sentinels, Servers},
        tls::Trust,
        topology::{AddressMap, Topology},
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
    /// To the master that these name.
    Sentinels(Arc<Sentinels>),
}

impl Connector {
    pub(super) fn new(url: &str, config: &Config) -> Result<Self, ConnectError> {
        let ServerAddress { topology, encrypted, login } = ServerAddress::parse(url, config)?;
        if encrypted && !cfg!(feature = "tls") {
            let reason = "this program is built without TLS: enable the feature `tls` of `tidings`".to_owned();
            let scheme = if matches!(topology, Topology::Single(_)) { "rediss" } else { "rediss+sentinel" };
            return Err(ConnectError::InvalidUrl { url: format!("{scheme}://{topology}"), reason });
        }
        if !encrypted && config.certificate_authority.is_some() {
            let reason = "a certificate authority is for TLS: write `rediss://` in the address, or leave it away";
            return Err(ConnectError::InvalidConfig(reason.to_owned()));
        }
        let (user, timeout, map) = (login.user().into(), config.connect_timeout, address_map(config)?);
        let trust = encrypted.then(|| Trust::new(config.certificate_authority.as_deref())).transpose();
        let servers = Servers { login, trust: trust.map_err(ConnectError::InvalidConfig)?, timeout };
        let way = match topology {
            Topology::Single(endpoint) => {
                let invalid = |error| match error {
                    ConnectError::Tls { reason, .. } => ConnectError::InvalidConfig(reason),
                    other => other,
                };
                Way::One(Arc::new(servers.door(endpoint).map_err(invalid)?))
            }
            Topology::Sentinels { sentinels, master } => {
                let (username, password) = config.sentinel_credentials.clone().unzip();
                let asked = Servers { login: Login { username, password }, ..servers.clone() };
                let doors = sentinels.into_iter().map(|sentinel| asked.door(sentinel)).collect::<Result<_, _>>()?;
                Way::Sentinels(Arc::new(Sentinels::start(doors, master, servers, map, config.reconnect)))
            }
        };
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
            Way::Sentinels(sentinels) => sentinels.open(name, deadline).await?,
        };
        self.successes.send_replace(());
        Ok(opened)
    }
}

fn address_map(config: &Config) -> Result<AddressMap, ConnectError> {
    let mut map = AddressMap::default();
    for (from, to) in &config.address_map {
        let endpoint = |text: &str| {
            announced(text).map_err(|reason| ConnectError::InvalidConfig(format!("`map_address`: `{text}`: {reason}")))
        };
        map.add(endpoint(from)?.to_string(), endpoint(to)?);
    }
    Ok(map)
}
