//! Commands that belong to a slot of a cluster: they go to the node that has it, each node with a connection of its own.
//!
//! A connection is made when it is first needed, and closed when its node leaves the map. What a node refuses because it does not have the slot, or not
//! yet, was not carried out: it goes to whoever has the slot then, within the same time.
//!
//! <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#redirection-and-resharding>

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::{
    error::PublishError,
    transport::{
        contract::{Claim, Lined, Parcel, Published, Reach},
        life::Life,
        redis::{
            answer::Response,
            cluster::{Cluster, Slots, slot},
            commands::Commands,
            connector::Connector,
            host::Host,
            line::{is_demoted, lock},
            settings::Settings,
            topology::Endpoint,
            words::{code, is_elsewhere},
        },
        status::GapCause,
    },
};

/// After so long a node is asked again that did not have a slot, if the map names no other one before.
const PAUSE: Duration = Duration::from_millis(50);
/// Why a connection is closed whose node is no master any more.
const LEFT: &str = "the node has left the map of the cluster";

/// The nodes of a cluster that were sent something to. Dropping it closes their connections.
pub(super) struct Nodes {
    cluster: Arc<Cluster>,
    connector: Connector,
    settings: Arc<Settings>,
    /// Of the bus.
    life: Arc<Life>,
    slots: watch::Receiver<Arc<Slots>>,
    known: Arc<Known>,
    /// Closes what has left the map.
    _watcher: JoinSet<()>,
}

type Known = Mutex<HashMap<Endpoint, Arc<Node>>>;

struct Node {
    endpoint: Endpoint,
    commands: Commands,
    /// Ends when the node leaves the map, or with the bus.
    life: Arc<Life>,
}

impl Node {
    fn close(&self, reason: &str) {
        self.life.end(reason);
        self.commands.close(reason);
    }

    /// Whether it says in time that it is a master still: every user may ask.
    ///
    /// <https://redis.io/docs/latest/commands/hello/>
    async fn is_master(&self, deadline: Instant) -> bool {
        let told = timeout_at(deadline, self.commands.ask([b"HELLO", b"3"])).await;
        matches!(told, Ok(Ok(Response::Texts(texts))) if !is_demoted(&texts))
    }
}

impl Nodes {
    /// Those of the cluster that the connector goes to; nothing where that is none. Has to be called within a tokio runtime.
    pub(super) fn new(connector: &Connector, settings: &Arc<Settings>, life: &Arc<Life>) -> Option<Self> {
        let cluster = Arc::clone(connector.cluster()?);
        let (connector, settings, life) = (connector.clone(), Arc::clone(settings), Arc::clone(life));
        let (slots, known) = (cluster.changes(), Arc::<Known>::default());
        let mut watcher = JoinSet::new();
        watcher.spawn(watch(slots.clone(), Arc::clone(&known), Arc::clone(&life)));
        Some(Self { cluster, connector, settings, life, slots, known, _watcher: watcher })
    }

    /// SPUBLISH on the node that has the slot of the channel; the number of receivers is exact, and absent where nobody knows it. All of it within the
    /// command timeout.
    ///
    /// <https://redis.io/docs/latest/commands/spublish/>
    ///
    /// # Cancel safety
    ///
    /// As of [`Commands::publish`].
    pub(super) async fn publish(&self, parcel: &Parcel) -> Published {
        self.publish_until(Instant::now() + self.settings.command_timeout, parcel).await
    }

    /// The same for whoever has another way where nobody receives it: the node is taken at its word.
    pub(super) async fn offer(&self, parcel: &Parcel) -> Published {
        self.sent_until(Instant::now() + self.settings.command_timeout, parcel).await?.1
    }

    async fn publish_until(&self, deadline: Instant, parcel: &Parcel) -> Published {
        let (node, published) = self.sent_until(deadline, parcel).await?;
        // A master that has handed over refuses nothing: it counts its own subscribers, who have left, and passes the message on to its master's.
        if matches!(published, Ok(Some(0))) && !node.is_master(deadline).await {
            self.cluster.outdated();
            return Ok(None);
        }
        published
    }

