//! Shard channels on a cluster: each is subscribed on the node that has its slot, wherever that is.
//!
//! For each such node there is a [`Subscriber`], for as long as anybody has names there. An attachment has a [`Part`] on each connection where it
//! has names. When the map of the slots changes, names go from one part to another: given up where they were, and taken up where they are now,
//! where their inbox is told of the gap. Whatever shows that the map is out of date only has it asked for anew.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::cmd;
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
    time::{sleep, timeout_at},
};

use crate::{
    error::{SubscribeError, chain},
    time::{deadline_after, now},
    transport::{
        contract::{Attachment, Detach, Name, Wanted},
        events::Events,
        inbox::{Inbox, Item, Wishes},
        life::Life,
        redis::{
            client::client,
            cluster::{Slots, slot},
            connector::Connector,
            settings::Settings,
            shared::{Owner, Part, SharedRegistry},
            subscriber::Subscriber,
            topology::Endpoint,
            words,
        },
        registry::attached::{Attached, Loss},
        status::{Gap, GapCause, NameKind, Status, SubscriptionSnapshot},
    },
};

/// What CLIENT LIST shows of the connections that check.
const CHECK_NAME: &str = "tidings-check";
/// Nodes are asked after so long whether they have the names that they have confirmed. As rare as the map's own look: both are for what no message
/// told.
const CHECK: Duration = Duration::from_secs(60);
/// Names in one question.
const CHECKED_AT_ONCE: usize = 256;

/// Keeps shard channels where their slots are. Dropping it ends their connections.
pub(super) struct Shards {
    shared: Arc<SharedPlaces>,
    /// One follows the map, one checks what no message told.
    _tokio_tasks: JoinSet<()>,
}

struct SharedPlaces {
    connector: Connector,
    settings: Arc<Settings>,
    events: Arc<Events>,
    bus: Arc<Life>,
    /// Who has which slot. Looked at under the lock of the places: whatever is placed after a change is placed by it, and the rest moves.
    slots: watch::Receiver<Arc<Slots>>,
    places: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    nodes: Vec<(Endpoint, Subscriber)>,
    attachments: Vec<(usize, Place)>,
    /// Those from which something still comes to who has left them, once for each.
    leaving: Vec<Endpoint>,
    last: usize,
}

/// Where an attachment has its names.
struct Place {
    inbox: Arc<Inbox>,
    /// Its channels and patterns, which any node has.
    anywhere: Option<Part>,
    shards: Vec<Shard>,
    stage: Stage,
}

/// What it has on one node. There may be several of one node: what has moved is apart from what was there.
struct Shard {
    node: Endpoint,
    names: Vec<(u16, Wanted)>,
    part: Part,
}

/// A part that takes what still comes where its names were. For whom no order matters, nothing is lost by a move.
struct Left {
    node: Endpoint,
    part: Part,
    inbox: Arc<Inbox>,
}

enum Stage {
    /// Until all of these have confirmed their names.
    Attaching(Vec<oneshot::Receiver<Attached>>),
    Attached,
    /// Where a name goes does not matter any more.
    Leaving,
}

/// Names on their way to one node, and since when messages of each are missed.
type Moving = Vec<(Endpoint, Vec<(u16, Wanted, Option<Loss>)>)>;

impl Shards {
    /// Nothing is connected before somebody attaches; nothing where there is no cluster. Has to be called within a tokio runtime.
    pub(super) fn start(
        connector: &Connector,
        settings: &Arc<Settings>,
        events: &Arc<Events>,
        bus: &Arc<Life>,
    ) -> Option<Self> {
        let mut changes = connector.cluster()?.changes();
        let shared = Arc::new(SharedPlaces {
            connector: connector.clone(),
            settings: Arc::clone(settings),
            events: Arc::clone(events),
            bus: Arc::clone(bus),
            slots: changes.clone(),
            places: Mutex::default(),
        });
        let mut tokio_tasks = JoinSet::new();
        let (follower, checker) = (Arc::clone(&shared), Arc::clone(&shared));
        tokio_tasks.spawn(async move {
            let mut left = FuturesUnordered::new();
            loop {
                tokio::select! {
                    changed = changes.changed() => match changed {
                        Ok(()) => left.extend(follower.rearrange().into_iter().map(Left::end)),
                        Err(_) => return,
                    },
                    Some(node) = left.next() => follower.lock().left(&node),
                }
            }
        });
        tokio_tasks.spawn(async move {
            loop {
                sleep(CHECK).await;
                checker.check().await;
            }
        });
        Some(Self { shared, _tokio_tasks: tokio_tasks })
    }

