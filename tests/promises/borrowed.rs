//! Messages that borrow from the payload they are read from.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use tidings::{Address, Delivery, Format, Message, State, handler, router, routes};
use tidings_tests::{Recorder, World, eventually, on_each};

use crate::support::{SOON, handler as stats_of};

/// What a publisher in another program sends.
#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("orders:<region: String>:<id>")]
struct Order {
    id: u64,
    customer: String,
    note: String,
}

/// What a handler here reads of it.
#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("orders:<region: String>:<id>")]
#[message(name = "Order")]
struct OrderView<'a> {
    id: u64,
    customer: &'a str,
    #[serde(borrow)]
    note: Cow<'a, str>,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("ask")]
#[reply(u64)]
struct Ask<'a> {
    word: &'a str,
}

#[derive(Clone, Debug, PartialEq)]
struct Seen {
    customer: String,
    note: String,
    note_is_borrowed: bool,
    in_payload: bool,
    region: String,
    has_id: bool,
}

struct Shop {
    seen: Recorder<Seen>,
}

#[router]
impl Shop {
    #[handler(filter = order.customer != "nobody")]
    async fn ordered(&self, order: OrderView<'_>, delivery: &Delivery, address: Address<OrderView<'_>>) {
        let before = order.customer;
        // What is borrowed stays while the handler waits.
        tokio::task::yield_now().await;
        let payload = delivery.payload().as_ptr_range();
        self.seen.record(Seen {
            customer: before.to_owned(),
            note_is_borrowed: matches!(order.note, Cow::Borrowed(_)),
            note: order.note.into_owned(),
            in_payload: payload.contains(&before.as_ptr()),
            region: address.region.clone(),
            has_id: delivery.id().is_some(),
        });
    }

    #[handler]
    async fn asked(&self, ask: Ask<'_>) -> u64 {
        ask.word.len() as u64
    }
}

#[handler(spawn)]
async fn counted(order: OrderView<'_>, State(seen): State<Recorder<u64>>) {
    seen.record(order.id);
}

fn order(customer: &str, note: &str) -> Order {
    Order { id: 7, customer: customer.to_owned(), note: note.to_owned() }
}

async fn publish(world: &World, order: &Order) {
    order.publish_to(Order::channel("eu", 7_u64), &world.bus().await).await.unwrap();
}

on_each! {
    async fn a_handler_reads_its_message_in_the_payload(world: World) {
        let seen = Recorder::new();
        let service = world.bus().await.serve(Shop { seen: seen.clone() }).await.unwrap();
        publish(&world, &order("Ada", "by noon")).await;
        let expected = Seen {
            customer: "Ada".to_owned(),
            note: "by noon".to_owned(),
            note_is_borrowed: true,
            in_payload: true,
            region: "eu".to_owned(),
            has_id: true,
        };
        assert_eq!(seen.wait_for(1).await, [expected]);
        service.shutdown().await.unwrap();
    }

    async fn a_text_with_an_escape_is_copied_where_it_may_be_and_rejected_where_not(world: World) {
        let seen = Recorder::new();
        let service = world.bus().await.serve(Shop { seen: seen.clone() }).await.unwrap();
        publish(&world, &order("Ada \"the first\"", "")).await;
        publish(&world, &order("Ada", "by\nnoon")).await;
        let last = &seen.wait_for(1).await[0];
        assert_eq!((last.note.as_str(), last.note_is_borrowed), ("by\nnoon", false));
        eventually(SOON, async || stats_of(&service, "ordered").rejected == 1).await;
        service.shutdown().await.unwrap();
    }

    async fn a_borrowed_message_is_checked_against_its_channel_and_filtered(world: World) {
        let seen = Recorder::new();
        let service = world.bus().await.serve(Shop { seen: seen.clone() }).await.unwrap();
        world.publish_raw("orders:eu:8", r#"{"id":7,"customer":"Eve","note":""}"#).await;
        publish(&world, &order("nobody", "")).await;
        eventually(SOON, async || {
            let stats = stats_of(&service, "ordered");
            (stats.rejected, stats.filtered, stats.handled) == (1, 1, 0)
        })
        .await;
        service.shutdown().await.unwrap();
    }

    async fn a_borrowed_message_can_be_published_and_requested(world: World) {
        let seen = Recorder::new();
        let service = world.bus().await.serve(Shop { seen: seen.clone() }).await.unwrap();
        let bus = world.bus().await;
        let text = String::from("Ada");
        let view = OrderView { id: 7, customer: &text, note: Cow::Borrowed("") };
        view.publish_to(OrderView::channel("us", 7_u64), &bus).await.unwrap();
        assert_eq!(seen.wait_for(1).await[0].region, "us");
        assert_eq!(Ask { word: &text }.request(&bus).await.unwrap(), 3);
        service.shutdown().await.unwrap();
    }

    async fn a_task_of_its_own_borrows_as_well(world: World) {
        let seen = Recorder::new();
        let bus = world.bus().await;
        let service = bus.serve(routes![counted].with_state(seen.clone())).await.unwrap();
        publish(&world, &order("Ada", "")).await;
        assert_eq!(seen.wait_for(1).await, [7]);
        service.shutdown().await.unwrap();
    }

    async fn the_formats_that_keep_texts_as_they_are_let_them_be_borrowed(world: World) {
        for format in [Format::Plain, Format::Envelope, Format::CloudEvents, Format::MessagePack, Format::Cbor] {
            let seen = Recorder::new();
            let bus = world.bus_with(|builder| builder.format(format)).await;
            let service = bus.serve(Shop { seen: seen.clone() }).await.unwrap();
            order("Ada", "x").publish_to(Order::channel("eu", 7_u64), &bus).await.unwrap();
            assert!(seen.wait_for(1).await[0].in_payload, "{format:?}");
            service.shutdown().await.unwrap();
        }
    }
}