    /// What the node has said that took the parcel, or refused it for good.
    async fn sent_until(&self, deadline: Instant, parcel: &Parcel) -> Result<(Arc<Node>, Published), PublishError> {
        let mut way = self.way(deadline, parcel.template, &parcel.channel);
        loop {
            let node = way.node().await?;
            let published = node.commands.publish_until(deadline, parcel).await;
            if let Some(published) = way.ended(Arc::clone(&node), published) {
                return Ok((node, published));
            }
        }
    }

    /// Publishes each parcel where it belongs: shard channels on the nodes that have their slots, and all others on `any`. One round trip for
    /// each node, at the same time; a result for each parcel, in their order. All of it within one command timeout.
    ///
    /// The order holds for each channel: what a node refuses because it does not have the slot is sent again, unless a later parcel on the same
    /// channel may have been published.
    ///
    /// # Cancel safety
    ///
    /// As of [`Commands::publish_all`].
    pub(super) async fn publish_all(
        &self,
        any: &Commands,
        parcels: Vec<Parcel>,
        lined: Option<Lined>,
    ) -> Vec<Published> {
        let deadline = Instant::now() + self.settings.command_timeout;
        // Told when the last of the groups drops it.
        let lined = lined.map(Arc::new);
        let groups = self.grouped(parcels).into_iter();
        let sent = groups.map(move |group| group.publish(any, deadline, lined.clone()));
        let mut sent: Vec<Sent> = join_all(sent).await.into_iter().flatten().collect();
        sent.sort_unstable_by_key(|sent| sent.place);
        self.send_again(deadline, &mut sent).await;
        sent.into_iter().map(|sent| sent.published).collect()
    }

    /// Takes a name on the node that has its slot. All of it within the command timeout.
    ///
    /// # Cancel safety
    ///
    /// As of [`Commands::claim`].
    pub(super) async fn claim(&self, claim: &Claim) -> Result<bool, PublishError> {
        let deadline = Instant::now() + self.settings.command_timeout;
        let mut way = self.way(deadline, claim.template, &claim.key);
        loop {
            let node = way.node().await?;
            let claimed = node.commands.claim_until(deadline, claim).await;
            if let Some(claimed) = way.ended(node, claimed) {
                return claimed;
            }
        }
    }

    /// Closes all connections. The bus has ended.
    pub(super) fn close(&self, reason: &str) {
        close(&self.known, reason);
    }

    /// Why there is no connection to some node, and which, if there is none and another one could not be made at once.
    pub(super) fn lost(&self) -> Option<(GapCause, Option<String>)> {
        lock(&self.known).values().find_map(|node| node.commands.lost())
    }

    fn way(&self, deadline: Instant, template: &'static str, name: &str) -> Way<'_> {
        Way { nodes: self, deadline, template, slot: slot(name.as_bytes()), failed: None }
    }

    /// The node that has the slot now.
    fn owner(&self, slot: u16) -> Option<Arc<Node>> {
        let mut known = lock(&self.known);
        // Read under the lock: what leaves the map afterwards is taken out by whoever has the lock afterwards.
        let slots = self.slots.borrow();
        let endpoint = slots.owner(slot)?;
        if let Some(node) = known.get(endpoint) {
            return Some(Arc::clone(node));
        }
        let (connector, life) = (self.connector.at_node(endpoint.clone()), Arc::new(Life::default()));
        if let Some(reason) = self.life.ended() {
            life.end(reason);
        }
        let commands = Commands::idle(connector, Arc::clone(&self.settings), Arc::clone(&life), Host::start());
        let node = Arc::new(Node { endpoint: endpoint.clone(), commands, life });
        known.insert(endpoint.clone(), Arc::clone(&node));
        Some(node)
    }

    /// Asks for the map anew, and waits until another node has the slot, or for a moment.
    async fn changed(&self, deadline: Instant, slot: u16, before: Option<&Endpoint>) {
        self.cluster.outdated();
        let deadline = deadline.min(Instant::now() + PAUSE);
        let mut slots = self.slots.clone();
        let changed = slots.wait_for(|slots| slots.owner(slot) != before);
        tokio::select! {
            _ = timeout_at(deadline, changed) => {}
            _ = self.life.over() => {}
        }
    }

    /// Those that go to the same node together, in their order.
    fn grouped(&self, parcels: Vec<Parcel>) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let mut by_node: HashMap<Option<Endpoint>, usize> = HashMap::new();
        for (place, parcel) in parcels.into_iter().enumerate() {
            let to = match parcel.reach {
                Reach::Channel | Reach::ShardChannelFirst => To::Any,
                Reach::ShardChannel => self.owner(slot(parcel.channel.as_bytes())).map_or(To::Nobody, To::Node),
            };
            let at = match &to {
                To::Nobody => None,
                To::Any => Some(*by_node.entry(None).or_insert(groups.len())),
                To::Node(node) => Some(*by_node.entry(Some(node.endpoint.clone())).or_insert(groups.len())),
            };
            match at.and_then(|at| groups.get_mut(at)) {
                Some(group) => group.add(place, parcel),
                None => groups.push(Group { to, places: vec![place], parcels: vec![parcel] }),
            }
        }
        groups
    }

