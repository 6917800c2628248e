//! W2: publishing, one message at a time and 64 at once on one connection.

use std::{future::Future, sync::Arc};

use redis::AsyncCommands;
use tidings::{Bus, Format};

use crate::{
    by_hand::Connection,
    measure::{Begun, Report},
    order::{Form, Order},
};

/// Publishes `messages` with so many tasks at once; what each publishes waits for its answer before the next.
pub async fn run(program: &str, url: &str, messages: u64, form: Form, tasks: u64) -> Report {
    match program {
        "tidings" => {
            let format = if form == Form::Plain { Format::Plain } else { Format::Envelope };
            let bus = Bus::builder(url).format(format).connect().await.expect("a connection");
            spread(messages, tasks, move |number| {
                let bus = bus.clone();
                async move {
                    Order::new(number).publish(&bus).await.expect("published");
                }
            })
            .await
        }
        "redis" => {
            let connection = Connection::open(url).await;
            spread(messages, tasks, move |number| {
                let mut connection = connection.clone();
                async move {
                    let order = Order::new(number);
                    let payload = form.encode(&order, number);
                    let _: u64 = connection.publish(channel(&order), payload).await.expect("published");
                }
            })
            .await
        }
        other => crate::peers::publish(other, url, messages, form, tasks).await,
    }
}

/// Publishes `messages`, so many in each round trip; with `atomic`, Redis runs each batch as one transaction.
pub async fn run_in_batches(program: &str, url: &str, messages: u64, form: Form, size: u64, atomic: bool) -> Report {
    match program {
        "tidings" => {
            let format = if form == Form::Plain { Format::Plain } else { Format::Envelope };
            let bus = Bus::builder(url).format(format).connect().await.expect("a connection");
            let begun = Begun::now();
            for numbers in batches(messages, size) {
                let mut batch = bus.batch();
                for number in numbers {
                    batch = batch.push(&Order::new(number));
                }
                if atomic {
                    batch.atomic().await.expect("published");
                } else {
                    assert!(batch.await.iter().all(Result::is_ok));
                }
            }
            begun.report(messages)
        }
        "redis" => {
            let mut connection = Connection::open(url).await;
            let begun = Begun::now();
            for numbers in batches(messages, size) {
                let mut pipe = redis::pipe();
                if atomic {
                    pipe.atomic();
                }
                for number in numbers {
                    let order = Order::new(number);
                    let payload = form.encode(&order, number);
                    pipe.publish(channel(&order), payload);
                }
                connection.publish_all(&pipe).await;
            }
            begun.report(messages)
        }
        other => crate::peers::publish_in_batches(other, url, messages, form, size).await,
    }
}

pub fn channel(order: &Order) -> String {
    format!("orders:{}", order.id)
}

/// Runs `publish` for each number, in so many tasks.
pub async fn spread<F: Future<Output = ()> + Send>(
    messages: u64,
    tasks: u64,
    publish: impl Fn(u64) -> F + Send + Sync + 'static,
) -> Report {
    let publish = Arc::new(publish);
    let begun = Begun::now();
    let mut set = tokio::task::JoinSet::new();
    for task in 0..tasks {
        let publish = Arc::clone(&publish);
        set.spawn(async move {
            for number in (task..messages).step_by(tasks as usize) {
                publish(number).await;
            }
        });
    }
    set.join_all().await;
    begun.report(messages)
}

/// How many messages share a round trip, in the work that has large batches.
pub const LARGE: u64 = 1_000;
/// How many messages a batch has that somebody writes by hand: an order, its invoice and a note.
pub const SMALL: u64 = 3;

/// The numbers of the messages of each batch.
pub fn batches(messages: u64, size: u64) -> impl Iterator<Item = std::ops::Range<u64>> + Send {
    (0..messages).step_by(size as usize).map(move |first| first..messages.min(first + size))
}
