//! Notifications: one for a user, one for everybody, and a desk that sees them all.
//!
//! `cargo run --example notifications`, or with `REDIS_URL=redis://…` through a server.

use std::{env, error::Error};

use serde::{Deserialize, Serialize};
use tidings::{Bus, Event, Message, OwnedMessage, PublishError, Subscription, router};

/// For one user: only the programs that listen to `notifications:user:7` receive it.
#[derive(Message, Serialize, Deserialize)]
#[channel("notifications:user:<user>")]
struct Notification {
    user: u64,
    text: String,
}

/// For everybody.
#[derive(Message, Serialize, Deserialize)]
#[channel("notifications:broadcast")]
struct Announcement {
    text: String,
}

/// For those who watch over the system: one record of each notification.
#[derive(Message, Serialize, Deserialize)]
#[channel("notifications:all")]
struct Record {
    /// Nobody in particular if it went to everybody.
    user: Option<u64>,
    text: String,
}

/// What happens in the shop, and becomes a notification.
#[derive(Message, Serialize, Deserialize)]
#[channel("parcels:<parcel>")]
struct ParcelSent {
    parcel: u64,
    customer: u64,
}

struct Notifier;

#[router]
impl Notifier {
    #[handler]
    async fn sent(&self, sent: ParcelSent, bus: &Bus) -> Result<(), PublishError> {
        notify(bus, sent.customer, &format!("parcel {} is on its way", sent.parcel)).await
    }
}

/// The notification and its record leave in one round trip, and each has a result of its own.
async fn notify(bus: &Bus, user: u64, text: &str) -> Result<(), PublishError> {
    let notification = Notification { user, text: text.to_owned() };
    let record = Record { user: Some(user), text: text.to_owned() };
    for result in bus.batch().push(&notification).push(&record).await {
        result?;
    }
    Ok(())
}

async fn announce(bus: &Bus, text: &str) -> Result<(), PublishError> {
    let announcement = Announcement { text: text.to_owned() };
    let record = Record { user: None, text: text.to_owned() };
    for result in bus.batch().push(&announcement).push(&record).await {
        result?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bus = Bus::connect(env::var("REDIS_URL").as_deref().unwrap_or("memory:")).await?;
    let notifier = bus.serve(Notifier).await?;

    // Ada is user 7. Whatever goes to user 8 never reaches her program.
    let mut ada = bus.subscribe(Notification::channel(7_u64)).await?;
    let mut everybody = bus.subscribe(Announcement::channel()).await?;
    let mut desk = bus.subscribe(Record::channel()).await?;

    ParcelSent { parcel: 100, customer: 8 }.publish(&bus).await?;
    ParcelSent { parcel: 101, customer: 7 }.publish(&bus).await?;
    announce(&bus, "the shop closes at 20").await?;

    println!("for Ada      │ {}", next(&mut ada).await?.text);
    println!("for everybody│ {}", next(&mut everybody).await?.text);
    for _ in 0..3 {
        let record = next(&mut desk).await?;
        match record.user {
            Some(user) => println!("at the desk  │ to user {user}: {}", record.text),
            None => println!("at the desk  │ to everybody: {}", record.text),
        }
    }
    notifier.shutdown().await?;
    Ok(())
}

/// The next message. A program that lives longer than this one looks at the other events too.
async fn next<M: OwnedMessage>(subscription: &mut Subscription<M>) -> Result<M, Box<dyn Error>> {
    match subscription.next().await {
        Some(Event::Message(received)) => Ok(received.message),
        other => Err(format!("no message: {other:?}").into()),
    }
}
