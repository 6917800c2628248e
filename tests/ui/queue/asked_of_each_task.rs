use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

// What other systems are told of each task.
#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images", results = "1h")]
#[reply(u64)]
struct ResizeImage {
    path: String,
}

async fn resize(task: ResizeImage, bus: &Bus) {
    task.enqueue(bus).unique("logo").await.unwrap();
    task.enqueue(bus).every(Duration::from_secs(60)).await.unwrap();
    task.enqueue(bus).cron("0 * * * *").await.unwrap();
    task.enqueue(bus).timeout(Duration::from_secs(60)).await.unwrap();
    task.enqueue(bus).backoff(Duration::from_secs(1)).await.unwrap();
    task.enqueue(bus).max_retries(3).await.unwrap();
    let enqueued = task.enqueue(bus).await.unwrap();
    let bytes: u64 = enqueued.result(bus).timeout(Duration::from_secs(5)).await.unwrap();
    println!("{bytes}");
}

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes")]
#[reply(u64)]
struct QuoteRequest;

async fn quote(bus: &Bus) -> u64 {
    QuoteRequest.request(bus).within(Duration::from_secs(5)).await.unwrap()
}

fn main() {}