    /// See `Broadcast::attach`: names of any kind, of which those that are no shard channels go to `anywhere`.
    ///
    /// # Cancel safety
    ///
    /// Dropping it undoes what was subscribed so far.
    pub(super) async fn attach(
        &self,
        anywhere: &Subscriber,
        inbox: Arc<Inbox>,
        names: Vec<Wanted>,
    ) -> Result<Attachment, SubscribeError> {
        let timeout = self.shared.settings.command_timeout;
        let deadline = deadline_after(timeout);
        if let Some(reason) = self.shared.bus.ended() {
            return Err(SubscribeError::Closed { reason: reason.to_owned() });
        }
        if let Some(cluster) = self.shared.connector.cluster() {
            let known = cluster.slots(deadline).await;
            known.map_err(|error| SubscribeError::NotConnected { reason: error.to_string() })?;
        }
        let id = self.shared.place(anywhere, inbox, names);
        let attachment = Attachment::new(Arc::clone(&self.shared) as Arc<dyn Detach>, id);
        loop {
            let unconfirmed = self.shared.unconfirmed(id);
            if unconfirmed.is_empty() {
                return Ok(attachment);
            }
            for attached in unconfirmed {
                match timeout_at(deadline, attached).await {
                    Ok(Ok(confirmed)) => confirmed?,
                    Ok(Err(_)) => {
                        return Err(SubscribeError::NotConnected { reason: "the bus was dropped".to_owned() });
                    }
                    Err(_) => {
                        let (channel, reason) = self.shared.first_unconfirmed(id);
                        return Err(SubscribeError::TimedOut { channel, timeout, reason });
                    }
                }
            }
        }
    }

    /// The worst of its connections.
    pub(super) fn status(&self) -> Status {
        let places = self.shared.lock();
        let mut states = places.nodes.iter().map(|(_, subscriber)| subscriber.status());
        states.find(|status| *status != Status::Connected).unwrap_or(Status::Connected)
    }

    /// What the subscriptions look like, those `anywhere` included: each is one, wherever its names are.
    pub(super) fn snapshots(&self, anywhere: &Subscriber) -> Vec<SubscriptionSnapshot> {
        let now = Instant::now();
        let mut all = anywhere.registry().registry().shown(now);
        for (_, subscriber) in &self.shared.lock().nodes {
            for (inbox, shown) in subscriber.registry().registry().shown(now) {
                match all.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &inbox)) {
                    Some((_, whole)) => whole.names.extend(shown.names),
                    None => all.push((inbox, shown)),
                }
            }
        }
        all.into_iter().map(|(_, shown)| shown).collect()
    }

    /// Ends every inbox that has names here.
    pub(super) fn close(&self, reason: &str) {
        self.shared.lock().nodes.iter().for_each(|(_, subscriber)| subscriber.close(reason));
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        // Whoever is attached holds what is shared, and must not hold the connections.
        self.shared.lock().nodes.clear();
    }
}

impl fmt::Debug for Shards {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = self.shared.lock();
        let nodes: Vec<_> = places.nodes.iter().map(|(node, _)| node.to_string()).collect();
        formatter.debug_struct("Shards").field("nodes", &nodes).finish_non_exhaustive()
    }
}

impl SharedPlaces {
    fn lock(&self) -> MutexGuard<'_, Places> {
        // What is left half done by a panic is found by the next change of the map.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a slot is; where nobody has it, some node says so until somebody does.
    fn node_of(slots: &Slots, slot: u16) -> Option<Endpoint> {
        slots.owner(slot).or_else(|| slots.nodes().first().copied()).cloned()
    }

