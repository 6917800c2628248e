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

fn rest(name: &str) -> Option<&str> {
    name.get(1..)
}

type Priced = fn(&OrderPlaced) -> &str;
type Named = std::sync::Arc<dyn Fn(&str) -> Option<&str> + Send + Sync>;

#[handler]
async fn function(_: Ping, _: State<fn(&OrderPlaced) -> &str>) {}

#[handler]
async fn declared(_: OrderPlaced, _: State<for<'a> fn(&'a OrderPlaced) -> &'a str>) {}

#[handler]
async fn boxed(_: Ping, _: State<std::sync::Arc<dyn Fn(&str) -> Option<&str> + Send + Sync>>, _: &Delivery) {}

fn customer(order: &OrderPlaced) -> &str {
    &order.customer
}

#[handler(filter = !order.customer.is_empty() && customer(&order).len() > 3)]
async fn filtered(order: OrderPlaced, State(customer): State<Prices>) {
    let _ = (order.id, customer.0);
}

use inner::chat as renamed;

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
    let _service = bus.serve(routes![renamed]).await.unwrap();
    let _service = bus.serve(routes![filtered].with_state(Prices(7))).await.unwrap();
    let _service =
        bus.serve(routes![function, declared].with_state((|order| &order.customer) as Priced)).await.unwrap();
    let _service = bus.serve(routes![boxed].with_state(std::sync::Arc::new(rest) as Named)).await.unwrap();
    {
        #[handler]
        async fn inner(_: Ping) {}
        let _service = bus.serve(routes![inner]).await.unwrap();
    }
    {
        #[handler]
        async fn inner(_: OrderPlaced) {}
        let _service = bus.serve(routes![inner]).await.unwrap();
    }
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
