use tidings::{handler, router};

mod shop {
    pub struct Order;
}

#[handler]
async fn placed(_order: shop::Order) {}

struct Shop;

#[router]
impl Shop {
    #[handler]
    async fn placed(&self, _order: crate::shop::Order) {}
}

fn main() {}
