//! Every duration that can be set, with nothing, the shortest and for ever: no panic, and for ever is for ever.

use std::time::Duration;

use tidings::{Bus, BusBuilder, ConnectError, Event, Overflow, Reconnect};
use tidings_tests::{World, on_each};

use crate::support::{News, event, message};

const NANO: Duration = Duration::from_nanos(1);

type Setting = (&'static str, fn(BusBuilder, Duration) -> BusBuilder);

fn reconnect(builder: BusBuilder, set: impl FnOnce(Reconnect) -> Reconnect) -> BusBuilder {
    let quick = Reconnect::default().first_pause(Duration::from_millis(1)).longest_pause(Duration::from_millis(20));
    builder.reconnect(set(quick))
}

const SETTINGS: [Setting; 7] = [
    ("connect_timeout", BusBuilder::connect_timeout),
    ("command_timeout", BusBuilder::command_timeout),
    ("ping interval", BusBuilder::ping_interval),
    ("ping deadline", BusBuilder::ping_deadline),
    ("first_pause", |builder, time| reconnect(builder, |reconnect| reconnect.first_pause(time))),
    ("longest_pause", |builder, time| reconnect(builder, |reconnect| reconnect.longest_pause(time))),
    ("give_up_after", |builder, time| reconnect(builder, |reconnect| reconnect.give_up_after(time))),
];

/// Publishes, subscribes in every way, loses the connection, and comes back: none of it may panic, and where the setting allows it, it works.
async fn live(world: &World, bus: &Bus) -> bool {
    let mut alive = true;
    for overflow in [Overflow::DropOldest, Overflow::BackPressure] {
        let Ok(mut news) = bus.subscribe(News::channel()).overflow(overflow).await else {
            alive = false;
            continue;
        };
        alive &= News { n: 1 }.publish(bus).await.is_ok();
        alive &= bus.batch().push(&News { n: 2 }).atomic().await.is_ok();
        alive &= bus.health().await.is_ok();
        world.disconnect().await;
        // A gap, or the end; with a ping every millisecond perhaps a gap before the first message.
        let _ = tokio::time::timeout(Duration::from_millis(100), news.next()).await;
    }
    alive
}

on_each! {
    async fn nothing_and_the_shortest_are_refused_or_do_what_they_say(world: World) {
        for (name, set) in SETTINGS {
            for time in [Duration::ZERO, NANO] {
                match set(world.builder(), time).connect().await {
                    Ok(bus) => {
                        live(&world, &bus).await;
                    }
                    Err(ConnectError::InvalidConfig(reason)) => assert!(time.is_zero() && reason.contains(name), "{reason}"),
                    Err(error) => assert!(matches!(error, ConnectError::TimedOut { .. }), "{name}: {error}"),
                }
            }
        }
    }

    async fn for_ever_is_for_ever(world: World) {
        for (name, set) in SETTINGS {
            let bus = set(world.builder(), Duration::MAX).connect().await.unwrap();
            assert!(live(&world, &bus).await, "{name}");
        }
        let all = SETTINGS.iter().fold(world.builder(), |builder, (_, set)| set(builder, Duration::MAX));
        assert!(live(&world, &all.connect().await.unwrap()).await);
    }

    #[one_server("it is stopped")]
    async fn a_server_that_comes_back_is_met_again_by_who_never_gives_up(world: World) {
        let bus = world.bus_with(|builder| {
            let builder = reconnect(builder, |reconnect| reconnect.give_up_after(Duration::MAX));
            builder.command_timeout(Duration::MAX).connect_timeout(Duration::MAX)
        }).await;
        let mut news = bus.subscribe(News::channel()).await.unwrap();
        world.stop();
        let publishing = async {
            // On memory a publish to a broker that is away fails at once.
            while (News { n: 1 }).publish(&bus).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let starting = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            world.start().await;
        };
        tokio::join!(publishing, starting);
        assert!(matches!(event(&mut news).await, Event::Gap(_)));
    }

    async fn an_idle_timeout_may_be_anything(world: World) {
        let bus = world.bus().await;
        for time in [Duration::ZERO, NANO] {
            let mut news = bus.subscribe(News::channel()).idle_timeout(time).await.unwrap();
            assert!(matches!(event(&mut news).await, Event::Ended(_)));
            assert!(news.next().await.is_none());
        }
        let mut news = bus.subscribe(News::channel()).idle_timeout(Duration::MAX).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(20), news.next()).await.is_err());
        News { n: 1 }.publish(&bus).await.unwrap();
        assert_eq!(message(&mut news).await.n, 1);
    }
}
