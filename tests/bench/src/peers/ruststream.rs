//! The rival, used as its user would.

use std::{ops::Range, sync::Arc};

use ruststream_fred::{
    RedisPublish,
    pipeline::RedisPipelineSteps,
    pubsub::prelude::*,
    stream::{RedisStream, StreamStart},
};
use tokio::sync::oneshot;

use crate::{
    measure::{Begun, Report, TAKEN},
    order::Order,
    publish::spread,
};

/// What the buffered subscription holds: more than any run publishes.
const LARGEST_BURST: std::num::NonZeroUsize = std::num::NonZeroUsize::new(300_000).unwrap();

#[subscriber(RedisPubSubPattern::new("orders:*").buffer(LARGEST_BURST))]
async fn take(order: &Order) -> HandlerOutcome {
    TAKEN.add(order.checksum());
    HandlerOutcome::ack()
}

#[subscriber(RedisPubSubPattern::new("orders:*"))]
async fn take_by_default(order: &Order) -> HandlerOutcome {
    TAKEN.add(order.checksum());
    HandlerOutcome::ack()
}

pub async fn subscribe(url: &str, lossless: bool) -> Report {
    let app = RustStream::new(AppInfo::new("bench", "0.0.0")).with_broker(RedisBroker::standalone(url), |broker| {
        if lossless {
            broker.include(take).out_retry(Publish::default()).to("orders:retry");
        } else {
            broker.include(take_by_default).out_retry(Publish::default()).to("orders:retry");
        }
    });
    let running = app.start().await.expect("a service");
    let report = TAKEN.drained().await;
    let _ = running.shutdown().await;
    report
}

/// Of a stream: what it reads it acknowledges in its pipeline's window.
#[subscriber(RedisStream::new("orders").group("workers").start_id(StreamStart::Beginning), workers(64))]
async fn work(order: &Order) -> HandlerOutcome {
    TAKEN.add(order.checksum());
    HandlerOutcome::ack()
}

#[subscriber(RedisStream::new("orders").group("workers").start_id(StreamStart::Beginning), workers(1))]
async fn work_one(order: &Order) -> HandlerOutcome {
    TAKEN.add(order.checksum());
    HandlerOutcome::ack()
}

/// Works off a stream with a consumer group. It removes no entry that it has acknowledged: there is no setting for that.
pub async fn drain(url: &str, messages: u64, at_once: u64) -> Report {
    fill(url, 0..messages).await;
    let app =
        RustStream::new(AppInfo::new("bench", "0.0.0")).with_broker(
            RedisBroker::standalone(url),
            |broker| match at_once {
                1 => drop(broker.include(work_one.pipeline())),
                _ => drop(broker.include(work.pipeline())),
            },
        );
    let begun = Begun::now();
    let running = app.start().await.expect("a service");
    while TAKEN.messages() < messages {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let _ = running.shutdown().await;
    begun.report(messages)
}

/// Adds to the stream what is to be worked off.
pub async fn fill(url: &str, numbers: Range<u64>) {
    let (first, count) = (numbers.start, numbers.end - numbers.start);
    let (sender, receiver) = oneshot::channel();
    let app = RustStream::new(AppInfo::new("bench", "0.0.0")).with_broker(RedisBroker::standalone(url), |broker| {
        broker.after_startup(RedisPublish::default(), async move |publisher| {
            let publisher = Arc::new(publisher);
            spread(count, 64, move |number| {
                let publisher = Arc::clone(&publisher);
                async move {
                    publisher.message(&Order::new(first + number)).to("orders").publish().await.expect("added");
                }
            })
            .await;
            let _ = sender.send(());
            Ok::<_, std::convert::Infallible>(())
        });
    });
    let running = app.start().await.expect("a service");
    receiver.await.expect("filled");
    let _ = running.shutdown().await;
}

pub async fn publish(url: &str, messages: u64, tasks: u64) -> Report {
    let (sender, receiver) = oneshot::channel();
    let app = RustStream::new(AppInfo::new("bench", "0.0.0")).with_broker(RedisBroker::standalone(url), |broker| {
        broker.after_startup(Publish::default(), async move |publisher| {
            let publisher = Arc::new(publisher);
            let report = spread(messages, tasks, move |number| {
                let publisher = Arc::clone(&publisher);
                async move {
                    let order = Order::new(number);
                    let channel = format!("orders:{}", order.id);
                    publisher.message(&order).to(channel).publish().await.expect("published");
                }
            });
            let _ = sender.send(report.await);
            Ok::<_, std::convert::Infallible>(())
        });
    });
    let running = app.start().await.expect("a service");
    let report = receiver.await.expect("a report");
    let _ = running.shutdown().await;
    report
}