    /// Asks for names on all connections where they belong.
    fn place(&self, anywhere: &Subscriber, inbox: Arc<Inbox>, names: Vec<Wanted>) -> usize {
        let mut places = self.lock();
        let slots = Arc::clone(&self.slots.borrow());
        let (mut ordinary, mut moving, mut seen) = (Vec::new(), Moving::new(), HashSet::new());
        for wanted in names {
            if wanted.name.kind != NameKind::ShardChannel {
                ordinary.push(wanted);
            } else if seen.insert(wanted.name.text.clone()) {
                let slot = slot(wanted.name.text.as_bytes());
                if let Some(node) = Self::node_of(&slots, slot) {
                    to(&mut moving, node, (slot, wanted, None));
                }
            }
        }
        let mut place = Place { inbox, anywhere: None, shards: Vec::new(), stage: Stage::Attaching(Vec::new()) };
        if !ordinary.is_empty() {
            let (part, attached) = Part::attach(anywhere.registry(), Arc::clone(&place.inbox), ordinary);
            place.anywhere = Some(part);
            place.await_confirmation(attached);
        }
        for (node, names) in moving {
            self.settle(&mut places.nodes, &mut place, node, names);
        }
        places.last += 1;
        let id = places.last;
        places.attachments.push((id, place));
        id
    }

    /// Has names on a node from now on.
    fn settle(
        &self,
        nodes: &mut Vec<(Endpoint, Subscriber)>,
        place: &mut Place,
        node: Endpoint,
        names: Vec<(u16, Wanted, Option<Loss>)>,
    ) {
        let at = nodes.iter().position(|(known, _)| *known == node).unwrap_or_else(|| {
            nodes.push((node.clone(), self.subscriber(&node)));
            nodes.len() - 1
        });
        let (_, subscriber) = &nodes[at];
        let inbox = Arc::clone(&place.inbox);
        let wanted = names.iter().map(|(slot, wanted, _)| (*slot, wanted.clone())).collect();
        let part = match place.stage {
            Stage::Attaching(_) => {
                let names = names.into_iter().map(|(_, wanted, _)| wanted).collect();
                let (part, attached) = Part::attach(subscriber.registry(), inbox, names);
                place.await_confirmation(attached);
                part
            }
            Stage::Attached | Stage::Leaving => {
                let moved = || Loss { cause: GapCause::SlotMoved, at: now() };
                let missed = |(_, wanted, loss): (_, _, Option<Loss>)| (wanted, loss.unwrap_or_else(moved));
                Part::take_up(subscriber.registry(), inbox, names.into_iter().map(missed).collect())
            }
        };
        place.shards.push(Shard { node, names: wanted, part });
    }

    fn subscriber(&self, node: &Endpoint) -> Subscriber {
        let (connector, settings) = (self.connector.at_node(node.clone()), Arc::clone(&self.settings));
        let events = self.events.part();
        Subscriber::unconnected(connector, settings, events, Owner::Node(Arc::clone(&self.bus)))
    }

    /// The map has changed: each name goes where its slot is now. What takes what still comes from where it was has to be waited for.
    fn rearrange(&self) -> Vec<Left> {
        let mut places = self.lock();
        let slots = Arc::clone(&self.slots.borrow());
        let (mut moved, mut left) = (0, Vec::new());
        let Places { nodes, attachments, .. } = &mut *places;
        for (_, place) in attachments {
            for (node, names) in place.misplaced(&slots, &mut left) {
                moved += names.len();
                self.settle(nodes, place, node, names);
            }
        }
        if moved > 0 {
            tracing::info!(names = moved, "slots have moved, and shard channels with them");
        }
        places.leaving.extend(left.iter().map(|left| left.node.clone()));
        places.leave_nodes();
        left
    }

    /// Asks each node whether it has the names that it has confirmed: of one that it does not, nobody was told.
    async fn check(&self) {
        let nodes: Vec<(Endpoint, Arc<SharedRegistry>)> = self
            .lock()
            .nodes
            .iter()
            .map(|(node, subscriber)| (node.clone(), Arc::clone(subscriber.registry())))
            .collect();
        for (node, shared) in nodes {
            let names = shared.registry().confirmed_names(NameKind::ShardChannel);
            match self.missing(&node, names).await {
                Ok(missing) if missing.is_empty() => {}
                Ok(missing) => {
                    tracing::warn!(server = %node, names = missing.len(), "shard channels were lost unnoticed; they are made anew");
                    let mut registry = shared.registry();
                    missing.iter().for_each(|name| {
                        registry.found_missing(name, now());
                    });
                    drop(registry);
                    shared.changed.notify_one();
                    self.connector.outdated();
                }
                // Whoever cannot be asked is no worse off than without the question: what is lost is noticed when messages are.
                Err(reason) => tracing::debug!(server = %node, reason, "cannot check shard channels"),
            }
        }
    }

