use serde::{Deserialize, Serialize};
use tidings::{Message, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<name>")]
struct OrderByName {
    name: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<code>")]
struct OrderByCode {
    code: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:new")]
struct NewOrders {
    count: u64,
}

struct Shop;

#[router]
impl Shop {
    #[handler]
    async fn new(&self, _message: NewOrders) {}

    #[handler(fallback)]
    async fn by_name(&self, _message: OrderByName) {}

    #[handler(fallback)]
    async fn by_code(&self, _message: OrderByCode) {}
}

fn main() {}
