//! Reconnecting: a subscription survives the restart of its server, and says what may have been missed.
//!
//! `cargo run --example reconnect` stops and starts a memory broker itself. With `REDIS_URL=redis://…` it waits for you to restart
//! your server.

use std::{env, error::Error, time::Duration};

use serde::{Deserialize, Serialize};
use tidings::{Bus, Event, Message, Reconnect, Subscription, testing::Broker};

/// A sign of life, several times a second.
#[derive(Message, Serialize, Deserialize)]
#[channel("beats")]
struct Beat {
    n: u64,
}

const PAUSE: Duration = Duration::from_millis(200);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    match env::var("REDIS_URL") {
        Ok(url) => {
            let bus = connect(&url).await?;
            let beats = bus.subscribe(Beat::channel()).await?;
            println!("now restart your Redis; this program ends when it has survived that");
            survive(&bus, beats, None).await
        }
        Err(_) => {
            let broker = Broker::new();
            let bus = connect(&broker.url()).await?;
            let beats = bus.subscribe(Beat::channel()).await?;
            survive(&bus, beats, Some(broker)).await
        }
    }
}

/// The first attempt comes at once; then the pauses grow from 50 ms to a second, for ever, each shortened at random so that many
/// programs do not return in step. `give_up_after` would set a limit, which ends every subscription.
async fn connect(url: &str) -> Result<Bus, Box<dyn Error>> {
    let policy = Reconnect::default().first_pause(Duration::from_millis(50)).longest_pause(Duration::from_secs(1));
    Ok(Bus::builder(url).reconnect(policy).command_timeout(Duration::from_secs(1)).connect().await?)
}

/// Publishes and listens until the subscription has reported a gap and a message after it.
async fn survive(bus: &Bus, mut beats: Subscription<Beat>, broker: Option<Broker>) -> Result<(), Box<dyn Error>> {
    let mut ticks = tokio::time::interval(PAUSE);
    let (mut n, mut survived) = (0, false);
    loop {
        tokio::select! {
            event = beats.next() => match event {
                Some(Event::Message(beat)) => {
                    println!("beat {}", beat.n);
                    if survived {
                        println!("back again: {} gap, and nothing missed outside of it", beats.stats().gaps);
                        return Ok(());
                    }
                }
                // In its place among the messages: what came before is complete, and what follows is live again.
                Some(Event::Gap(gap)) => {
                    println!("a gap of {:?}, because of {:?}: read from your database what matters", gap.lasted, gap.cause);
                    survived = true;
                }
                Some(other) => println!("{other:?}"),
                None => return Err("the bus has given up".into()),
            },
            _ = ticks.tick() => {
                n += 1;
                outage(broker.as_ref(), n);
                if let Err(error) = (Beat { n }).publish(bus).await {
                    println!("beat {n} was not published: {error}");
                }
            }
        }
    }
}

/// Takes the memory broker away for two beats.
fn outage(broker: Option<&Broker>, n: u64) {
    match (broker, n) {
        (Some(broker), 3) => broker.stop(),
        (Some(broker), 5) => broker.start(),
        _ => {}
    }
}
