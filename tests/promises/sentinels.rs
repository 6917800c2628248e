//! A bus on a master that Sentinels know: it is found, and what is wrong with the address is said.

use serde::{Deserialize, Serialize};
use tidings::{Bus, ConnectError, Event, Message};
use tidings_tests::{RedisServer, Sentinels};

use crate::support::SOON;

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

/// What is published there is heard on a bus that was given the address of the master itself.
async fn reaches_the_master(bus: &Bus, sentinels: &Sentinels) {
    let direct = Bus::connect(&sentinels.master().await.url()).await.unwrap();
    let mut orders = direct.subscribe(OrderPlaced::any()).await.unwrap();
    assert_eq!(OrderPlaced { id: 7 }.publish(bus).await.unwrap().receivers, Some(1));
    let order = tokio::time::timeout(SOON, orders.next()).await.unwrap().and_then(Event::into_message);
    assert_eq!(order.unwrap().message.id, 7);
}

async fn refused(url: &str) -> ConnectError {
    Bus::connect(url).await.err().unwrap()
}

#[tokio::test]
async fn the_master_is_found_through_any_sentinel_that_answers() {
    let sentinels = Sentinels::start().await;
    let bus = Bus::connect(&sentinels.url()).await.unwrap();
    reaches_the_master(&bus, &sentinels).await;
    let health = bus.health().await.unwrap();
    let master = format!("127.0.0.1:{}", sentinels.servers()[0].port());
    assert_eq!((health.role.as_deref(), health.server), (Some("master"), Some(master)));
    // The first in the address is gone; and one that stands still holds up nobody for long.
    sentinels.sentinels()[0].kill();
    sentinels.sentinels()[1].pause();
    let other = Bus::connect(&sentinels.url()).await.unwrap();
    reaches_the_master(&other, &sentinels).await;
    for sentinel in sentinels.sentinels() {
        sentinel.kill();
    }
    let error = refused(&sentinels.url()).await;
    assert!(matches!(error, ConnectError::NoSentinel { .. }), "{error:?}");
    assert!(error.to_string().contains(&sentinels.sentinels()[2].port().to_string()), "{error}");
    // Those who are connected go on.
    assert_eq!(OrderPlaced { id: 8 }.publish(&bus).await.unwrap().receivers, Some(0));
}

#[tokio::test]
async fn the_builder_takes_the_sentinels() {
    let sentinels = Sentinels::start().await;
    let addresses = sentinels.sentinels().iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port()));
    let bus = Bus::builder("redis://").sentinels(addresses, "shop").connect().await.unwrap();
    reaches_the_master(&bus, &sentinels).await;
    // The servers are named once.
    let contradiction = Bus::builder(sentinels.url()).sentinels(["127.0.0.1"], "shop").connect().await.unwrap_err();
    assert!(matches!(contradiction, ConnectError::Contradiction { setting: "sentinels", .. }), "{contradiction:?}");
    let contradiction = Bus::builder("memory:").sentinels(["127.0.0.1"], "shop").connect().await.unwrap_err();
    assert!(matches!(contradiction, ConnectError::Contradiction { setting: "sentinels", .. }), "{contradiction:?}");
}

#[tokio::test]
async fn what_is_wrong_with_an_address_of_sentinels_is_said() {
    let (sentinels, server) = tokio::join!(Sentinels::start(), RedisServer::start());
    let of = |port: u16, name: &str| format!("redis+sentinel://127.0.0.1:{port}/{name}");
    let sentinel = sentinels.sentinels()[0].port();

    let error = refused(&of(sentinel, "stock")).await;
    assert!(matches!(&error, ConnectError::UnknownMaster { name, .. } if name == "stock"), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("`stock`") && text.contains("sentinel monitor") && text.contains(&sentinel.to_string()),
        "{text}"
    );

    let error = refused(&of(server.port(), "shop")).await.to_string();
    assert!(error.contains("no Sentinel") && error.contains(&server.url()), "{error}");

    let error = refused(&format!("redis://127.0.0.1:{sentinel}")).await.to_string();
    assert!(error.contains("redis+sentinel://"), "{error}");

    let replica = refused(&sentinels.servers()[1].url()).await.to_string();
    assert!(replica.contains("replica"), "{replica}");

    // One Sentinel that knows it is enough.
    let both = format!("redis+sentinel://127.0.0.1:{},127.0.0.1:{sentinel}/shop", server.port());
    reaches_the_master(&Bus::connect(&both).await.unwrap(), &sentinels).await;
}

