//! Everything a handler may be.

#![deny(warnings)]
#![warn(unused_qualifications)]

use serde::{Deserialize, Serialize};
use tidings::{Address, Bus, Delivery, Headers, Message, Publish, State, handler, router, routes};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
#[message(name = "order.placed", version = 2, format = "plain")]
pub struct OrderPlaced {
    id: u64,
    customer: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("chat:room:<room: String>")]
enum ChatEvent {
    Join { user: String },
}

#[derive(Message, Serialize, Deserialize)]
#[channel("ping")]
struct Ping;

#[derive(Clone)]
pub struct Prices(u64);

pub struct Shop<D> {
    store: D,
}

#[router]
impl<D> Shop<D>
where
    D: Clone,
{
    #[handler(concurrency = 16, timeout = "1500ms", filter = *id > 7 && !customer.is_empty())]
    pub async fn placed(&self, OrderPlaced { id, mut customer }: OrderPlaced) -> Result<(), std::fmt::Error> {
        let _ = self.store.clone();
        customer.push('!');
        tokio::task::yield_now().await;
        if id == 8 { Err(std::fmt::Error) } else { Ok(()) }
    }

    #[tidings::handler(spawn, filter = matches!(event, ChatEvent::Join { .. }))]
    async fn chat(
        &self,
        mut event: ChatEvent,
        address: Address<ChatEvent>,
        delivery: &Delivery,
        headers: &Headers,
        bus: &Bus,
        owned: Bus,
    ) -> Result<Publish<OrderPlaced>, String> {
        let ChatEvent::Join { user } = &mut event;
        user.clear();
        tokio::task::yield_now().await;
        let _ = (delivery.channel(), headers, bus, owned);
        let order = OrderPlaced { id: 1, customer: address.room.clone() };
        Ok(Publish::new(order))
    }

    #[handler]
    async fn ping(_: Ping) {}

    fn no_handler(&self) {}
}

#[handler]
pub async fn message(message: OrderPlaced, State(prices): State<Prices>, delivery: &Delivery) {
    tokio::task::yield_now().await;
    let _ = (message.id, prices.0, delivery);
}

#[handler]
#[cfg(any())]
async fn left_out(_: NoSuchMessage) {}

mod inner {
    #[tidings::handler(filter = true)]
    pub async fn chat(_event: super::ChatEvent, _bus: &tidings::Bus) -> Option<tidings::Publish<super::Ping>> {
        tokio::task::yield_now().await;
        None
    }
}

async fn serve(bus: Bus) {
    Shop { store: 7 }.no_handler();
    let _service = bus.serve(Shop { store: String::new() }).await.unwrap();
    let _service = bus.serve(routes![message, inner::chat].with_state(Prices(7))).await.unwrap();
    let _service = bus.serve(routes![inner::chat,]).await.unwrap();
    let served = async move { drop(bus.serve(routes![message].with_state(Prices(7))).await) };
    drop(Box::new(served) as Box<dyn Future<Output = ()> + Send>);
}

#[allow(unreachable_code)]
async fn unit_test() {
    let _ = Shop { store: 7 }.placed(OrderPlaced { id: 7, customer: String::new() }).await;
    message(OrderPlaced { id: 7, customer: String::new() }, State(Prices(7)), todo!()).await
}

fn main() {
    let _ = (serve, unit_test);
}
