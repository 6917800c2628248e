//! W1: a pattern subscription, drained; each message decoded to an owned struct and given to a typed asynchronous handler.

use fred::{
    clients::SubscriberClient,
    interfaces::{ClientLike, EventInterface, PubsubInterface},
    types::{Builder, config::Config},
};
use futures_util::StreamExt;
use rustis::commands::PubSubCommands;
use tidings::{Bus, handler, routes};

use crate::{
    measure::{Report, TAKEN},
    order::{Form, Order},
};

const PATTERN: &str = "orders:*";

pub async fn run(program: &str, url: &str, messages: u64, form: Form) -> Report {
    TAKEN.expect(messages);
    match program {
        "tidings" => with_tidings(url).await,
        "redis" => with_redis(url, form).await,
        "fred" => with_fred(url, form, Some(messages)).await,
        "fred-default" => with_fred(url, form, None).await,
        "rustis" => with_rustis(url, form).await,
        "ruststream" => crate::ruststream::subscribe(url, true).await,
        "ruststream-default" => crate::ruststream::subscribe(url, false).await,
        other => crate::routes::run(other, url).await,
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
async fn handle(channel: &str, payload: &[u8], form: Form) {
    let id: u64 = channel.strip_prefix("orders:").and_then(|id| id.parse().ok()).expect("an order's channel");
    let order = form.decode(payload);
    assert_eq!(order.id, id);
    take(order).await;
}

async fn with_redis(url: &str, form: Form) -> Report {
    let client = redis::Client::open(url).expect("an address");
    let mut pubsub = client.get_async_pubsub().await.expect("a connection");
    pubsub.psubscribe(PATTERN).await.expect("a subscription");
    let task = tokio::spawn(async move {
        let mut messages = pubsub.into_on_message();
        while let Some(message) = messages.next().await {
            handle(message.get_channel_name(), message.get_payload_bytes(), form).await;
        }
    });
    let report = TAKEN.drained().await;
    task.abort();
    report
}

async fn with_fred(url: &str, form: Form, capacity: Option<u64>) -> Report {
    let config = Config::from_url(url).expect("an address");
    let mut builder = Builder::from_config(config);
    if let Some(capacity) = capacity {
        builder.with_performance_config(|config| config.broadcast_channel_capacity = capacity as usize);
    }
    let client: SubscriberClient = builder.build_subscriber_client().expect("a client");
    client.init().await.expect("a connection");
    let mut messages = client.message_rx();
    let task = tokio::spawn(async move {
        loop {
            match messages.recv().await {
                Ok(message) => {
                    let payload = message.value.as_bytes().expect("bytes");
                    handle(&message.channel, payload, form).await;
                }
                Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
            }
        }
    });
    client.psubscribe(PATTERN).await.expect("a subscription");
    let report = TAKEN.drained().await;
    task.abort();
    report
}

async fn with_rustis(url: &str, form: Form) -> Report {
    let client = rustis::client::Client::connect(url).await.expect("a connection");
    let mut messages = client.psubscribe(PATTERN).await.expect("a subscription");
    let task = tokio::spawn(async move {
        while let Some(message) = messages.next().await {
            // A lagging subscriber is told so by an error.
            let Ok(message) = message else { continue };
            handle(message.channel_str().expect("text"), message.payload(), form).await;
        }
    });
    let report = TAKEN.drained().await;
    task.abort();
    report
}
