//! Values of a queue's parameters are values, whatever they look like to Redis.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::{Delivery, Message, Outcome, TaskState, router};
use tidings_tests::{Recorder, eventually, on_each};

use crate::support::SOON;

const HOUR: Duration = Duration::from_secs(3_600);

/// Served: keys, hash tags, globs, and what the protocol and scripts could stumble over.
const SERVED: [&str; 14] = [
    "*",
    "a?",
    "[a-z]",
    "{x}",
    "}",
    "{",
    "{}",
    "names:regions:<region>}:back:names:regions",
    "tidings:queues:{names:regions:<region>}:due",
    "back:new:wake",
    "\"'\\",
    "%3A%",
    "a b\r\n$3\r\nfoo",
    "é\u{1F980}",
];
/// What the globs among them would match.
const OTHERS: [&str; 4] = ["ab", "b", "x", "due"];

#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("names:regions:<region>", bound, lease = "1s")]
struct Region {
    region: String,
    refused: bool,
}

#[derive(Debug, Outcome, thiserror::Error)]
enum RegionError {
    #[outcome(dead_letter)]
    #[error("no")]
    No,
}

struct Regions {
    /// The region, and whether its task had been refused.
    done: Recorder<(String, bool)>,
    refuses: bool,
}

#[router]
impl Regions {
    #[handler(once, window = "1h", timeout = "10s")]
    async fn region(&self, task: Region, delivery: &Delivery) -> Result<(), RegionError> {
        assert_eq!(delivery.channel(), Region::channel(task.region.as_str()).to_string());
        if task.refused && self.refuses {
            return Err(RegionError::No);
        }
        self.done.record((task.region, task.refused));
        Ok(())
    }
}

fn task(region: &str, refused: bool) -> Region {
    Region { region: region.to_owned(), refused }
}

/// So many times each of what is served.
fn each(times: usize, refused: bool) -> Vec<(String, bool)> {
    let mut all: Vec<_> = SERVED.iter().flat_map(|region| vec![((*region).to_owned(), refused); times]).collect();
    all.sort_unstable();
    all
}

on_each! {
    async fn a_value_that_looks_like_a_key_a_hash_tag_or_a_pattern_is_a_value(world: World) {
        let bus = world.bus_in("back:new", |builder| builder).await;
        for region in OTHERS {
            task(region, false).enqueue(&bus).await.unwrap();
        }
        let mut serves = bus.queue::<Region>();
        for region in SERVED {
            task(region, false).enqueue(&bus).await.unwrap();
            task(region, true).enqueue(&bus).await.unwrap();
            task(region, false).enqueue(&bus).delay(Duration::from_millis(50)).await.unwrap();
            // Keys are one queue's, whichever part a task is for.
            let first = task(region, false).enqueue(&bus).deduplicate(region, HOUR).await.unwrap();
            let again = task(region, false).enqueue(&bus).deduplicate(region, HOUR).await.unwrap();
            assert_eq!((first.was_there, again.was_there, &again.id), (None, Some(TaskState::Waiting), &first.id));
            serves = serves.on(Region::channel(region));
        }
        let counts = serves.counts().await.unwrap();
        assert_eq!(counts.parts.len(), SERVED.len());
        for region in SERVED {
            let part = counts.parts[&Region::channel(region).to_string()];
            assert_eq!((part.waiting + part.delayed, part.running), (4, 0), "{region}");
        }
        let serve = async |refuses| {
            let done = Recorder::new();
            let mut serving = bus.serve(Regions { done: done.clone(), refuses });
            for region in SERVED {
                serving = serving.on(Region::channel(region));
            }
            (serving.await.unwrap(), done)
        };
        let (service, done) = serve(true).await;
        let mut all = done.wait_for(3 * SERVED.len()).await;
        all.sort_unstable();
        assert_eq!(all, each(3, false));
        eventually(SOON, async || serves.counts().await.unwrap().dead == SERVED.len() as u64).await;
        service.shutdown().await.unwrap();
        let mut dead: Vec<_> = serves.dead_letters().await.unwrap().iter().map(|letter| letter.channel.clone()).collect();
        let mut channels: Vec<_> = SERVED.iter().map(|region| Region::channel(*region).to_string()).collect();
        dead.sort_unstable();
        channels.sort_unstable();
        assert_eq!(dead, channels);
        assert_eq!(serves.replay_all().await.unwrap(), SERVED.len() as u64);
        let (service, done) = serve(false).await;
        let mut all = done.wait_for(SERVED.len()).await;
        all.sort_unstable();
        assert_eq!(all, each(1, true));
        service.shutdown().await.unwrap();
        let counts = serves.counts().await.unwrap();
        assert_eq!((counts.dead, counts.ended.completed), (0, 4 * SERVED.len() as u64));
        assert!(counts.parts.values().all(|part| part.waiting + part.delayed + part.running == 0), "{counts:?}");
        // Nobody has touched what a pattern would have matched.
        for region in OTHERS {
            let other = bus.queue::<Region>().on(Region::channel(region)).counts().await.unwrap();
            assert_eq!(other.parts[&Region::channel(region).to_string()].waiting, 1, "{region}");
        }
    }
}
