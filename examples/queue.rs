//! A queue: a task that was accepted is not lost, whoever dies, and one instance works on it.
//!
//! `cargo run --example queue`, or with `REDIS_URL=redis://…` through a server. It ends by itself.

use std::{
    env,
    error::Error,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tidings::{Bus, ChannelParam, Delivery, Message, Outcome, router};
use tokio::{sync::Notify, time::sleep};

/// `#[queue]` makes the message a task. Whatever is due at a high priority is worked on before anything at a low one.
#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("tasks:images:<priority>", strict = priority, lease = "1s")]
struct ResizeImage {
    priority: Priority,
    path: String,
}

/// In this order.
#[derive(Clone, Copy, Debug, ChannelParam, Serialize, Deserialize)]
enum Priority {
    High,
    Low,
}

/// What is to become of a task that failed.
#[derive(Debug, Outcome)]
enum ResizeError {
    #[outcome(retry)]
    DiskFull,
    #[outcome(dead_letter)]
    NoImage { path: String },
}

impl fmt::Display for ResizeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DiskFull => write!(formatter, "the disk is full"),
            Self::NoImage { path } => write!(formatter, "{path} is no image"),
        }
    }
}

/// What all instances share, as they would share a disk.
#[derive(Default)]
struct Library {
    was_full: AtomicBool,
    takes_text: AtomicBool,
    stuck: Notify,
}

struct Images {
    instance: &'static str,
    library: Arc<Library>,
}

#[router]
impl Images {
    /// Resizing an image twice does what resizing it once does. Without such a word this would not compile, nor without a timeout.
    #[handler(idempotent, timeout = "1m", retries = 5, backoff = "50ms..1s", concurrency = 1)]
    async fn resize(&self, task: ResizeImage, delivery: &Delivery) -> Result<(), ResizeError> {
        let Self { instance, library } = self;
        let ResizeImage { priority, path } = task;
        if path == "panorama.png" && *instance == "first" {
            println!("first: {path} takes long");
            library.stuck.notify_one();
            sleep(Duration::from_secs(600)).await;
        }
        if path == "poster.png" && !library.was_full.swap(true, Ordering::Relaxed) {
            return Err(ResizeError::DiskFull);
        }
        if path.ends_with(".txt") && !library.takes_text.load(Ordering::Relaxed) {
            return Err(ResizeError::NoImage { path });
        }
        println!("{instance}: {path}, {priority:?}, attempt {}", delivery.attempt());
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bus = Bus::connect(env::var("REDIS_URL").as_deref().unwrap_or("memory:")).await?;
    let queue = bus.queue::<ResizeImage>();
    let library = Arc::new(Library::default());

    // Nobody works yet, and nothing is lost.
    for (priority, path) in [
        (Priority::Low, "holiday.png"),
        (Priority::Low, "panorama.png"),
        (Priority::Low, "notes.txt"),
        (Priority::High, "logo.png"),
        (Priority::High, "poster.png"),
    ] {
        ResizeImage { priority, path: path.into() }.enqueue(&bus).await?;
    }
    println!("{} tasks wait", queue.counts().await?.waiting());

    // The first instance gets stuck, and dies with its task in hand.
    let first = bus.serve(Images { instance: "first", library: Arc::clone(&library) }).await?;
    library.stuck.notified().await;
    drop(first);
    println!("the first instance is gone");

    // The second one has what was left at once, and what the first one had when its lease is over.
    let second = bus.serve(Images { instance: "second", library: Arc::clone(&library) }).await?;
    while queue.counts().await?.outstanding() > 0 {
        sleep(Duration::from_millis(50)).await;
    }

    // What will never succeed is kept, with the reason.
    for letter in queue.dead_letters().await? {
        println!("dead: {}", letter.error.as_deref().unwrap_or_default());
    }
    library.takes_text.store(true, Ordering::Relaxed);
    println!("{} tasks are replayed", queue.replay_all().await?);
    while queue.counts().await?.outstanding() > 0 {
        sleep(Duration::from_millis(50)).await;
    }
    second.shutdown().await?;
    println!("{} tasks are done", queue.counts().await?.ended.completed);
    Ok(())
}
