//! Tasks between tidings and a Python program that does what docs/queues.md says.

use serde::{Deserialize, Serialize};
use tidings::{Bus, ChannelParam, DeadReason, Delivery, Message, router};
use tidings_tests::{Recorder, RedisServer, eventually};

use crate::{SOON, next, peer::Peer};

#[derive(Message, Serialize, Deserialize)]
#[queue("parcels:<size>", strict = size)]
struct Parcel {
    size: Size,
    n: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ChannelParam, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Size {
    Large,
    Small,
}

struct Post {
    taken: Recorder<(Size, u64, Option<String>)>,
}

#[router]
impl Post {
    #[handler(idempotent, timeout = "10s")]
    async fn parcel(&self, parcel: Parcel, delivery: &Delivery) {
        self.taken.record((parcel.size, parcel.n, delivery.id().map(str::to_owned)));
    }
}

#[derive(Message, Serialize, Deserialize)]
#[queue("letters")]
struct Letter {
    n: u64,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("letters:done")]
#[message(format = "plain")]
struct LettersDone {
    numbers: Vec<u64>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_adds_tasks_with_one_command_and_takes_those_of_tidings() {
    let server = RedisServer::start().await;
    let bus = Bus::builder(server.url()).namespace("shop").connect().await.unwrap();
    let mut done = bus.subscribe(LettersDone::channel()).await.unwrap();
    let _peer = Peer::start("tasks.py", server.port());
    let taken = Recorder::new();
    let service = bus.serve(Post { taken: taken.clone() }).await.unwrap();
    let queue = bus.queue::<Parcel>();
    eventually(SOON, async || taken.len() == 2 && queue.counts().await.unwrap().dead == 1).await;
    let mut taken = taken.all();
    taken.sort_unstable_by_key(|parcel| parcel.1);
    assert_eq!(taken[1], (Size::Small, 2, Some("python-2".to_owned())));
    assert_eq!((taken[0].0, taken[0].1), (Size::Large, 1));
    let dead = queue.dead_letters().await.unwrap();
    assert_eq!(
        (dead[0].id.as_str(), dead[0].reason, dead[0].payload.as_ref()),
        ("python-3", DeadReason::Undecodable, &b"neither"[..])
    );
    eventually(SOON, async || queue.counts().await.unwrap().ended.unknown > 0).await;
    assert_eq!(queue.counts().await.unwrap().outstanding(), 1);

    for n in [1, 2, 3] {
        Letter { n }.enqueue(&bus).await.unwrap();
    }
    assert_eq!(next(&mut done).await.numbers, [1, 2, 3]);
    assert_eq!(bus.queue::<Letter>().counts().await.unwrap().outstanding(), 0);
    service.shutdown().await.unwrap();
}
