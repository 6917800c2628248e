//! The macros work where the dependency has another name.

use messaging::{Bus, ChannelParam, Message, handler, router, routes};
use serde::{Deserialize, Serialize};

/// The runtime, re-exported as a company's own crate may do it.
pub mod own {
    pub use messaging::*;
}

/// A parameter.
#[derive(ChannelParam, Clone, Copy, Debug, Serialize, Deserialize)]
#[tidings(crate = ::messaging)]
pub enum Region {
    /// Europe.
    Eu,
}

/// A message.
#[derive(Message, Debug, Serialize, Deserialize)]
#[channel("orders:<region>:<id: u64>")]
#[tidings(crate = crate::own)]
pub struct OrderPlaced {
    region: Region,
}

/// A router.
#[derive(Debug)]
pub struct Shop;

#[router(crate = ::messaging)]
impl Shop {
    /// A handler.
    #[handler]
    pub async fn placed(&self, order: OrderPlaced) {
        let _ = order.region;
    }
}

/// A handler.
#[handler(crate = messaging)]
pub async fn placed(order: OrderPlaced) {
    let _ = order.region;
}

/// Both spellings are served.
pub async fn serve(bus: Bus) {
    let _ = bus.serve(Shop).await;
    let _ = bus.serve(routes![crate = crate::own; placed]).await;
}
