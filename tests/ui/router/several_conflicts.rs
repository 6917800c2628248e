use serde::{Deserialize, Serialize};
use tidings::{Message, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<number>")]
struct OrderPaid {
    number: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:new")]
struct NewOrders {
    count: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<name>")]
struct OrderByName {
    name: String,
}

struct Shop;

#[router]
impl Shop {
    #[handler]
    async fn placed(&self, _message: OrderPlaced) {}

    #[handler]
    async fn paid(&self, _message: OrderPaid) {}

    #[handler]
    async fn new(&self, _message: NewOrders) {}

    #[handler]
    async fn by_name(&self, _message: OrderByName) {}
}

fn main() {}
