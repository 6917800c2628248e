//! Namespaces keep buses apart, and every parameter comes back from the channel as it went in.

use std::collections::HashSet;

use proptest::{
    collection::vec,
    prelude::{Strategy, any},
    prop_oneof,
    strategy::{Just, ValueTree},
    test_runner::TestRunner,
};
use serde::{Deserialize, Serialize};
use tidings::{ChannelParam, Message, router};
use tidings_tests::{Recorder, on_each};

use crate::support::{News, Step, message, received};

#[derive(Clone, Copy, Debug, PartialEq, ChannelParam, Serialize, Deserialize)]
enum Priority {
    High,
    Normal,
    VeryLow,
}

#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("all:<text>:<number>:<signed>:<flag>:<letter>:<priority>:<path..>")]
struct All {
    text: String,
    number: u128,
    signed: i64,
    flag: bool,
    letter: char,
    priority: Priority,
    path: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[channel("two:<one>:<other>")]
struct Two {
    one: String,
    other: String,
}

struct Listener {
    seen: Recorder<All>,
}

#[router]
impl Listener {
    #[handler]
    async fn all(&self, all: All) {
        self.seen.record(all);
    }
}

/// Texts that are made of what is special in channels and patterns, and of anything at all.
fn text() -> impl Strategy<Value = String> {
    let special = prop_oneof![
        4 => proptest::sample::select(":*?[]\\{}%^-_. \n\r\0".chars().collect::<Vec<_>>()),
        2 => proptest::sample::select("ab25_A3F".chars().collect::<Vec<_>>()),
        1 => any::<char>(),
    ];
    prop_oneof![Just(String::new()), Just("%_".to_owned()), vec(special, 0..8).prop_map(String::from_iter)]
}

fn all() -> impl Strategy<Value = All> {
    let priority = proptest::sample::select(vec![Priority::High, Priority::Normal, Priority::VeryLow]);
    let scalars = (any::<u128>(), any::<i64>(), any::<bool>(), any::<char>(), priority);
    (text(), scalars, vec(text(), 0..4)).prop_map(|(text, (number, signed, flag, letter, priority), path)| All {
        text,
        number,
        signed,
        flag,
        letter,
        priority,
        path,
    })
}

/// So many values, the same ones in every run.
fn some<T>(count: usize, strategy: impl Strategy<Value = T>) -> Vec<T> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

on_each! {
    async fn parameters_come_back_as_they_went_in(world: World) {
        let bus = world.bus_with(|builder| builder.name_limit(4_096)).await;
        let mut subscription = bus.subscribe(All::any()).await.unwrap();
        let seen = Recorder::new();
        let _service = bus.serve(Listener { seen: seen.clone() }).await.unwrap();
        let sent = some(500, all());
        for value in &sent {
            value.publish(&bus).await.unwrap();
            let received = received(&mut subscription).await;
            let address = received.delivery.address::<All>().unwrap();
            assert_eq!(received.message, *value);
            assert_eq!((&address.text, address.number, address.signed), (&value.text, value.number, value.signed));
            assert_eq!((address.flag, address.letter, address.priority), (value.flag, value.letter, value.priority));
            assert_eq!(address.path, value.path);
        }
        assert_eq!(seen.wait_for(sent.len()).await, sent);
    }

    async fn no_two_addresses_share_a_channel(world: World) {
        let bus = world.bus_with(|builder| builder.name_limit(4_096)).await;
        // Few different texts make many pairs that differ only in where their characters are.
        let mut sent: Vec<Two> = Vec::new();
        for (one, other) in some(300, (text(), text())) {
            let two = Two { one, other };
            if !sent.contains(&two) {
                sent.push(two);
            }
        }
        let mut subscriptions = Vec::new();
        for Two { one, other } in &sent {
            subscriptions.push(bus.subscribe(Two::channel(one, other)).await.unwrap());
            subscriptions.push(bus.subscribe(Two::any().one(one).other(other)).await.unwrap());
        }
        // Twice, so that whatever else arrived would come between.
        for two in sent.iter().chain(&sent) {
            two.publish(&bus).await.unwrap();
        }
        for (two, pair) in sent.iter().zip(subscriptions.chunks_mut(2)) {
            for subscription in pair {
                assert_eq!(message(subscription).await, *two);
                assert_eq!(message(subscription).await, *two);
            }
        }
    }

    async fn namespaces_keep_buses_apart(world: World) {
        let shop = world.bus_in("shop", |builder| builder).await;
        let lab = world.bus_in("lab:eu", |builder| builder).await;
        let bare = world.bus().await;
        let mut subscriptions = Vec::new();
        for bus in [&shop, &lab, &bare] {
            subscriptions.push((bus.subscribe(Step::any()).await.unwrap(), bus.subscribe(News::channel()).await.unwrap()));
        }
        for (n, bus) in (0..).zip([&shop, &lab, &bare]) {
            Step { line: 1, n }.publish(bus).await.unwrap();
            News { n }.publish(bus).await.unwrap();
        }
        for (n, bus) in (10..).zip([&shop, &lab, &bare]) {
            Step { line: 1, n }.publish(bus).await.unwrap();
            News { n }.publish(bus).await.unwrap();
        }
        for (n, (steps, news)) in (0..).zip(&mut subscriptions) {
            assert_eq!((message(steps).await.n, message(news).await.n), (n, n));
            assert_eq!((message(steps).await.n, message(news).await.n), (n + 10, n + 10));
        }
    }

    async fn a_namespace_is_on_the_server_and_nowhere_else(world: World) {
        let bus = world.bus_in("shop", |builder| builder).await;
        let mut steps = bus.subscribe(Step::any()).await.unwrap();
        let mut exact = bus.subscribe(Step::channel(1_u64)).await.unwrap();
        assert_eq!(world.subscriptions("shop:line:1").await, 1);
        assert_eq!(world.subscriptions("line:1").await, 0);
        assert_eq!((steps.selection(), exact.selection()), ("line:*", "line:1"));
        assert_eq!(world.publish_raw("line:1", r#"{"line":1,"n":0}"#).await, world.receivers(0));
        assert_eq!(world.publish_raw("shop:line:1", r#"{"line":1,"n":1}"#).await, world.receivers(2));
        for subscription in [&mut steps, &mut exact] {
            let step = received(subscription).await;
            assert_eq!(step.delivery.channel(), "line:1");
            assert_eq!(step.delivery.address::<Step>().unwrap(), Step::channel(1_u64));
        }
    }
}

#[test]
fn different_values_have_different_channels() {
    let mut channels = HashSet::new();
    let mut values: Vec<All> = Vec::new();
    for value in some(20_000, all()) {
        let address = value.address().to_string();
        assert!(!address.contains(['*', '?', '[', ']', '\\', '{', '}', ' ', '\n', '\r', '\0']), "{address:?}");
        if channels.insert(address) {
            values.push(value);
        }
    }
    // Each channel that came up a second time was that of an equal value.
    let repeated = some(20_000, all()).into_iter().filter(|value| !values.contains(value)).count();
    assert_eq!(repeated, 0);
}
