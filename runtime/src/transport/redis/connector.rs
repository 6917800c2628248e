//! Makes connections: to the one server that the address names, or to the master that Sentinels name.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    config::Config,
    error::ConnectError,
    time::deadline_after,
    transport::redis::{
        address::{ServerAddress, announced},
        cluster::Cluster,
        door::{Door, Opened, Role, Servers},
        followed::Followed,
        login::Login,
        pipeline::DEMOTED,
        sentinels::Sentinels,
        tls::Trust,
        topology::{AddressMap, Endpoint, Topology},
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
    /// How often the server was found to be no master any more.
    demotions: Arc<watch::Sender<u64>>,
}

/// Where connections go.
#[derive(Clone, Debug)]
enum Way {
    /// To this server, and with what others would be reached if it turns out to be a node of a cluster.
    One(Arc<Door>, Arc<(Servers, AddressMap)>),
    /// To the master that these name.
    Sentinels(Arc<Sentinels>),
    /// To any master of this cluster.
    Cluster(Arc<Cluster>),
    /// To this node of it.
    Node(Arc<Cluster>, Endpoint),
    /// To whichever node has this slot.
    Slot(Arc<Cluster>, u16),
}

impl Connector {
    pub(super) fn new(url: &str, config: &Config) -> Result<Self, ConnectError> {
        let ServerAddress { topology, encrypted, login } = ServerAddress::parse(url, config)?;
        if encrypted && !cfg!(feature = "tls") {
            let reason = "this program is built without TLS: enable the feature `tls` of `tidings`".to_owned();
            let scheme = match topology {
                Topology::Single(_) => "rediss",
                Topology::Sentinels { .. } => "rediss+sentinel",
                Topology::Cluster { .. } => "rediss+cluster",
            };
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
                let door = servers.door(endpoint).map_err(invalid)?;
                Way::One(Arc::new(door), Arc::new((servers, map)))
            }
            Topology::Sentinels { sentinels, master } => {
                let (username, password) = config.sentinel_credentials.clone().unzip();
                let asked = Servers { login: Login { username, password }, ..servers.clone() };
                let doors = sentinels.into_iter().map(|sentinel| asked.door(sentinel)).collect::<Result<_, _>>()?;
                Way::Sentinels(Arc::new(Sentinels::start(doors, master, servers, map, config.reconnect)))
            }
            Topology::Cluster { seeds } => Way::Cluster(Arc::new(Cluster::start(seeds, servers, map))),
        };
        Ok(Self { way, user, timeout, successes: Arc::default(), demotions: Arc::default() })
    }

    /// The cluster, where connections go to one.
    pub(super) fn cluster(&self) -> Option<&Arc<Cluster>> {
        match &self.way {
            Way::Cluster(cluster) | Way::Node(cluster, _) | Way::Slot(cluster, _) => Some(cluster),
            Way::One(..) | Way::Sentinels(_) => None,
        }
    }

    /// The same to the whole cluster, where the address names one node of it.
    pub(super) fn whole_cluster(&self) -> Self {
        match &self.way {
            Way::One(door, around) => {
                let (servers, map) = &**around;
                let cluster = Cluster::start(vec![door.endpoint.clone()], servers.clone(), map.clone());
                Self { way: Way::Cluster(Arc::new(cluster)), successes: Arc::default(), ..self.clone() }
            }
            _ => self.clone(),
        }
    }

    /// The same to one node of the cluster; unchanged where there is none.
    pub(super) fn at_node(&self, node: Endpoint) -> Self {
        self.narrowed(|cluster| Way::Node(cluster, node))
    }

    /// The same to whichever node of the cluster has the slot; unchanged where there is none.
    pub(super) fn at_slot(&self, slot: u16) -> Self {
        self.narrowed(|cluster| Way::Slot(cluster, slot))
    }

    fn narrowed(&self, to: impl FnOnce(Arc<Cluster>) -> Way) -> Self {
        match self.cluster() {
            // Another node that can be reached says nothing of this one.
            Some(cluster) => Self { way: to(Arc::clone(cluster)), successes: Arc::default(), ..self.clone() },
            None => self.clone(),
        }
    }

    /// Whether connections go to one node of a cluster, whatever slots it has.
    pub(super) fn is_to_a_node(&self) -> bool {
        matches!(self.way, Way::Node(..))
    }

    /// A server has said that it does not have a slot, or is gone: who has it is asked anew. Nothing happens where there is no cluster.
    pub(super) fn outdated(&self) {
        self.cluster().into_iter().for_each(|cluster| cluster.outdated());
    }

    /// Host and port of the server, or the path of its socket, where only one comes into question.
    pub(super) fn server(&self) -> Option<String> {
        match &self.way {
            Way::One(door, _) => Some(door.address()),
            Way::Node(_, node) => Some(node.to_string()),
            Way::Sentinels(_) | Way::Cluster(_) | Way::Slot(..) => None,
        }
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

    /// Like [`open_master`](Self::open_master), for a connection that asks nobody for the role of its server: it fails once
    /// [`demoted`](Self::demoted) is told, where nobody else tells who the master is.
    ///
    /// # Cancel safety
    ///
    /// As of [`open`](Self::open).
    pub(super) async fn open_followed(&self, name: &str) -> Result<Opened, ConnectError> {
        // Before it is made: one that was made to the old master meanwhile fails too.
        let (demotions, before) = (self.demotions.subscribe(), *self.demotions.borrow());
        let opened = self.open_master(name).await?;
        if !matches!(self.way, Way::One(..)) {
            return Ok(opened);
        }
        let stream = Followed::new(opened.stream, demotions, move |&demotions| demotions == before, DEMOTED);
        Ok(Opened { stream: Box::new(stream), ..opened })
    }

    /// The server is no master any more, and the address leads to another one: what is still connected to the old one is to leave it.
    pub(super) fn demoted(&self) {
        self.demotions.send_modify(|demotions| *demotions += 1);
    }

    async fn open_to(&self, role: Role, name: &str) -> Result<Opened, ConnectError> {
        let deadline = deadline_after(self.timeout);
        let opened = match &self.way {
            Way::One(door, _) => door.open(role, name, deadline).await?,
            Way::Sentinels(sentinels) => sentinels.open(name, deadline).await?,
            Way::Cluster(cluster) => cluster.open_any(name, deadline).await?,
            Way::Node(cluster, node) => cluster.open_node(node, name, deadline).await?,
            Way::Slot(cluster, slot) => cluster.open_slot(*slot, name, deadline).await?,
        };
        self.successes.send_replace(());
        Ok(opened)
    }
}

fn address_map(config: &Config) -> Result<AddressMap, ConnectError> {
    let mut map = AddressMap::default();
    for (from, to) in &config.address_map {
        // Not the address: a password may be in it.
        let endpoint = |which, text: &str| {
            let invalid = |reason| ConnectError::InvalidConfig(format!("`map_address`: the {which} address: {reason}"));
            announced(text).map_err(invalid)
        };
        map.add(endpoint("announced", from)?.to_string(), endpoint("reached", to)?);
    }
    Ok(map)
}
