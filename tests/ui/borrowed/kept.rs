use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use tidings::{Message, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders")]
struct OrderView<'a> {
    customer: &'a str,
}

struct Shop {
    last: Mutex<OrderView<'static>>,
}

#[router]
impl Shop {
    #[handler]
    async fn viewed(&self, order: OrderView<'_>) {
        *self.last.lock().unwrap() = order;
    }
}

fn main() {}
