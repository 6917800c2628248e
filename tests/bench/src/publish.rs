//! W2: publishing, one message at a time and 64 at once on one connection.

use std::{future::Future, sync::Arc};

use fred::{
    clients::Client as FredClient,
    interfaces::{ClientLike, PubsubInterface},
    types::{Builder, config::Config},
};
use redis::AsyncCommands;
use rustis::commands::PubSubCommands;
use tidings::{Bus, Format};

use crate::{
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
            let client = redis::Client::open(url).expect("an address");
            let connection = client.get_multiplexed_async_connection().await.expect("a connection");
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
        "fred" => {
            let builder = Builder::from_config(Config::from_url(url).expect("an address"));
            let client: FredClient = builder.build().expect("a client");
            client.init().await.expect("a connection");
            spread(messages, tasks, move |number| {
                let client = client.clone();
                async move {
                    let order = Order::new(number);
                    let payload = form.encode(&order, number);
                    let _: u64 = client.publish(channel(&order), payload).await.expect("published");
                }
            })
            .await
        }
        "rustis" => {
            let client = rustis::client::Client::connect(url).await.expect("a connection");
            spread(messages, tasks, move |number| {
                let client = client.clone();
                async move {
                    let order = Order::new(number);
                    let payload = form.encode(&order, number);
                    client.publish(channel(&order), payload).await.expect("published");
                }
            })
            .await
        }
        "ruststream" => crate::ruststream::publish(url, messages, tasks).await,
        other => panic!("no such program: {other}"),
    }
}

fn channel(order: &Order) -> String {
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
