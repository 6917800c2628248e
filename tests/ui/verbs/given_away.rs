use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes")]
#[reply(u64)]
struct QuoteRequest;

#[derive(Message, Serialize, Deserialize)]
#[queue("mails")]
struct SendMail {
    to: String,
}

struct Shop;

#[router]
impl Shop {
    #[handler]
    async fn placed(&self, _order: OrderPlaced) {}
}

async fn serve(bus: &'static Bus) {
    tokio::spawn(bus.serve(Shop));
    tokio::spawn(bus.subscribe(OrderPlaced::any()));
}

async fn send(bus: &'static Bus, order: &'static OrderPlaced, mail: &'static SendMail) {
    tokio::spawn(order.publish(bus));
    tokio::spawn(mail.enqueue(bus));
}

async fn ask(bus: &Bus, requests: Vec<QuoteRequest>) -> Vec<u64> {
    try_join_all(requests.iter().map(|request| request.request(bus))).await.unwrap()
}

fn main() {}
