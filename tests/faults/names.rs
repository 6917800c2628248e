//! T21: whatever the parameters are, they come back as they went in, no two share a channel, and both transports agree.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use tidings::{Bus, Event, Message, Subscription};
use tidings_tests::World;

use crate::{
    ledger::SOON,
    report::Report,
    seed::{Random, sized},
};

#[derive(Message, Serialize, Deserialize)]
#[channel("names:<first: String>:<second: String>")]
struct Named {
    n: u64,
}

/// What is special in channels, patterns, the protocol and the encoding itself.
const SPECIAL: [&str; 24] = [
    ":", "*", "?", "[", "]", "\\", "{", "}", "%", "%3A", "\0", "\r\n", "\n", " ", "é", "名", "🦀", "\u{202e}",
    "\u{feff}", "a", "Z", "0", "^", "-",
];

fn text(random: &mut Random) -> String {
    let length = match random.within(0..1_000) {
        0..100 => 0,
        100 => random.within(100..400),
        _ => random.within(1..12),
    };
    let pick = |_| SPECIAL[usize::try_from(random.within(0..SPECIAL.len() as u64)).unwrap()];
    (0..length).map(pick).collect()
}

async fn next(subscription: &mut Subscription<Named>) -> (String, String, String, u64) {
    match tokio::time::timeout(SOON, subscription.next()).await.unwrap() {
        Some(Event::Message(named)) => {
            let address = named.delivery.address::<Named>().unwrap();
            (named.delivery.channel().to_owned(), address.first.clone(), address.second.clone(), named.n)
        }
        other => panic!("{other:?}"),
    }
}

/// The channels of so many random names, as the server has them.
async fn round_trips(bus: &Bus, count: u64) -> Vec<String> {
    let mut random = Random::of("T21");
    let (mut owners, mut channels) = (HashMap::new(), Vec::new());
    let mut all = bus.subscribe(Named::any()).await.unwrap();
    for n in 0..count {
        let (first, second) = (text(&mut random), text(&mut random));
        // One in ten has subscriptions of its own: exactly, and by its first parameter.
        let mut own = Vec::new();
        if n % 10 == 0 {
            own.push(bus.subscribe(Named::channel(&first, &second)).await.unwrap());
            own.push(bus.subscribe(Named::any().first(&first)).await.unwrap());
        }
        Named { n }.publish_to(Named::channel(&first, &second), bus).await.unwrap();
        for subscription in own.iter_mut().chain([&mut all]) {
            let (channel, got_first, got_second, got) = next(subscription).await;
            assert!(got == n && got_first == first && got_second == second, "{channel:?}");
        }
        let (channel, names) = (Named::channel(&first, &second).to_string(), (first, second));
        let owner = owners.entry(channel.clone()).or_insert_with(|| names.clone());
        assert_eq!(*owner, names, "{channel:?} is the channel of both");
        channels.push(channel);
    }
    channels
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_names_come_back_and_never_collide_on_either_transport() {
    let count = sized(2_000, 50_000);
    let mut channels = Vec::new();
    for world in [World::memory(), World::redis().await] {
        let bus = world.bus_with(|builder| builder.name_limit(16_384)).await;
        channels.push(round_trips(&bus, count).await);
    }
    assert!(channels[0] == channels[1], "memory and Redis differ");
    Report::new("T21", "names", usize::try_from(count).unwrap()).messages(2 * count, 2 * count).close();
}
