use std::{pin::Pin, sync::Arc};

use serde::{Deserialize, Serialize};
use tidings::{Message, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("payments:<id>")]
struct Paid {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("refunds:<id>")]
struct Refunded {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("returns:<id>")]
struct Returned {
    id: u64,
}

struct Shop;

#[router]
impl Shop {
    #[handler]
    async fn placed(self: Arc<Self>, _: OrderPlaced) {}

    #[handler]
    async fn paid(self: Pin<&Self>, _: Paid) {}

    #[handler]
    async fn refunded(self: &mut Self, _: Refunded) {}

    #[handler]
    async fn returned(self, _: Returned) {}
}

fn main() {}
