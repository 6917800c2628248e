//! W1: a pattern subscription, drained; each message decoded to an owned struct and given to a typed asynchronous handler.

use tidings::{Bus, handler, routes};

use crate::{
    by_hand::Subscription,
    measure::{Report, TAKEN},
    order::{Form, Order},
};

pub const PATTERN: &str = "orders:*";

pub async fn run(program: &str, url: &str, messages: u64, form: Form) -> Report {
    TAKEN.expect(messages);
    match program {
        "tidings" => with_tidings(url).await,
        "redis" => with_redis(url, form).await,
        other => crate::peers::subscribe(other, url, messages, form).await,
    }
}

#[handler]
async fn take(order: Order) {
    TAKEN.add(order.checksum());
}

async fn with_tidings(url: &str) -> Report {
    let bus = Bus::connect(url).await.expect("a connection");
    let service = bus.serve(routes![take]).await.expect("a service");
    let report = TAKEN.drained().await;
    service.shutdown().await.expect("nothing waits");
    report
}

/// What a handler written by hand does between the client and the typed function.
pub async fn handle(channel: &str, payload: &[u8], form: Form) {
    let id: u64 = channel.strip_prefix("orders:").and_then(|id| id.parse().ok()).expect("an order's channel");
    let order = form.decode(payload);
    assert_eq!(order.id, id);
    take(order).await;
}

async fn with_redis(url: &str, form: Form) -> Report {
    let mut messages = Subscription::open(url, PATTERN).await;
    let task = tokio::spawn(async move {
        while let Some(message) = messages.next().await {
            handle(message.get_channel_name(), message.get_payload_bytes(), form).await;
        }
    });
    let report = TAKEN.drained().await;
    task.abort();
    report
}
