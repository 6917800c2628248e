use serde::{Deserialize, Serialize};
use tidings::{Message, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

struct Shop<D>(D);

impl<D> Shop<D> {
    fn layer() -> tower::limit::ConcurrencyLimitLayer {
        tower::limit::ConcurrencyLimitLayer::new(4)
    }
}

#[router]
impl<D> Shop<D> {
    #[handler(layer = Self::layer())]
    async fn placed(&self, _order: OrderPlaced) {}
}

fn main() {}
