//! Handlers in `routes![…]`, named in every way in which a function can be named.

#![deny(warnings)]

use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, Router, handler, routes};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
pub struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("payments:<id>")]
pub struct Paid {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("refunds:<id>")]
pub struct Refund {
    id: u64,
}

#[handler]
async fn placed(_order: OrderPlaced) {}

#[handler]
async fn r#type(_refund: Refund) {}

pub mod shop {
    use tidings::{Router, handler, routes};

    #[handler]
    pub async fn placed(_order: super::OrderPlaced) {}

    #[handler]
    pub async fn paid(_payment: crate::Paid) {}

    pub mod back {
        use tidings::handler;

        #[handler]
        pub async fn refunded(_refund: crate::Refund) {}
    }

    pub fn all() -> impl Router {
        routes![self::placed, super::shop::paid, back::refunded]
    }
}

mod by_glob {
    use tidings::{Router, handler, routes};

    use super::{OrderPlaced, shop::*};

    /// Stands before what the glob brings.
    #[handler]
    async fn paid(_order: OrderPlaced) {}

    pub fn all() -> impl Router {
        routes![paid, back::refunded]
    }
}

mod renamed {
    use tidings::{Router, routes};

    use super::shop::{back::refunded as given_back, paid};

    pub fn all() -> impl Router {
        routes![given_back, paid]
    }
}

macro_rules! of_this_crate {
    ($($more:path),*) => {
        routes![$crate::shop::back::refunded, $($more),*]
    };
}

macro_rules! of_a_module {
    ($module:ident :: $name:ident) => {
        routes![$module::$name, crate::$module::paid]
    };
}

macro_rules! with_a_handler {
    ($name:ident) => {{
        #[handler]
        async fn $name(_order: OrderPlaced) {}
        #[handler]
        async fn inner(_payment: Paid) {}
        routes![$name, inner]
    }};
}

fn names<R: Router>(_router: &R) -> Vec<&'static str> {
    R::ROUTES.iter().map(|route| route.handler()).collect()
}

fn in_a_function() -> impl Router {
    /// Stands before the one outside.
    #[handler]
    async fn placed(_payment: Paid) {}
    let paid = 7;
    let router = routes![placed, self::placed];
    let _: i32 = paid;
    router
}

async fn serve(bus: Bus) {
    let _service = bus.serve(shop::all()).await.unwrap();
}

fn main() {
    let _ = serve;
    assert_eq!(names(&shop::all()), ["placed", "paid", "refunded"]);
    assert_eq!(names(&by_glob::all()), ["paid", "refunded"]);
    assert_eq!(names(&renamed::all()), ["refunded", "paid"]);
    assert_eq!(names(&in_a_function()), ["placed", "placed"]);
    assert_eq!(names(&of_this_crate!(placed, crate::shop::paid)), ["refunded", "placed", "paid"]);
    assert_eq!(names(&of_a_module!(shop::placed)), ["placed", "paid"]);
    assert_eq!(names(&with_a_handler!(ordered)), ["ordered", "inner"]);
    assert_eq!(names(&routes![r#type, placed, crate::shop::paid]), ["type", "placed", "paid"]);
    assert_eq!(names(&routes![crate = ::tidings; placed]), ["placed"]);
}
