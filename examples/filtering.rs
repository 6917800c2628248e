//! Filtering: the server leaves out other channels, and a declared filter leaves out other messages.
//!
//! `cargo run --example filtering`, or with `REDIS_URL=redis://…` through a server.

use std::{env, error::Error};

use serde::{Deserialize, Serialize};
use tidings::{Bus, ChannelParam, Event, Message, State, handler, routes};
use tokio::sync::mpsc;

/// An alert. The region is a parameter of its channel, so the server can tell regions apart: `alerts:eu:7`.
#[derive(Clone, Message, Serialize, Deserialize)]
#[channel("alerts:<region>:<user>")]
struct Alert {
    region: Region,
    user: u64,
    priority: Priority,
    text: String,
}

#[derive(Clone, Copy, PartialEq, ChannelParam, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Region {
    Eu,
    Us,
}

#[derive(Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
enum Priority {
    Low,
    High,
}

/// Users who may wake somebody up.
const ALLOWED: [u64; 2] = [1, 7];

/// The filter is an expression over the message, and the compiler checks it: `alert.prioritty` is an error. What it leaves out is
/// counted, and never reaches the handler.
#[handler(filter = alert.priority == Priority::High && ALLOWED.contains(&alert.user))]
async fn wake_up(
    alert: Alert,
    State(woken): State<mpsc::Sender<String>>,
) -> Result<(), mpsc::error::SendError<String>> {
    woken.send(format!("user {}: {}", alert.user, alert.text)).await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bus = Bus::connect(env::var("REDIS_URL").as_deref().unwrap_or("memory:")).await?;
    let (woken, mut nights) = mpsc::channel(16);
    let service = bus.serve(routes![wake_up].with_state(woken)).await?;

    // A subscription is narrowed by parameter: this one is `alerts:eu:*` on the server.
    let mut europe = bus.subscribe(Alert::any().region(Region::Eu)).await?;

    let alert = |region, user, priority, text: &str| Alert { region, user, priority, text: text.into() };
    alert(Region::Eu, 7, Priority::Low, "the disk is half full").publish(&bus).await?;
    alert(Region::Us, 7, Priority::High, "the disk is full").publish(&bus).await?;
    alert(Region::Eu, 3, Priority::High, "I am bored").publish(&bus).await?;
    alert(Region::Eu, 1, Priority::High, "the kitchen burns").publish(&bus).await?;

    for _ in 0..2 {
        println!("woken up by {}", nights.recv().await.ok_or("the service has ended")?);
    }
    for _ in 0..3 {
        match europe.next().await {
            Some(Event::Message(alert)) => println!("in Europe   │ user {}: {}", alert.user, alert.text),
            other => println!("unexpected: {other:?}"),
        }
    }
    // Handlers run beside each other: the last of the four may still be on its way through the filter.
    while service.stats().handlers[0].filtered < 2 {
        tokio::task::yield_now().await;
    }
    println!("left out by the filter: {}", service.stats().handlers[0].filtered);
    service.shutdown().await?;
    Ok(())
}
