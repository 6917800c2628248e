//! The macros work where the dependency has another name, and give clippy no cause for lints that hardly anybody asks for.

#![deny(
    clippy::exhaustive_structs,
    clippy::field_scoped_visibility_modifiers,
    clippy::impl_trait_in_params,
    clippy::nursery,
    clippy::same_name_method,
    clippy::unused_async
)]

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

/// A message of this crate alone.
#[derive(Message, Debug, Serialize, Deserialize)]
#[channel("packages:<id>")]
#[tidings(crate = ::messaging)]
pub(crate) struct Packed {
    id: u64,
}

/// A router.
#[derive(Debug)]
#[non_exhaustive]
pub struct Shop;

#[router(crate = ::messaging)]
impl Shop {
    /// A handler.
    #[handler]
    pub async fn placed(&self, order: OrderPlaced) {
        let _ = order.region;
    }

    #[handler]
    async fn packed(&self, packed: Packed) {
        let _ = packed.id;
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