    /// Sends again what nobody has carried out, one after the other.
    async fn send_again(&self, deadline: Instant, all: &mut [Sent]) {
        let again = again(all, |sent| {
            sent.published.as_ref().is_err_and(|error| self.is_elsewhere(sent.node.as_deref(), error))
        });
        for at in again {
            if Instant::now() < deadline {
                all[at].published = self.publish_until(deadline, &all[at].parcel).await;
            }
        }
    }

    /// Whether the node has not carried something out that another one would, or the same one later.
    fn is_elsewhere(&self, node: Option<&Node>, error: &PublishError) -> bool {
        match error {
            PublishError::Server { reason, .. } => is_elsewhere(code(reason)),
            // The node's connection, and not the bus.
            PublishError::Closed { .. } => self.life.ended().is_none(),
            PublishError::NotConnected { .. } => node.is_none(),
            _ => false,
        }
    }
}

/// The way of one command to the node that has its slot.
struct Way<'a> {
    nodes: &'a Nodes,
    deadline: Instant,
    template: &'static str,
    slot: u16,
    /// Why the last attempt did nothing, and where.
    failed: Option<(Arc<Node>, PublishError)>,
}

impl Way<'_> {
    /// Where to send it; waits for another one after a failure. An error says why there is none in time.
    async fn node(&mut self) -> Result<Arc<Node>, PublishError> {
        let Self { nodes, deadline, template, slot, .. } = *self;
        if let Some((before, error)) = self.failed.take() {
            nodes.changed(deadline, slot, Some(&before.endpoint)).await;
            if Instant::now() >= deadline {
                return Err(error);
            }
        }
        loop {
            nodes.life.check(template)?;
            if let Some(node) = nodes.owner(slot) {
                return Ok(node);
            }
            if Instant::now() >= deadline {
                return Err(uncovered(template, slot));
            }
            nodes.changed(deadline, slot, None).await;
        }
    }

    /// What has come of it, unless it is to be sent again.
    fn ended<T>(&mut self, node: Arc<Node>, result: Result<T, PublishError>) -> Option<Result<T, PublishError>> {
        match result {
            Err(error) if self.nodes.is_elsewhere(Some(&node), &error) => {
                self.failed = Some((node, error));
                None
            }
            ended => {
                // A node that stands still refuses nothing, and another one may have taken over.
                if matches!(ended, Err(PublishError::TimedOut { .. })) {
                    self.nodes.cluster.outdated();
                }
                Some(ended)
            }
        }
    }
}

fn uncovered(template: &'static str, slot: u16) -> PublishError {
    PublishError::NotConnected { template, reason: format!("no node of the cluster has slot {slot}") }
}

/// Where parcels go.
enum To {
    /// To whichever node is connected.
    Any,
    Node(Arc<Node>),
    /// Nobody has the slot now.
    Nobody,
}

/// Parcels for one node.
struct Group {
    to: To,
    /// Of each parcel, which of all it is.
    places: Vec<usize>,
    parcels: Vec<Parcel>,
}

