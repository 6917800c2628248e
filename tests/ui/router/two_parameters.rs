use serde::{Deserialize, Serialize};
use tidings::{Message, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("<shop>:orders")]
struct ByShop {
    shop: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("eu:<kind>")]
struct ByKind {
    kind: String,
}

struct Shop;

#[router]
impl Shop {
    #[handler]
    async fn by_shop(&self, _message: ByShop) {}

    #[handler]
    async fn by_kind(&self, _message: ByKind) {}
}

fn main() {}