    /// The names of which the node knows no subscriber. <https://redis.io/docs/latest/commands/pubsub-shardnumsub/>
    async fn missing(&self, node: &Endpoint, mut names: Vec<Name>) -> Result<Vec<Name>, String> {
        if names.is_empty() {
            return Ok(names);
        }
        let opened = self.connector.at_node(node.clone()).open_master(CHECK_NAME).await;
        let stream = opened.map_err(|error| chain(&error))?.stream;
        let (mut connection, driver) = client(stream, &self.settings).await.map_err(|error| words::of(&error))?;
        let asked = async {
            let mut counts = HashMap::<String, u64>::new();
            for names in names.chunks(CHECKED_AT_ONCE) {
                let mut question = cmd("PUBSUB");
                question.arg("SHARDNUMSUB");
                names.iter().for_each(|name| {
                    question.arg(&name.text);
                });
                let answer: HashMap<String, u64> =
                    question.query_async(&mut connection).await.map_err(|error| words::of(&error))?;
                counts.extend(answer);
            }
            Ok::<_, String>(counts)
        };
        let counts = tokio::select! {
            counts = asked => counts?,
            () = driver => return Err("it closed the connection".to_owned()),
        };
        names.retain(|name| counts.get(&name.text) == Some(&0));
        Ok(names)
    }

    /// What an attach has to wait for; once there is nothing, the place is told of gaps.
    fn unconfirmed(&self, id: usize) -> Vec<oneshot::Receiver<Attached>> {
        let mut places = self.lock();
        let Some(place) = places.find(id) else { return Vec::new() };
        let Stage::Attaching(unconfirmed) = &mut place.stage else { return Vec::new() };
        let unconfirmed = std::mem::take(unconfirmed);
        if unconfirmed.is_empty() {
            place.stage = Stage::Attached;
        }
        unconfirmed
    }

    fn first_unconfirmed(&self, id: usize) -> (String, Option<String>) {
        let mut places = self.lock();
        let parts = places.find(id).into_iter().flat_map(|place| place.parts());
        parts.into_iter().find_map(Part::first_unconfirmed).unwrap_or_default()
    }
}

impl Detach for SharedPlaces {
    fn detach(&self, id: usize) {
        let mut places = self.lock();
        let Some(at) = places.attachments.iter().position(|(known, _)| *known == id) else { return };
        let (_, place) = places.attachments.swap_remove(at);
        let inbox = Arc::clone(&place.inbox);
        drop(place);
        inbox.detached();
        places.leave_nodes();
    }

    fn leave(&self, id: usize) -> Vec<oneshot::Receiver<()>> {
        let mut places = self.lock();
        let Some(place) = places.find(id) else { return Vec::new() };
        place.stage = Stage::Leaving;
        place.parts().map(Part::leave).collect()
    }
}

impl Places {
    fn find(&mut self, id: usize) -> Option<&mut Place> {
        self.attachments.iter_mut().find(|(known, _)| *known == id).map(|(_, place)| place)
    }

    /// Nothing more comes to one who has left the node.
    fn left(&mut self, node: &Endpoint) {
        if let Some(at) = self.leaving.iter().position(|leaving| leaving == node) {
            self.leaving.swap_remove(at);
        }
        self.leave_nodes();
    }

    /// Ends the connections on which nobody has names any more.
    fn leave_nodes(&mut self) {
        let used = |node: &Endpoint| {
            self.leaving.contains(node)
                || self.attachments.iter().any(|(_, place)| place.shards.iter().any(|shard| shard.node == *node))
        };
        self.nodes.retain(|(node, _)| used(node));
    }
}

impl Place {
    fn await_confirmation(&mut self, attached: oneshot::Receiver<Attached>) {
        if let Stage::Attaching(unconfirmed) = &mut self.stage {
            unconfirmed.push(attached);
        }
    }

    fn parts(&self) -> impl Iterator<Item = &Part> {
        self.anywhere.iter().chain(self.shards.iter().map(|shard| &shard.part))
    }