/// A parcel of several that was sent.
struct Sent {
    place: usize,
    parcel: Parcel,
    /// Nothing where nobody had the slot.
    node: Option<Arc<Node>>,
    published: Published,
}

impl Group {
    fn add(&mut self, place: usize, parcel: Parcel) {
        self.places.push(place);
        self.parcels.push(parcel);
    }

    async fn publish(self, any: &Commands, deadline: Instant, lined: Option<Arc<Lined>>) -> Vec<Sent> {
        let Self { to, places, parcels } = self;
        let published = match &to {
            To::Any => any.publish_all_until(deadline, &parcels, lined).await,
            To::Node(node) => node.commands.publish_all_until(deadline, &parcels, lined).await,
            To::Nobody => {
                let none = |parcel: &Parcel| Err(uncovered(parcel.template, slot(parcel.channel.as_bytes())));
                parcels.iter().map(none).collect()
            }
        };
        let node = match to {
            To::Node(node) => Some(node),
            To::Any | To::Nobody => None,
        };
        let sent = places.into_iter().zip(parcels).zip(published);
        sent.map(|((place, parcel), published)| Sent { place, parcel, node: node.clone(), published }).collect()
    }
}

/// Which of them are sent again: those that were not carried out, unless a later one on the same channel may have been, which would be overtaken.
fn again(all: &[Sent], is_elsewhere: impl Fn(&Sent) -> bool) -> Vec<usize> {
    let mut done = HashSet::new();
    let mut again = Vec::new();
    for (at, sent) in all.iter().enumerate().rev().filter(|(_, sent)| sent.parcel.reach == Reach::ShardChannel) {
        let channel = sent.parcel.channel.as_str();
        if !is_elsewhere(sent) {
            done.insert(channel);
        } else if !done.contains(channel) {
            again.push(at);
        }
    }
    again.reverse();
    again
}

/// Closes the connections to nodes that have left the map, and all of them when the bus has ended.
async fn watch(mut slots: watch::Receiver<Arc<Slots>>, known: Arc<Known>, life: Arc<Life>) {
    loop {
        tokio::select! {
            changed = slots.changed() => if changed.is_err() {
                return;
            },
            reason = life.over() => return close(&known, reason),
        }
        let gone: Vec<_> = {
            let mut known = lock(&known);
            let slots = Arc::clone(&slots.borrow_and_update());
            let present = slots.nodes();
            known.extract_if(|endpoint, _| !present.contains(&endpoint)).map(|(_, node)| node).collect()
        };
        for node in gone {
            tracing::info!(server = %node.endpoint, "a node has left the map of the cluster");
            node.close(LEFT);
        }
    }
}

fn close(known: &Known, reason: &str) {
    let nodes = std::mem::take(&mut *lock(known));
    nodes.values().for_each(|node| node.close(reason));
}

impl fmt::Debug for Nodes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Nodes").field("connected", &lock(&self.known).len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::transport::contract::ReceiptComes;

    use super::*;

    #[test]
    fn what_is_sent_again_overtakes_nothing() {
        let sent = |place, (reach, channel, is_done): (Reach, &str, bool)| {
            let parcel = Parcel {
                template: "a",
                reach,
                channel: channel.to_owned(),
                payload: Vec::new(),
                expiry: None,
                receipt: ReceiptComes::Anytime,
            };
            Sent { place, parcel, node: None, published: if is_done { Ok(Some(1)) } else { Err(uncovered("a", 0)) } }
        };
        let (shard, plain) = (Reach::ShardChannel, Reach::Channel);
        let all: Vec<Sent> = [
            (shard, "a", true),
            (shard, "b", false),
            (shard, "a", false),
            (shard, "c", false),
            (plain, "d", false),
            (shard, "a", false),
            (shard, "c", true),
            (plain, "a", true),
            (shard, "b", false),
        ]
        .into_iter()
        .enumerate()
        .map(|(place, what)| sent(place, what))
        .collect();
        // The first on `c` was refused, and the second published.
        assert_eq!(again(&all, |sent| sent.published.is_err()), [1, 2, 5, 8]);
    }
}
