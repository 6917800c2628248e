//! What a promise test runs on: memory, Redis or Redis Cluster behind one interface.

use std::{pin::Pin, process, sync::mpsc, thread, time::Duration};

use tidings::{Bus, BusBuilder, Reconnect, testing::Broker};
use tokio::{runtime, time::timeout};

use crate::{
    RedisServer,
    share::{Cut, Share},
};

/// How long a test on one transport may take. Nothing a test waits for takes half of it; a test that reaches it hangs.
const DEADLINE: Duration = Duration::from_secs(120);
/// The same in the long form of the fault suite, which `TIDINGS_FAULTS=long` asks for.
const LONG_DEADLINE: Duration = Duration::from_secs(20 * 60);

/// A transport of a test's own, and the means to disturb and to question it. A cluster is shared by the tests of a binary: there a world is a
/// namespace, with a user who may touch nothing beyond it.
#[derive(Debug)]
pub struct World {
    place: Place,
}

#[derive(Debug)]
enum Place {
    Memory(Broker),
    Redis(RedisServer),
    Cluster(Share),
}

impl World {
    /// A memory broker that nobody else sees.
    #[must_use]
    pub fn memory() -> Self {
        Self { place: Place::Memory(Broker::new()) }
    }

    /// A redis-server that nobody else uses.
    pub async fn redis() -> Self {
        Self { place: Place::Redis(RedisServer::start().await) }
    }

    /// A namespace of the cluster that all tests of a binary share.
    pub async fn cluster() -> Self {
        Self { place: Place::Cluster(Share::new().await) }
    }

    /// What a bus here begins with, all else being the defaults.
    pub fn builder(&self) -> BusBuilder {
        match &self.place {
            Place::Memory(broker) => Bus::builder(broker.url()),
            Place::Redis(server) => Bus::builder(server.url()),
            Place::Cluster(share) => Bus::builder(share.url()).namespace(share.name()),
        }
    }

    /// The transport's name, for reports: `memory`, `redis` or `cluster`.
    #[must_use]
    pub fn transport(&self) -> &'static str {
        match &self.place {
            Place::Memory(_) => "memory",
            Place::Redis(_) => "redis",
            Place::Cluster(_) => "cluster",
        }
    }

    /// Whether it is a cluster, where some things differ by design.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        matches!(self.place, Place::Cluster(_))
    }

    /// The name that a channel or a namespace of the test has on the server.
    #[must_use]
    pub fn name(&self, own: &str) -> String {
        match &self.place {
            Place::Memory(_) | Place::Redis(_) => own.to_owned(),
            Place::Cluster(share) => format!("{}:{own}", share.name()),
        }
    }

    /// What a receipt says of a message that so many receive: on a cluster nothing, as a node counts only its own.
    #[must_use]
    pub fn receivers(&self, count: u64) -> Option<u64> {
        (!self.is_cluster()).then_some(count)
    }

    /// A new bus that reconnects quickly: for the first time after at most 10 ms, never after more than 200 ms.
    pub async fn bus(&self) -> Bus {
        self.bus_with(|builder| builder).await
    }

    /// A new bus with settings of the test's own.
    pub async fn bus_with(&self, settings: impl FnOnce(BusBuilder) -> BusBuilder) -> Bus {
        let reconnect =
            Reconnect::default().first_pause(Duration::from_millis(10)).longest_pause(Duration::from_millis(200));
        settings(self.builder().reconnect(reconnect)).connect().await.expect("the bus connects")
    }

    /// The same, in a namespace of the test's own. A test that called [`BusBuilder::namespace`] would leave its place on the cluster.
    pub async fn bus_in(&self, namespace: &str, settings: impl FnOnce(BusBuilder) -> BusBuilder) -> Bus {
        self.bus_with(|builder| settings(builder.namespace(self.name(namespace)))).await
    }

    /// Publishes bytes as they are, past every codec and every namespace of the test, and returns the number of receivers as
    /// [`receivers`](Self::receivers) does.
    pub async fn publish_raw(&self, channel: &str, payload: impl AsRef<[u8]>) -> Option<u64> {
        match &self.place {
            Place::Memory(broker) => Some(broker.publish_raw(channel, payload.as_ref())),
            Place::Redis(server) => Some(server.publish(channel, payload.as_ref()).await),
            Place::Cluster(share) => {
                share.publish(&self.name(channel), payload.as_ref()).await;
                None
            }
        }
    }

    /// Cuts every connection that has subscriptions; the server stays, so that the buses may come back at once. On a cluster that may be to another node: so
    /// it [settles](Self::settle) before, and nobody receives once more what was on its way there.
    pub async fn disconnect(&self) {
        match &self.place {
            Place::Memory(broker) => broker.disconnect_subscribers(),
            Place::Redis(server) => {
                server.kill_subscribers().await;
            }
            Place::Cluster(share) => {
                share.settle().await;
                share.cut(Cut::Subscribers).await;
            }
        }
    }

    /// Cuts every connection, those for commands too.
    pub async fn disconnect_everything(&self) {
        match &self.place {
            Place::Memory(_) => {}
            Place::Redis(server) => {
                let _: u64 = server.command(&["CLIENT", "KILL", "TYPE", "normal"]).await;
            }
            Place::Cluster(share) => {
                share.settle().await;
                return share.cut(Cut::Everything).await;
            }
        }
        self.disconnect().await;
    }

    /// Waits until what was published so far has reached all nodes: who subscribes then does not receive it, and what another one publishes does not
    /// overtake it. That is so at once where there is one server.
    pub async fn settle(&self) {
        if let Place::Cluster(share) = &self.place {
            share.settle().await;
        }
    }

    /// Takes the server away, as `kill -9` does.
    pub fn stop(&self) {
        match &self.place {
            Place::Memory(broker) => broker.stop(),
            Place::Redis(server) => server.kill(),
            Place::Cluster(_) => others_are_there(),
        }
    }

    /// Brings the server back, at the same address, with no memory of its subscribers.
    pub async fn start(&self) {
        match &self.place {
            Place::Memory(broker) => broker.start(),
            Place::Redis(server) => server.restart().await,
            Place::Cluster(_) => others_are_there(),
        }
    }

    /// Makes the server hang: connections stay open, and nothing is answered.
    pub fn freeze(&self) {
        match &self.place {
            Place::Memory(broker) => broker.freeze(),
            Place::Redis(server) => server.pause(),
            Place::Cluster(_) => others_are_there(),
        }
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) {
        match &self.place {
            Place::Memory(broker) => broker.thaw(),
            Place::Redis(server) => server.resume(),
            Place::Cluster(_) => others_are_there(),
        }
    }

    /// The number of subscriptions of a channel as the server counts them, patterns not counted.
    pub async fn subscriptions(&self, channel: &str) -> u64 {
        match &self.place {
            Place::Memory(broker) => broker.subscribers(channel),
            Place::Redis(server) => server.numsub(channel).await,
            Place::Cluster(share) => share.numsub(&self.name(channel)).await,
        }
    }

    /// The number of different patterns that are subscribed to; on a cluster they are counted for each connection.
    pub async fn patterns(&self) -> u64 {
        match &self.place {
            Place::Memory(broker) => broker.patterns(),
            Place::Redis(server) => server.numpat().await,
            Place::Cluster(share) => share.patterns().await,
        }
    }

    /// The number of connections that have subscriptions.
    pub async fn subscriber_connections(&self) -> u64 {
        match &self.place {
            Place::Memory(broker) => broker.subscriber_connections(),
            Place::Redis(server) => server.subscriber_connections().await,
            Place::Cluster(share) => share.subscriber_connections().await,
        }
    }
}

