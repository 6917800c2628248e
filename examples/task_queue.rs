//! Image processing in the background: three priorities, several workers, progress, results, and everybody who wants it hears how a task has ended.
//!
//! `cargo run --example task_queue`, or with `REDIS_URL=redis://…` through a server. It ends by itself.

use std::{env, error::Error, fmt, time::Duration};

use serde::{Deserialize, Serialize};
use tidings::{Bus, ChannelParam, Delivery, Ended, Event, Message, Outcome, Progress, QueueEvent, ResultError, router};
use tokio::time::sleep;

/// Each task is worked on by one worker, those of a high priority first. What came of it is kept for an hour, and announced.
#[derive(Debug, Message, Serialize, Deserialize)]
#[queue(
    "tasks:images:<priority>",
    strict = priority,
    results = "1h",
    completed = TaskCompleted,
    failed = TaskFailed
)]
#[reply(Resized, error = ResizeError)]
struct ResizeImage {
    priority: Priority,
    path: String,
    width: u32,
    height: u32,
}

/// In this order.
#[derive(Clone, Copy, Debug, ChannelParam, Serialize, Deserialize)]
enum Priority {
    High,
    Normal,
    Low,
}

#[derive(Debug, Serialize, Deserialize)]
struct Resized {
    path: String,
    worker: String,
}

/// What can go wrong, and what is to become of the task then.
#[derive(Debug, Serialize, Deserialize, Outcome)]
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

/// For everybody who listens.
#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("tasks:completed")]
struct TaskCompleted {
    id: String,
    path: String,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("tasks:failed")]
struct TaskFailed {
    id: String,
    path: String,
    why: String,
}

impl From<Ended<'_, ResizeImage>> for TaskCompleted {
    fn from(ended: Ended<'_, ResizeImage>) -> Self {
        Self { id: ended.id().to_owned(), path: ended.task().path.clone() }
    }
}

impl From<Ended<'_, ResizeImage>> for TaskFailed {
    fn from(ended: Ended<'_, ResizeImage>) -> Self {
        let why = ended.error().unwrap_or_default().to_owned();
        Self { id: ended.id().to_owned(), path: ended.task().path.clone(), why }
    }
}

struct Images {
    worker: &'static str,
}

#[router]
impl Images {
    /// One image at a time in each worker. Resizing it twice does what resizing it once does.
    #[handler(idempotent, timeout = "1m", retries = 5, backoff = "20ms..1s", concurrency = 1)]
    async fn resize(&self, task: ResizeImage, delivery: &Delivery, progress: Progress) -> Result<Resized, ResizeError> {
        let ResizeImage { priority, path, width, height } = task;
        if path.ends_with(".txt") {
            return Err(ResizeError::NoImage { path });
        }
        // An attempt that follows a failed one begins where that one has stopped.
        let done = progress.saved::<u32>().await.ok().flatten().unwrap_or_default();
        for quarter in done..4 {
            if path == "poster.png" && quarter == 2 && delivery.attempt() == 1 {
                return Err(ResizeError::DiskFull);
            }
            sleep(Duration::from_millis(20)).await;
            progress.report(f64::from(quarter + 1) / 4.0, format!("{width}x{height}"));
            let _ = progress.checkpoint(&(quarter + 1));
        }
        println!("{}: {path}, {priority:?}, attempt {}, from {done} of 4", self.worker, delivery.attempt());
        Ok(Resized { path: format!("{width}x{height}/{path}"), worker: self.worker.into() })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bus = Bus::connect(env::var("REDIS_URL").as_deref().unwrap_or("memory:")).await?;
    let queue = bus.queue::<ResizeImage>();

    // Nobody works yet, and nothing is lost.
    let task = |priority, path: &str| ResizeImage { priority, path: path.into(), width: 800, height: 600 };
    let holiday = task(Priority::Low, "holiday.png").enqueue(&bus).await?;
    let poster = task(Priority::Normal, "poster.png").enqueue(&bus).await?;
    let notes = task(Priority::Normal, "notes.txt").enqueue(&bus).await?;
    let logo = task(Priority::High, "logo.png").enqueue(&bus).await?;
    let wrong = task(Priority::Low, "wrong.png").enqueue(&bus).await?;
    println!("{} are pending", queue.counts().await?.waiting());
    println!("taken back: {:?}", queue.cancel(&wrong.id).await?);

    // Whoever wants to hear of it listens: for messages of our own, and for what goes on in the queue.
    let mut completed = bus.subscribe(TaskCompleted::any()).await?;
    let mut failed = bus.subscribe(TaskFailed::any()).await?;
    let mut events = queue.events().await?;

    let first = bus.serve(Images { worker: "first" }).await?;
    let second = bus.serve(Images { worker: "second" }).await?;

    // Each result comes as soon as it is there; nobody polls.
    let resized = logo.result(&bus).within(Duration::from_secs(10)).await?;
    println!("result: {} by the {} worker", resized.path, resized.worker);
    for (name, waiting) in [("poster.png", &poster), ("notes.txt", &notes), ("holiday.png", &holiday)] {
        match waiting.result(&bus).within(Duration::from_secs(10)).await {
            Ok(resized) => println!("result: {}", resized.path),
            Err(ResultError::Answered(error)) => println!("no result of {name}: {error}"),
            Err(other) => println!("no result of {name}: {other}"),
        }
    }
    queue.wait_until_empty(Duration::from_secs(10)).await?;

    for _ in 0..3 {
        if let Some(completed) = completed.next().await.and_then(Event::into_message) {
            println!("tasks:completed │ {}", completed.message.path);
        }
    }
    if let Some(failed) = failed.next().await.and_then(Event::into_message) {
        println!("tasks:failed    │ {}: {}", failed.message.path, failed.message.why);
    }
    while let Some(event) = events.next().await {
        if let QueueEvent::Progress { fraction: Some(fraction), text, .. } = event {
            println!("seen on the way: {:.0} % of {text}", fraction * 100.0);
            break;
        }
    }
    let ended = queue.counts().await?.ended;
    println!("{} completed, {} failed, {} cancelled", ended.completed, ended.dead, ended.cancelled);
    first.shutdown().await?;
    second.shutdown().await?;
    Ok(())
}