#[tokio::test]
async fn sentinels_and_servers_have_credentials_of_their_own() {
    let sentinels = Sentinels::with_settings(
        &["user shop on >bread ~* &* +@all"],
        &["user watcher on >eyes +@all", "sentinel auth-user shop default", "user default resetpass nopass on +@all"],
    )
    .await;
    let url = sentinels.url().replace("redis+sentinel://", "redis+sentinel://shop:bread@");
    let bus = Bus::builder(&url).sentinel_credentials("watcher", "eyes").connect().await.unwrap();
    reaches_the_master(&bus, &sentinels).await;
    let wrong = Bus::builder(&url).sentinel_credentials("watcher", "ears").connect().await.unwrap_err();
    let ConnectError::Unauthorized { address, .. } = &wrong else { panic!("{wrong:?}") };
    assert!(sentinels.sentinels().iter().any(|sentinel| address.ends_with(&sentinel.port().to_string())), "{wrong}");
    let wrong = refused(&url.replace("bread", "cake")).await;
    let ConnectError::Unauthorized { address, .. } = &wrong else { panic!("{wrong:?}") };
    assert!(address.ends_with(&sentinels.servers()[0].port().to_string()), "{wrong}");
    assert!(!wrong.to_string().contains("cake"), "{wrong}");
}

/// The user of the Sentinels themselves has nothing at first. What it needs to hear them is in the log.
#[tokio::test]
async fn whoever_follows_the_advice_of_the_errors_gets_to_ask_the_sentinels() {
    let sentinels = Sentinels::with_settings(&[], &["user watcher on >eyes resetchannels -@all"]).await;
    let connect = async || Bus::builder(sentinels.url()).sentinel_credentials("watcher", "eyes").connect().await;
    let refused = connect().await.unwrap_err().to_string();
    let rule = refused.split('`').find(|words| words.starts_with("ACL SETUSER watcher "));
    let rule = rule.unwrap_or_else(|| panic!("no advice in {refused}"));
    for sentinel in sentinels.sentinels() {
        let _: String = sentinel.command(&rule.split(' ').collect::<Vec<_>>()).await;
    }
    reaches_the_master(&connect().await.unwrap(), &sentinels).await;
}

#[tokio::test]
async fn an_announced_address_can_be_reached_at_another_one() {
    let sentinels = Sentinels::start().await;
    let master = sentinels.servers()[0].port();
    let elsewhere = RedisServer::start().await;
    let (announced, reached) = (format!("127.0.0.1:{master}"), format!("localhost:{}", elsewhere.port()));
    let bus = Bus::builder(sentinels.url()).map_address(announced, reached).connect().await.unwrap();
    let direct = Bus::connect(&elsewhere.url()).await.unwrap();
    let _orders = direct.subscribe(OrderPlaced::any()).await.unwrap();
    assert_eq!(OrderPlaced { id: 7 }.publish(&bus).await.unwrap().receivers, Some(1));
    for (announced, reached, which) in [
        ("a b", "c", "the announced"),
        ("c", "a b", "the reached"),
        ("redis://u:hunter2@a:1", "c", "`host:port` alone"),
    ] {
        let refused = Bus::builder(sentinels.url()).map_address(announced, reached).connect().await.unwrap_err();
        let told = format!("{refused} {refused:?}");
        assert!(told.contains("`map_address`") && told.contains(which) && !told.contains("hunter2"), "{told}");
    }
}
