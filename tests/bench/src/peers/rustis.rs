//! rustis, as its user would.

use futures_util::StreamExt;
use rustis::{client::Client, commands::PubSubCommands, resp::cmd};

use crate::{
    measure::{Begun, Report, TAKEN},
    order::{Form, Order},
    publish::{batches, channel, spread},
    subscribe::{PATTERN, handle},
};

pub async fn subscribe(url: &str, form: Form) -> Report {
    let client = Client::connect(url).await.expect("a connection");
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

pub async fn publish(url: &str, messages: u64, form: Form, tasks: u64) -> Report {
    let client = Client::connect(url).await.expect("a connection");
    let report = spread(messages, tasks, move |number| {
        let client = client.clone();
        async move {
            let order = Order::new(number);
            let payload = form.encode(&order, number);
            client.publish(channel(&order), payload).await.expect("published");
        }
    });
    report.await
}

pub async fn publish_in_batches(url: &str, messages: u64, form: Form, size: u64) -> Report {
    let client = Client::connect(url).await.expect("a connection");
    let begun = Begun::now();
    for numbers in batches(messages, size) {
        let mut pipeline = client.create_pipeline();
        for number in numbers {
            let order = Order::new(number);
            let payload = form.encode(&order, number);
            // Its pipeline knows PUBLISH only as a command spelled out.
            pipeline.queue_command(cmd("PUBLISH").arg(channel(&order)).arg(payload));
        }
        let _: Vec<u64> = pipeline.execute().await.expect("published");
    }
    begun.report(messages)
}
