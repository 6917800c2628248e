use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, handler, router, routes};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderView<'a> {
    id: u64,
    customer: &'a str,
}

#[handler]
async fn placed(order: OrderView<'static>) {
    println!("{}", order.customer);
}

struct Shop;

#[router]
impl Shop {
    #[handler]
    async fn seen(&self, _order: OrderView<'static>) {}
}

async fn serve(bus: &Bus) {
    let _placed = bus.serve(routes![placed]).await.unwrap();
    let _shop = bus.serve(Shop).await.unwrap();
}

fn main() {}