    /// Gives up the names whose slots are elsewhere, and tells where. A slot that nobody has is left where it was.
    fn misplaced(&mut self, slots: &Slots, left: &mut Vec<Left>) -> Moving {
        let mut moving = Moving::new();
        if matches!(self.stage, Stage::Leaving) {
            return moving;
        }
        if self.inbox.is_direct() && matches!(self.stage, Stage::Attached) {
            self.leave_misplaced(slots, &mut moving, left);
        }
        for Shard { node, names, part } in &mut self.shards {
            let is_elsewhere = |(slot, _): &mut (u16, Wanted)| slots.owner(*slot).is_some_and(|owner| owner != node);
            for (slot, wanted) in names.extract_if(.., is_elsewhere) {
                let loss = part.give_up(&wanted.name);
                let Some(owner) = slots.owner(slot) else { continue };
                to(&mut moving, owner.clone(), (slot, wanted, loss));
            }
        }
        self.shards.retain(|shard| !shard.names.is_empty());
        moving
    }
}

impl Place {
    /// Leaves where all names are live, and elsewhere by now.
    fn leave_misplaced(&mut self, slots: &Slots, moving: &mut Moving, left: &mut Vec<Left>) {
        let is_left = |shard: &mut Shard| {
            let is_elsewhere = |slot| slots.owner(slot).is_some_and(|owner| *owner != shard.node);
            shard.names.iter().all(|(slot, wanted)| is_elsewhere(*slot) && shard.part.is_live(&wanted.name))
        };
        for Shard { node, names, part } in self.shards.extract_if(.., is_left) {
            for (slot, wanted) in names {
                let Some(owner) = slots.owner(slot) else { continue };
                to(moving, owner.clone(), (slot, wanted, None));
            }
            left.push(Left { node, part, inbox: Arc::clone(&self.inbox) });
        }
    }
}

impl Left {
    /// Takes what still comes. If the connection is lost meanwhile, there was a gap. Tells which node it was.
    async fn end(self) -> Endpoint {
        if let Some(Loss { cause, at }) = self.part.linger().await {
            let mut wishes = Wishes::default();
            wishes.push(&self.inbox, &mut vec![Item::Gap(Gap { cause, lasted: at.elapsed() })]);
            let _ = wishes.read();
        }
        self.node
    }
}

fn to(moving: &mut Moving, node: Endpoint, name: (u16, Wanted, Option<Loss>)) {
    match moving.iter_mut().find(|(known, _)| *known == node) {
        Some((_, names)) => names.push(name),
        None => moving.push((node, vec![name])),
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        config::Bounds,
        transport::{
            contract::Broadcast,
            inbox::WhenFull,
            redis::tests::{
                cluster::Cluster,
                server::eventually,
                shards::{FIRST, name_in, shard},
            },
            registry::standing::{CommandBounds, Verb, one_group},
        },
    };

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_a_node_has_lost_unnoticed_is_found_by_asking() {
        let cluster = Cluster::start(2, &[]).await;
        let redis = cluster.bus().await;
        let one = name_in(FIRST, "");
        let lost = &name_in(FIRST, &one);
        let inbox = Arc::new(Inbox::new(Bounds { messages: 100, bytes: 10_000 }, WhenFull::DropOldest));
        let _attachment = redis.attach(Arc::clone(&inbox), vec![shard(&one)]).await.unwrap();
        let shared = &redis.shards.as_ref().unwrap().shared;
        let node = cluster.endpoint(0);
        assert_eq!(shared.missing(&node, vec![shard(&one).name, shard(lost).name]).await, Ok(vec![shard(lost).name]));
        shared.check().await;
        assert!(is_empty(&inbox), "all was well");
        let second = Arc::new(Inbox::new(Bounds { messages: 100, bytes: 10_000 }, WhenFull::DropOldest));
        pretend(&shared.lock().nodes[0].1, &second, vec![shard(&one), shard(lost)]);
        shared.check().await;
        cluster.has_subscribers(0, lost, 1).await;
        eventually("it is told of the gap", || !is_empty(&second)).await;
        assert!(is_empty(&inbox));
    }

    /// As if the node had confirmed names, the first of which was there already.
    fn pretend(subscriber: &Subscriber, inbox: &Arc<Inbox>, names: Vec<Wanted>) {
        let mut registry = subscriber.registry().registry();
        let (_, _attached) = registry.attach(Arc::clone(inbox), names);
        let command = registry.next_command(CommandBounds { names: 10, bytes: 1_000, group: one_group }).unwrap();
        registry.confirmed(Verb::Subscribe, command.names[0], now());
    }

    fn is_empty(inbox: &Inbox) -> bool {
        let mut items = std::collections::VecDeque::new();
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let _ = inbox.poll_take(&mut context, &mut items, 100);
        items.is_empty()
    }
}
