//! What a promise test runs on: memory or Redis behind one interface.

use std::{process, sync::mpsc, thread, time::Duration};

use tidings::{Bus, BusBuilder, Reconnect, testing::Broker};

use crate::RedisServer;

/// How long a test on one transport may take. Nothing a test waits for takes half of it; a test that reaches it hangs.
const DEADLINE: Duration = Duration::from_secs(60);
/// The same in the long form of the fault suite, which `TIDINGS_FAULTS=long` asks for.
const LONG_DEADLINE: Duration = Duration::from_secs(20 * 60);

/// A transport of a test's own, and the means to disturb and to question it.
#[derive(Debug)]
pub struct World {
    place: Place,
}

#[derive(Debug)]
enum Place {
    Memory(Broker),
    Redis(RedisServer),
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

    /// The address for `Bus::connect`.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.place {
            Place::Memory(broker) => broker.url(),
            Place::Redis(server) => server.url(),
        }
    }

    /// The transport's name, for reports: `memory` or `redis`.
    #[must_use]
    pub fn transport(&self) -> &'static str {
        match &self.place {
            Place::Memory(_) => "memory",
            Place::Redis(_) => "redis",
        }
    }

    /// A new bus that reconnects quickly: for the first time after at most 10 ms, never after more than 200 ms.
    pub async fn bus(&self) -> Bus {
        self.bus_with(|builder| builder).await
    }

    /// A new bus with settings of the test's own.
    pub async fn bus_with(&self, settings: impl FnOnce(BusBuilder) -> BusBuilder) -> Bus {
        let reconnect =
            Reconnect::default().first_pause(Duration::from_millis(10)).longest_pause(Duration::from_millis(200));
        let builder = Bus::builder(self.url()).reconnect(reconnect);
        settings(builder).connect().await.expect("the bus connects")
    }

    /// Publishes bytes as they are, past every codec and namespace, and returns the number of receivers.
    pub async fn publish_raw(&self, channel: &str, payload: impl AsRef<[u8]>) -> u64 {
        match &self.place {
            Place::Memory(broker) => broker.publish_raw(channel, payload.as_ref()),
            Place::Redis(server) => server.publish(channel, payload.as_ref()).await,
        }
    }

    /// Cuts every connection that has subscriptions; the server stays, so that the buses may come back at once.
    pub async fn disconnect(&self) {
        match &self.place {
            Place::Memory(broker) => broker.disconnect_subscribers(),
            Place::Redis(server) => {
                server.kill_subscribers().await;
            }
        }
    }

    /// Cuts every connection, those for commands too.
    pub async fn disconnect_everything(&self) {
        if let Place::Redis(server) = &self.place {
            let _: u64 = server.command(&["CLIENT", "KILL", "TYPE", "normal"]).await;
        }
        self.disconnect().await;
    }

    /// Takes the server away, as `kill -9` does.
    pub fn stop(&self) {
        match &self.place {
            Place::Memory(broker) => broker.stop(),
            Place::Redis(server) => server.kill(),
        }
    }

    /// Brings the server back, at the same address, with no memory of its subscribers.
    pub async fn start(&self) {
        match &self.place {
            Place::Memory(broker) => broker.start(),
            Place::Redis(server) => server.restart().await,
        }
    }

    /// Makes the server hang: connections stay open, and nothing is answered.
    pub fn freeze(&self) {
        match &self.place {
            Place::Memory(broker) => broker.freeze(),
            Place::Redis(server) => server.pause(),
        }
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) {
        match &self.place {
            Place::Memory(broker) => broker.thaw(),
            Place::Redis(server) => server.resume(),
        }
    }

    /// The number of subscriptions of a channel as the server counts them, patterns not counted.
    pub async fn subscriptions(&self, channel: &str) -> u64 {
        match &self.place {
            Place::Memory(broker) => broker.subscribers(channel),
            Place::Redis(server) => server.numsub(channel).await,
        }
    }

    /// The number of different patterns that are subscribed to.
    pub async fn patterns(&self) -> u64 {
        match &self.place {
            Place::Memory(broker) => broker.patterns(),
            Place::Redis(server) => server.numpat().await,
        }
    }

    /// The number of connections that have subscriptions.
    pub async fn subscriber_connections(&self) -> u64 {
        match &self.place {
            Place::Memory(broker) => broker.subscriber_connections(),
            Place::Redis(server) => server.subscriber_connections().await,
        }
    }
}

/// Makes of each test body two tests, `name::memory` and `name::redis`, which fail if they take longer than a minute
/// (20 minutes in the long form of the fault suite).
///
/// ```
/// tidings_tests::on_both! {
///     async fn a_new_world_has_no_subscriptions(world: World) {
///         assert_eq!(world.subscriptions("orders:1").await, 0);
///     }
/// }
/// ```
///
/// Attributes and comments of a body go to both tests. A test file needs no import for `World`.
#[macro_export]
macro_rules! on_both {
    ($($(#[$attribute:meta])* async fn $name:ident($world:ident: World) $body:block)+) => {$(
        async fn $name($world: $crate::World) $body

        mod $name {
            $(#[$attribute])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn memory() {
                $crate::run(async { super::$name($crate::World::memory()).await }).await;
            }

            $(#[$attribute])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn redis() {
                $crate::run(async { super::$name($crate::World::redis().await).await }).await;
            }
        }
    )+};
}

/// Runs a test within the deadline that all of them share.
#[doc(hidden)]
pub async fn run(test: impl Future<Output = ()>) {
    // On the heap: the future of a long test is large, and unoptimised code copies it about.
    let is_long = std::env::var("TIDINGS_FAULTS").is_ok_and(|form| form == "long");
    let deadline = if is_long { LONG_DEADLINE } else { DEADLINE };
    let _watchdog = Watchdog::start(deadline + DEADLINE);
    let test = tokio::time::timeout(deadline, Box::pin(test));
    assert!(test.await.is_ok(), "the test did not end within {deadline:?}: something hangs");
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
    use super::*;

    on_both! {
        async fn a_new_world_has_nobody_in_it(world: World) {
            assert_eq!(world.publish_raw("orders:1", b"{}").await, 0);
            assert_eq!(world.subscriptions("orders:1").await, 0);
            assert_eq!(world.patterns().await, 0);
            assert_eq!(world.subscriber_connections().await, 0);
        }

        async fn a_world_comes_back_from_every_fault(world: World) {
            let url = world.url();
            world.disconnect().await;
            world.freeze();
            world.thaw();
            world.stop();
            world.start().await;
            assert_eq!(world.url(), url);
            assert_eq!(world.subscriptions("orders:1").await, 0);
        }
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "something hangs")]
    async fn a_test_that_hangs_fails() {
        run(std::future::pending()).await;
    }
}
