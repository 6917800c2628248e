//! Batches: many messages in one round trip, with a result for each.
//!
//! `cargo run --example batch`, or with `REDIS_URL=redis://…` through a server.

use std::{env, error::Error};

use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, router};

/// A reading of one of many sensors.
#[derive(Message, Serialize, Deserialize)]
#[channel("sensors:<sensor>")]
struct Reading {
    sensor: u32,
    celsius: i32,
}

/// How many readings there were.
#[derive(Message, Serialize, Deserialize)]
#[channel("reports")]
struct Report {
    readings: u64,
}

struct Station;

#[router]
impl Station {
    #[handler(filter = reading.celsius > 40)]
    async fn hot(&self, reading: Reading) {
        println!("sensor {} is at {} degrees", reading.sensor, reading.celsius);
    }

    #[handler]
    async fn report(&self, report: Report) {
        println!("{} readings were sent", report.readings);
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bus = Bus::connect(env::var("REDIS_URL").as_deref().unwrap_or("memory:")).await?;
    let service = bus.serve(Station).await?;

    // A thousand messages of one type: one round trip, in order.
    let mut readings: Vec<Reading> = (0..1_000).map(|sensor| Reading { sensor, celsius: 20 }).collect();
    readings[451].celsius = 43;
    let results = bus.publish_all(&readings).await;
    println!("{} of {} arrived", results.iter().filter(|result| result.is_ok()).count(), results.len());

    // Different types in one batch. One that fails would not keep the others from being sent.
    let report = Report { readings: results.len() as u64 };
    for result in bus.batch().push(&readings[7]).push(&report).await {
        println!("{} receiver", result?.receivers.unwrap_or_default());
    }
    service.shutdown().await?;
    Ok(())
}
