//! The rival, used as its user would.

use ruststream_fred::pubsub::prelude::*;

use crate::{
    measure::{Report, TAKEN},
    order::Order,
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

pub async fn publish(url: &str, messages: u64, tasks: u64) -> Report {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let app = RustStream::new(AppInfo::new("bench", "0.0.0")).with_broker(RedisBroker::standalone(url), |broker| {
        broker.after_startup(Publish::default(), async move |publisher| {
            let publisher = std::sync::Arc::new(publisher);
            let report = crate::publish::spread(messages, tasks, move |number| {
                let publisher = std::sync::Arc::clone(&publisher);
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
