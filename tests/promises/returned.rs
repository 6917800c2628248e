//! What a handler returns goes out together, in one round trip: everything is sent, each failure is counted, and the acknowledgement
//! leaves after all of it was accepted.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tidings::{AcknowledgeError, Bus, Enqueue, Message, Publish, Reconnect, router};
use tidings_tests::{Recorder, RedisServer, eventually, on_each};
use tokio::sync::Semaphore;

use crate::support::{SOON, Step, handler, messages, patience, refusals};

/// Asks for so many steps.
#[derive(Message, Serialize, Deserialize)]
#[channel("walks")]
struct Walk {
    steps: u64,
}

/// Returns a step for each line, once it may go on.
struct Walker {
    begun: Recorder<u64>,
    may_go: Arc<Semaphore>,
}

impl Walker {
    fn free() -> Self {
        Self { begun: Recorder::new(), may_go: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)) }
    }
}

#[router]
impl Walker {
    #[handler]
    async fn walk(&self, walk: Walk) -> Publish<Step> {
        self.begun.record(walk.steps);
        let _may_go = self.may_go.acquire().await.unwrap();
        Publish::all((1..=walk.steps).map(|n| Step { line: n, n }))
    }
}

/// A step that somebody has to take.
#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:taken")]
struct Taken {
    n: u64,
    name: String,
}

/// Asks for so many steps to be taken.
#[derive(Message, Serialize, Deserialize)]
#[channel("marches")]
struct March {
    steps: u64,
    longest_name: usize,
}

/// Returns messages and tasks.
struct Marcher;

#[router]
impl Marcher {
    #[handler]
    async fn march(&self, march: March) -> (Enqueue<Taken>, Publish<Step>) {
        let taken = |n| Taken { n, name: "x".repeat(march.longest_name) };
        (Enqueue::all((1..=march.steps).map(taken)), Publish::new(Step { line: 0, n: march.steps }))
    }
}

on_each! {
    async fn tasks_are_in_their_queue_before_the_acknowledgement(world: World) {
        let service = world.bus().await.serve(Marcher).await.unwrap();
        let client = world.bus().await;
        let mut steps = client.subscribe(Step::any()).await.unwrap();
        March { steps: 3, longest_name: 1 }.publish(&client).acknowledged_within(SOON).await.unwrap();
        let counts = client.queue::<Taken>().counts().await.unwrap();
        assert_eq!(counts.parts["tasks:taken"].waiting, 3);
        assert_eq!(messages(&mut steps, 1).await[0].n, 3);
        assert_eq!(handler(&service, "march").handled, 1);

        // One that cannot be encoded keeps all of it back.
        let refused = March { steps: 1, longest_name: 1_000_000 }.publish(&client).acknowledged_within(patience(&world)).await;
        assert!(refusals(&world, refused.unwrap_err())[0].contains("payload_limit"));
        assert_eq!(client.queue::<Taken>().counts().await.unwrap().parts["tasks:taken"].waiting, 3);
        assert_eq!(handler(&service, "march").failed, 1);
    }

    async fn all_of_it_comes_in_order_and_before_the_acknowledgement(world: World) {
        let _service = world.bus().await.serve(Walker::free()).await.unwrap();
        let client = world.bus().await;
        let mut steps = client.subscribe(Step::any()).await.unwrap();
        Walk { steps: 50 }.publish(&client).acknowledged_within(SOON).await.unwrap();
        // Both came over one connection, in the server's order. On a cluster the answer comes by another one, and may be sooner here.
        if !world.is_cluster() {
            assert_eq!(client.stats().subscriptions[0].messages, 50);
        }
        let seen: Vec<u64> = messages(&mut steps, 50).await.iter().map(|step| step.n).collect();
        assert_eq!(seen, (1..=50).collect::<Vec<_>>());
    }

    #[one_server("it is stopped")]
    async fn each_message_that_cannot_be_sent_is_counted(world: World) {
        let short = Duration::from_millis(300);
        let bus = world.bus_with(|builder| builder.command_timeout(short).connect_timeout(short)).await;
        let (begun, may_go) = (Recorder::new(), Arc::new(Semaphore::new(0)));
        let service = bus.serve(Walker { begun: begun.clone(), may_go: Arc::clone(&may_go) }).await.unwrap();
        Walk { steps: 3 }.publish(&bus).await.unwrap();
        begun.wait_for(1).await;
        world.stop();
        may_go.add_permits(1);
        eventually(SOON, async || handler(&service, "walk").unsent == 3).await;
        let stats = handler(&service, "walk");
        assert_eq!((stats.handled, stats.failed), (0, 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_keeps_nothing_back_but_the_acknowledgement() {
    let rules = "user anna on >secret ~* resetchannels &walks &tidings:* &line:1 &line:3 +@all";
    let server = RedisServer::with_settings(&[rules]).await;
    let reconnect = Reconnect::default();
    let anna = Bus::builder(format!("redis://anna:secret@127.0.0.1:{}", server.port())).reconnect(reconnect);
    let service = anna.connect().await.unwrap().serve(Walker::free()).await.unwrap();
    let client = Bus::connect(&server.url()).await.unwrap();
    let mut steps = client.subscribe(Step::any()).await.unwrap();
    let acknowledged = Walk { steps: 3 }.publish(&client).acknowledged_within(SOON).await;
    match acknowledged {
        Err(AcknowledgeError::Refused { refusals, .. }) => assert_eq!(refusals, ["the handler failed"]),
        other => panic!("{other:?}"),
    }
    let seen: Vec<u64> = messages(&mut steps, 2).await.iter().map(|step| step.n).collect();
    assert_eq!(seen, [1, 3]);
    let counted = || {
        let stats = handler(&service, "walk");
        (stats.handled, stats.failed, stats.unsent)
    };
    eventually(SOON, async || counted() == (0, 1, 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_messages_are_one_round_trip() {
    const STEPS: u64 = 1_000;
    let server = RedisServer::start().await;
    let bus = Bus::connect(&server.url()).await.unwrap();
    let service = bus.serve(Walker::free()).await.unwrap();
    let before = reads(&server).await;
    Walk { steps: STEPS }.publish(&bus).await.unwrap();
    eventually(SOON, async || handler(&service, "walk").handled == 1).await;
    // A read takes what has arrived, up to 16 KiB; a round trip for each message would be a read for each.
    let reads = reads(&server).await - before;
    assert!(reads < STEPS / 4, "{reads} reads for {STEPS} messages");
}

/// How often the server has read from its connections.
async fn reads(server: &RedisServer) -> u64 {
    let info: String = server.command(&["INFO", "stats"]).await;
    let line = info.lines().find_map(|line| line.strip_prefix("total_reads_processed:"));
    line.unwrap().trim().parse().unwrap()
}
