//! What is written on a handler or a router holds for what is generated from it.

#![deny(warnings)]

use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, handler, router, routers, routes};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

mod old {
    #![allow(deprecated)]

    use serde::{Deserialize, Serialize};
    use tidings::{Extract, ExtractError, Message};

    #[deprecated = "use `OrderPlaced`"]
    #[derive(Message, Serialize, Deserialize)]
    #[channel("old:<id>")]
    pub struct Old {
        pub id: u64,
    }

    #[deprecated]
    pub struct Sender;

    impl<'a, M, S> Extract<'a, M, S> for Sender {
        fn extract(_: &tidings::Context<'a, S>) -> Result<Self, ExtractError> {
            Ok(Self)
        }
    }

    #[deprecated]
    #[derive(Debug)]
    pub struct Failed;

    impl std::fmt::Display for Failed {
        fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("failed")
        }
    }

    #[deprecated]
    pub const LIMIT: u64 = 7;
}

#[allow(deprecated)]
#[handler(filter = old.id < old::LIMIT)]
async fn allowed(old: old::Old, _sender: old::Sender) -> Result<(), old::Failed> {
    let _ = old.id;
    Ok(())
}

#[expect(deprecated, reason = "until nobody sends it")]
#[handler]
async fn expected(old: old::Old, _sender: old::Sender) -> Result<(), old::Failed> {
    let _ = old.id;
    Ok(())
}

#[handler]
#[cfg_attr(all(), allow(deprecated))]
#[cfg(all())]
async fn conditional(_: old::Old) {}

#[handler]
#[cfg(any())]
async fn conditional(_: NoSuchMessage) {}

#[cfg(any())]
#[handler]
async fn conditional(_: NoSuchMessage) {}

/// Nobody should serve it any more.
#[deprecated(note = "use `allowed`")]
#[handler]
async fn deprecated(order: OrderPlaced) {
    let _ = order.id;
}

#[must_use]
#[inline]
#[doc(alias = "placed")]
#[handler]
async fn useful(_: OrderPlaced) -> Result<(), String> {
    Ok(())
}

#[deprecated]
struct Shop;

#[router]
#[allow(deprecated)]
impl Shop {
    #[handler(filter = old.id < old::LIMIT)]
    async fn old(&self, old: old::Old, _sender: old::Sender) -> Result<(), old::Failed> {
        let _ = old.id;
        Ok(())
    }

    #[deprecated]
    #[handler]
    async fn placed(&self, _: OrderPlaced) {}
}

struct Methods;

#[router]
impl Methods {
    #[handler]
    #[expect(deprecated)]
    async fn old(&self, _old: old::Old, _sender: old::Sender) -> Result<(), old::Failed> {
        Ok(())
    }

    /// Of another time.
    #[deprecated(since = "1.0.0")]
    #[must_use]
    #[handler]
    async fn placed(&self, _: OrderPlaced) -> Option<()> {
        None
    }
}

#[cfg(any())]
#[router]
impl Methods {
    #[handler]
    async fn new(&self, _: NoSuchMessage) {}
}

struct Conditional;

#[router]
#[cfg(any())]
impl Conditional {
    #[handler]
    async fn new(&self, _: NoSuchMessage) {}
}

#[router]
#[cfg_attr(all(), cfg(all()))]
impl Conditional {
    #[handler]
    async fn placed(&self, _: OrderPlaced) {}
}

mod first {
    #[tidings::handler]
    pub async fn placed(_: super::OrderPlaced) {}
}

mod second {
    #[tidings::handler]
    #[allow(deprecated)]
    pub async fn placed(_: super::old::Old) {}
}

async fn serve(bus: Bus) {
    let _service = bus.serve(routes![allowed, useful]).await.unwrap();
    let _service = bus.serve(routes![expected]).await.unwrap();
    let _service = bus.serve(routes![conditional]).await.unwrap();
    let _service = bus.serve(routes![first::placed, second::placed]).await.unwrap();
    #[allow(deprecated)]
    let _service = bus.serve(routes![deprecated]).await.unwrap();
    #[allow(deprecated)]
    let _service = bus.serve(routers![Shop]).await.unwrap();
    let _service = bus.serve(Methods).await.unwrap();
    let _service = bus.serve(Conditional).await.unwrap();
}

fn main() {
    let _ = serve;
}
