//! W1 with many routes. The routers do what `routes![…]` generates, with one handler for all routes: a thousand handlers would
//! only make the compiler work.

use serde::{Deserialize, Serialize};
use tidings::{
    __private::{Call, HandlerLayer, HandlerOptions, Outcome, Route, Routes, Segment, Shape, Template},
    Bus, Delivery, Message, Router, handler,
};

use crate::{
    measure::{Report, TAKEN},
    order::Order,
};

/// The order on the channels of the many routes: the first segment is the route's.
#[derive(Message, Serialize, Deserialize)]
#[channel("m0:<id: u64>")]
#[serde(transparent)]
pub struct Routed(Order);

#[handler]
async fn take(order: Routed) {
    TAKEN.add(order.0.checksum());
}

const ID: Segment = Segment::parameter("id", Shape::Unsigned);

const fn route(template: Template) -> Route {
    Route::new("take", "Routed", Routed::FACTS.on(template), HandlerOptions::DEFAULT)
}

include!(concat!(env!("OUT_DIR"), "/routes.rs"));

pub struct Ten;
pub struct Hundred;
pub struct Thousand;
pub struct TenThousand;

macro_rules! router {
    ($router:ident, $routes:ident) => {
        impl Router for $router {
            type Itself = Self;

            const ROUTES: Routes = Routes::of(&$routes);

            fn itself(self) -> Self {
                self
            }

            fn layers() -> Vec<Option<fn() -> HandlerLayer>> {
                vec![None; $routes.len()]
            }

            async fn dispatch<'a>(&'a self, _route: usize, delivery: &'a mut Delivery, bus: &'a Bus) -> Outcome {
                <take as Call<()>>::call(&(), delivery, bus).await
            }
        }
    };
}

router!(Ten, TEN);
router!(Hundred, HUNDRED);
router!(Thousand, THOUSAND);
router!(TenThousand, TEN_THOUSAND);

/// The program is the number of routes.
pub async fn run(program: &str, url: &str, messages: u64) -> Report {
    TAKEN.expect(messages);
    let bus = Bus::connect(url).await.expect("a connection");
    let service = match program {
        "10" => bus.serve(Ten).await,
        "100" => bus.serve(Hundred).await,
        "1000" => bus.serve(Thousand).await,
        "10000" => bus.serve(TenThousand).await,
        other => panic!("no such program: {other}"),
    };
    let service = service.expect("a service");
    let report = TAKEN.drained().await;
    service.shutdown().await.expect("nothing waits");
    report
}
