//! Many subscriptions on one bus: a name, a stream and a task each. By hand: a map of channels, and a task each.

use std::collections::HashMap;

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    measure::{Report, TAKEN},
    order::{Form, Order},
};

/// The order under one of many names.
#[derive(Message, Serialize, Deserialize)]
#[channel("names:<name: u64>")]
#[serde(transparent)]
pub struct Named(Order);

/// The program tells how many, such as `tidings-1000`.
pub async fn run(program: &str, url: &str, messages: u64) -> Report {
    TAKEN.expect(messages);
    let (program, count) = program.split_once('-').expect("a program and a number");
    let count = count.parse().expect("a number");
    match program {
        "tidings" => with_tidings(url, count).await,
        "redis" => with_redis(url, count).await,
        other => panic!("no such program: {other}"),
    }
}

async fn with_tidings(url: &str, count: u64) -> Report {
    let bus = Bus::connect(url).await.expect("a connection");
    let mut tasks = JoinSet::new();
    for name in 0..count {
        let mut subscription = bus.subscribe(Named::channel(name)).await.expect("a subscription");
        tasks.spawn(async move {
            while let Some(event) = subscription.next().await {
                if let Some(order) = event.into_message() {
                    TAKEN.add(order.message.0.checksum());
                }
            }
        });
    }
    TAKEN.drained().await
}

/// How many messages wait for one task.
const WAITING: usize = 1_024;

async fn with_redis(url: &str, count: u64) -> Report {
    let client = redis::Client::open(url).expect("an address");
    let mut pubsub = client.get_async_pubsub().await.expect("a connection");
    let mut tasks = JoinSet::new();
    let mut senders = HashMap::new();
    for number in 0..count {
        let name = format!("names:{number}");
        pubsub.subscribe(&name).await.expect("a subscription");
        let (sender, mut receiver) = mpsc::channel::<redis::Msg>(WAITING);
        senders.insert(name, sender);
        tasks.spawn(async move {
            while let Some(message) = receiver.recv().await {
                TAKEN.add(Form::Plain.decode(message.get_payload_bytes()).checksum());
            }
        });
    }
    tasks.spawn(async move {
        let mut messages = pubsub.into_on_message();
        while let Some(message) = messages.next().await {
            let sender = senders.get(message.get_channel_name()).expect("a subscribed name");
            let _ = sender.send(message).await;
        }
    });
    TAKEN.drained().await
}
