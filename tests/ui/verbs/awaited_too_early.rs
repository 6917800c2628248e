use serde::{Deserialize, Serialize};
use tidings::{Bus, ConnectError, Message, Service, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

struct Shop;

#[router]
impl Shop {
    #[handler]
    async fn placed(&self, _order: OrderPlaced) {}
}

async fn connect() -> Result<Bus, ConnectError> {
    let bus = Bus::builder("memory:").namespace("shop").await?;
    Ok(bus)
}

async fn build() -> Result<Bus, ConnectError> {
    let bus = Bus::builder("memory:").build().await?;
    Ok(bus)
}

async fn serve(service: Service) {
    service.await.unwrap();
}

fn main() {}