fn others_are_there() -> ! {
    panic!("other tests are on the cluster: say `#[one_server(\"why\")]` above this one")
}

/// Makes of each test body three tests, `name::memory`, `name::redis` and `name::cluster`, which fail if they take longer than a minute
/// (20 minutes in the long form of the fault suite).
///
/// ```
/// tidings_tests::on_each! {
///     async fn a_new_world_has_no_subscriptions(world: World) {
///         assert_eq!(world.subscriptions("orders:1").await, 0);
///     }
///
///     #[one_server("it is stopped")]
///     async fn a_server_that_is_away_has_none(world: World) {
///         world.stop();
///         world.start().await;
///         assert_eq!(world.subscriptions("orders:1").await, 0);
///     }
/// }
/// # fn main() {}
/// ```
///
/// What cannot run on the cluster says why, with `one_server`: it is shared by all, so that nobody may stop it or change its settings. Where something
/// differs there by design, a body asks the world what to expect: [`receivers`](World::receivers), [`name`](World::name),
/// [`is_cluster`](World::is_cluster).
///
/// Attributes and comments of a body go to all of its tests. A test file needs no import for `World`.
#[macro_export]
macro_rules! on_each {
    // One attribute after the other: `one_server` is for us, and the rest for the tests.
    (@test [$($kept:tt)*] [#[one_server($why:literal)] $($rest:tt)*] $($test:tt)*) => {
        $crate::on_each! { @test [$($kept)*] [$($rest)*] one_server $($test)* }
    };
    (@test [$($kept:tt)*] [#[$($attribute:tt)*] $($rest:tt)*] $($test:tt)*) => {
        $crate::on_each! { @test [$($kept)* #[$($attribute)*]] [$($rest)*] $($test)* }
    };
    (@test [$($kept:tt)*] [] one_server $name:ident $world:ident $body:block) => {
        $crate::on_each! { @places [$($kept)*] $name $world $body memory = Memory, redis = Redis }
    };
    (@test [$($kept:tt)*] [] $name:ident $world:ident $body:block) => {
        $crate::on_each! { @places [$($kept)*] $name $world $body memory = Memory, redis = Redis, cluster = Cluster }
    };
    (@places $attributes:tt $name:ident $world:ident $body:block $($place:ident = $kind:ident),+) => {
        async fn $name($world: $crate::World) $body

        mod $name {
            fn body(world: $crate::World) -> $crate::Body {
                ::std::boxed::Box::pin(super::$name(world))
            }

            $($crate::on_each! { @place $attributes $place $kind })+
        }
    };
    (@place [$($attributes:tt)*] $place:ident $kind:ident) => {
        $($attributes)*
        #[test]
        fn $place() {
            $crate::run($crate::Kind::$kind, body);
        }
    };
    ($($(#[$($attribute:tt)*])* async fn $name:ident($world:ident: World) $body:block)+) => {
        $($crate::on_each! { @test [] [$(#[$($attribute)*])*] $name $world $body })+
    };
}

/// Which world a test runs on.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Memory,
    Redis,
    Cluster,
}

/// A test body that has its world. On the heap: the future of a long test is large, and unoptimised code copies it about.
#[doc(hidden)]
pub type Body = Pin<Box<dyn Future<Output = ()>>>;

/// Runs a test body on a world of this kind, within the deadline that all of them share. Nothing here is generic, so that hundreds of tests compile once.
#[doc(hidden)]
pub fn run(kind: Kind, body: fn(World) -> Body) {
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime starts").block_on(in_time(Box::pin(async move {
        let world = match kind {
            Kind::Memory => World::memory(),
            Kind::Redis => World::redis().await,
            Kind::Cluster => World::cluster().await,
        };
        body(world).await;
    })));
}

async fn in_time(test: Body) {
    let is_long = std::env::var("TIDINGS_FAULTS").is_ok_and(|form| form == "long");
    let deadline = if is_long { LONG_DEADLINE } else { DEADLINE };
    let _watchdog = Watchdog::start(deadline + DEADLINE);
    assert!(timeout(deadline, test).await.is_ok(), "the test did not end within {deadline:?}: something hangs");
}

/// Ends the test program when a test hangs in such a way that not even its runtime's timers run. Dropped, it does nothing.
struct Watchdog {
    _alive: mpsc::Sender<()>,
}

impl Watchdog {
    fn start(deadline: Duration) -> Self {
        let (alive, test) = mpsc::channel();
        let name = thread::current().name().unwrap_or("a test").to_owned();
        thread::spawn(move || {
            if test.recv_timeout(deadline) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("{name} did not end within {deadline:?}, and its runtime stands still");
                process::exit(101);
            }
        });
        Self { _alive: alive }
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};
    use tidings::{Event, Message, PublishError, SubscribeError};

    use super::*;

    on_each! {
        async fn a_new_world_has_nobody_in_it(world: World) {
            assert_eq!(world.publish_raw("orders:1", b"{}").await, world.receivers(0));
            assert_eq!(world.subscriptions("orders:1").await, 0);
            assert_eq!(world.patterns().await, 0);
            assert_eq!(world.subscriber_connections().await, 0);
        }

        async fn a_world_cuts_off_whoever_is_there_and_counts_who_comes_back(world: World) {
            let bus = world.bus_in("shop", |builder| builder).await;
            let mut orders = bus.subscribe(Order::any()).await.unwrap();
            let counts = async || (world.patterns().await, world.subscriber_connections().await);
            assert_eq!(counts().await, (1, 1));
            for everything in [false, true] {
                if everything { world.disconnect_everything().await } else { world.disconnect().await }
                assert!(matches!(orders.next().await, Some(Event::Gap(_))));
            }
            assert_eq!(counts().await, (1, 1));
            drop(orders);
            let _order = bus.subscribe(Order::channel(1)).await.unwrap();
            assert_eq!(world.subscriptions("shop:orders:1").await, 1);
            assert_eq!(world.publish_raw("shop:orders:1", b"{}").await, world.receivers(1));
        }

        #[one_server("it is stopped")]
        async fn a_world_comes_back_from_every_fault(world: World) {
            world.freeze();
            world.thaw();
            world.stop();
            world.start().await;
            assert_eq!(world.subscriptions("orders:1").await, 0);
        }
    }

    #[derive(Debug, Message, Serialize, Deserialize)]
    #[channel("orders:<id: u64>")]
    struct Order {}

    /// On the cluster nobody leaves a namespace by mistake.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_leaves_a_place_on_the_cluster_is_refused() {
        let world = World::cluster().await;
        let bus = world.bus_with(|builder| builder.namespace("elsewhere")).await;
        assert!(matches!(bus.subscribe(Order::channel(1)).await, Err(SubscribeError::Refused { .. })));
        assert!(matches!(Order {}.publish_to(Order::channel(1), &bus).await, Err(PublishError::Refused { .. })));
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "something hangs")]
    async fn a_test_that_hangs_fails() {
        in_time(Box::pin(std::future::pending())).await;
    }
}
