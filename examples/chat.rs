//! A chat: rooms are addresses, members are subscriptions, and whoever leaves is unsubscribed.
//!
//! `cargo run --example chat` plays a scene in two rooms, in memory or with `REDIS_URL=redis://…` through a server. With a server
//! two terminals can talk:
//!
//! ```sh
//! REDIS_URL=redis://127.0.0.1:6379 cargo run --example chat -- --interactive Ada kitchen
//! REDIS_URL=redis://127.0.0.1:6379 cargo run --example chat -- --interactive Bob kitchen
//! ```

use std::{env, error::Error, io, thread};

use serde::{Deserialize, Serialize};
use tidings::{Address, Bus, Event, Message, Subscription};
use tokio::sync::mpsc;

/// What happens in a room. The room is part of the address: `chat:room:kitchen`.
#[derive(Message, Serialize, Deserialize)]
#[channel("chat:room:<room: String>")]
#[serde(tag = "type", rename_all = "snake_case")]
enum ChatEvent {
    Join { user: String },
    Text { user: String, text: String },
    Leave { user: String },
}

/// Somebody in a room. All members of a process share one connection.
struct Member {
    name: String,
    room: Address<ChatEvent>,
    events: Subscription<ChatEvent>,
    bus: Bus,
}

impl Member {
    /// Listens first and says hello then, so that a member hears everything from the own arrival on.
    async fn join(bus: &Bus, name: &str, room: &str) -> Result<Self, Box<dyn Error>> {
        let room = ChatEvent::channel(room);
        let events = bus.subscribe(&room).await?;
        ChatEvent::Join { user: name.to_owned() }.publish_to(&room, bus).await?;
        Ok(Self { name: name.to_owned(), room, events, bus: bus.clone() })
    }

    async fn say(&self, text: &str) -> Result<(), Box<dyn Error>> {
        let event = ChatEvent::Text { user: self.name.clone(), text: text.to_owned() };
        event.publish_to(&self.room, &self.bus).await?;
        Ok(())
    }

    /// The next thing that happens in the room, as a line.
    async fn hear(&mut self) -> Option<String> {
        Some(match self.events.next().await? {
            Event::Message(received) => match received.message {
                ChatEvent::Join { user } => format!("{user} joins"),
                ChatEvent::Text { user, text } => format!("{user}: {text}"),
                ChatEvent::Leave { user } => format!("{user} leaves"),
            },
            Event::Gap(gap) => format!("(away for {:?}; something may have been said)", gap.lasted),
            other => format!("({other:?})"),
        })
    }

    /// Says goodbye. The subscription ends with its owner.
    async fn leave(self) -> Result<(), Box<dyn Error>> {
        ChatEvent::Leave { user: self.name.clone() }.publish_to(&self.room, &self.bus).await?;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bus = Bus::connect(env::var("REDIS_URL").as_deref().unwrap_or("memory:")).await?;
    let mut arguments = env::args().skip(1);
    if arguments.next().as_deref() == Some("--interactive") {
        let name = arguments.next().ok_or("who are you? `--interactive NAME [ROOM]`")?;
        let room = arguments.next().unwrap_or_else(|| "general".to_owned());
        return talk(Member::join(&bus, &name, &room).await?).await;
    }
    scene(&bus).await
}

async fn scene(bus: &Bus) -> Result<(), Box<dyn Error>> {
    let mut ada = Member::join(bus, "Ada", "kitchen").await?;
    let bob = Member::join(bus, "Bob", "kitchen").await?;
    let mut eve = Member::join(bus, "Eve", "garden").await?;

    bob.say("Is there tea?").await?;
    eve.say("It rains.").await?;
    bob.leave().await?;
    ada.say("There was.").await?;

    // Ada heard everything in the kitchen, her own words among it, and nothing from the garden.
    for _ in 0..5 {
        println!("kitchen │ {}", ada.hear().await.ok_or("the kitchen is closed")?);
    }
    for _ in 0..2 {
        println!("garden  │ {}", eve.hear().await.ok_or("the garden is closed")?);
    }

    let garden = eve.room.clone();
    eve.leave().await?;
    // The server has been told, and soon nobody receives what is said in the garden. The kitchen goes on.
    let words = ChatEvent::Text { user: "the wind".into(), text: "…".into() };
    while words.publish_to(&garden, bus).await?.receivers != Some(0) {}
    println!("garden  │ nobody is there");
    ada.say("Still here.").await?;
    println!("kitchen │ {}", ada.hear().await.ok_or("the kitchen is closed")?);
    Ok(())
}

/// What is typed goes to the room, and what happens in the room is printed, until the input ends (Ctrl-D).
async fn talk(mut member: Member) -> Result<(), Box<dyn Error>> {
    let mut typed = lines();
    loop {
        tokio::select! {
            heard = member.hear() => match heard {
                Some(line) => println!("{line}"),
                None => return Err("the connection was given up".into()),
            },
            line = typed.recv() => match line {
                Some(line) => member.say(&line).await?,
                None => return member.leave().await,
            },
        }
    }
}

/// The lines of standard input. Reading it blocks, so it happens on a thread of its own.
fn lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(16);
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
