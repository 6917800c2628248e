//! fred, as its user would.

use fred::{
    clients::{Client, SubscriberClient},
    interfaces::{ClientLike, EventInterface, PubsubInterface},
    types::{Builder, config::Config},
};

use crate::{
    measure::{Begun, Report, TAKEN},
    order::{Form, Order},
    publish::{batches, channel, spread},
    subscribe::{PATTERN, handle},
};

/// With room for so many messages, or with what it has by default.
pub async fn subscribe(url: &str, form: Form, capacity: Option<u64>) -> Report {
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

pub async fn publish(url: &str, messages: u64, form: Form, tasks: u64) -> Report {
    let client = connect(url).await;
    let report = spread(messages, tasks, move |number| {
        let client = client.clone();
        async move {
            let order = Order::new(number);
            let payload = form.encode(&order, number);
            let _: u64 = client.publish(channel(&order), payload).await.expect("published");
        }
    });
    report.await
}

pub async fn publish_in_batches(url: &str, messages: u64, form: Form, size: u64) -> Report {
    let client = connect(url).await;
    let begun = Begun::now();
    for numbers in batches(messages, size) {
        let pipeline = client.pipeline();
        for number in numbers {
            let order = Order::new(number);
            let payload = form.encode(&order, number);
            let _: () = pipeline.publish(channel(&order), payload).await.expect("queued");
        }
        let _: Vec<u64> = pipeline.all().await.expect("published");
    }
    begun.report(messages)
}

async fn connect(url: &str) -> Client {
    let builder = Builder::from_config(Config::from_url(url).expect("an address"));
    let client = builder.build().expect("a client");
    client.init().await.expect("a connection");
    client
}
