use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:mails")]
struct SendMail {
    to: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("news:<topic>")]
struct News {
    topic: String,
}

async fn alone(bus: Bus, mail: SendMail) {
    let _ = bus.enqueue_all(&mail).await;
}

async fn owned(bus: Bus, mails: Vec<SendMail>) {
    let _ = bus.enqueue_all(mails).await;
}

async fn broadcasts(bus: Bus, news: Vec<News>) {
    let _ = bus.enqueue_all(&news).await;
}

async fn later(bus: Bus, mails: Vec<SendMail>) {
    let _ = bus.enqueue_all(&mails).delay(Duration::from_secs(60)).await;
}

async fn once(bus: Bus, mails: Vec<SendMail>) {
    let _ = bus.enqueue_all(&mails).deduplicate("mails", Duration::from_secs(60)).await;
}

async fn published_alone(bus: Bus, news: News) {
    let _ = bus.publish_all(news).await;
}

async fn published_in_a_batch(bus: Bus, news: Vec<News>) {
    let _ = bus.batch().push_all(news).await;
}

fn main() {}
