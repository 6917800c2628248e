//! A small shop: typed messages, one router, and nothing to install.
//!
//! `cargo run --example quickstart` runs it in this process. With a Redis server it does the same, and keeps listening:
//!
//! ```sh
//! REDIS_URL=redis://127.0.0.1:6379 cargo run --example quickstart
//! redis-cli publish orders:7 '{"id": 7, "customer": "Grace", "cents": 1999}'
//! ```

use std::{env, error::Error};

use serde::{Deserialize, Serialize};
use tidings::{Address, Bus, BusEvent, Event, Message, Publish, router};

/// An order. Its channel is part of its type: order 7 travels on `orders:7`.
#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
    customer: String,
    cents: u64,
}

/// The answer to an order.
#[derive(Message, Serialize, Deserialize)]
#[channel("invoices:<order>")]
struct InvoiceSent {
    order: u64,
    total_cents: u64,
}

/// What happens in a chat room. The room is part of the address, not of the message.
#[derive(Message, Serialize, Deserialize)]
#[channel("chat:room:<room: String>")]
#[serde(tag = "type", rename_all = "snake_case")]
enum ChatEvent {
    Join { user: String },
    Text { user: String, text: String },
    Leave { user: String },
}

/// What the handlers share.
struct Shop {
    tax_percent: u64,
}

/// Each message goes to exactly one handler; the compiler has proved that no two can take the same channel.
#[router]
impl Shop {
    #[handler]
    async fn placed(&self, order: OrderPlaced) -> Publish<InvoiceSent> {
        println!("orders   │ {} orders number {} for {}", order.customer, order.id, euros(order.cents));
        let total_cents = order.cents + order.cents * self.tax_percent / 100;
        Publish::new(InvoiceSent { order: order.id, total_cents })
    }

    #[handler]
    async fn invoiced(&self, invoice: InvoiceSent) {
        println!("invoices │ number {} costs {} with tax", invoice.order, euros(invoice.total_cents));
    }

    #[handler]
    async fn chatted(&self, event: ChatEvent, address: Address<ChatEvent>) {
        let room = &address.room;
        match event {
            ChatEvent::Join { user } => println!("chat     │ {user} joins {room}"),
            ChatEvent::Text { user, text } => println!("chat     │ {user} says in {room}: {text}"),
            ChatEvent::Leave { user } => println!("chat     │ {user} leaves {room}"),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let redis = env::var("REDIS_URL").ok();
    let bus = Bus::connect(redis.as_deref().unwrap_or("memory:")).await?;

    // From here on every subscription is confirmed: nothing published later is missed.
    let service = bus.serve(Shop { tax_percent: 20 }).await?;
    let mut invoices = bus.subscribe(InvoiceSent::any()).await?;

    let room = ChatEvent::channel("general");
    ChatEvent::Join { user: "Ada".into() }.publish_to(&room, &bus).await?;
    ChatEvent::Text { user: "Ada".into(), text: "I need a new engine.".into() }.publish_to(&room, &bus).await?;
    OrderPlaced { id: 42, customer: "Ada".into(), cents: 100_000 }.publish(&bus).await?;
    ChatEvent::Leave { user: "Ada".into() }.publish_to(&room, &bus).await?;

    // A subscription is a stream of events: messages, and whatever else a program should know of.
    match invoices.next().await {
        Some(Event::Message(invoice)) => println!("main     │ invoice for {} received", invoice.order),
        other => println!("main     │ {other:?}"),
    }

    if redis.is_some() {
        println!("\nlistening; stop with Ctrl-C. In another terminal:");
        println!(r#"  redis-cli publish orders:7 '{{"id": 7, "customer": "Grace", "cents": 1999}}'"#);
        // Nothing is lost in silence: kill the server, and start it again.
        let mut events = bus.events();
        let told = async {
            while let Some(event) = events.next().await {
                match event {
                    BusEvent::Disconnected { cause, .. } => println!("bus      │ {cause}"),
                    BusEvent::Resubscribed { lasted, .. } => {
                        println!("bus      │ a gap: nothing was heard for {lasted:.1?}")
                    }
                    _ => {}
                }
            }
        };
        tokio::select! {
            stopped = service.run_until_ctrl_c() => stopped?,
            () = told => {}
        }
    } else {
        service.shutdown().await?;
    }
    Ok(())
}

fn euros(cents: u64) -> String {
    format!("€{}.{:02}", cents / 100, cents % 100)
}
