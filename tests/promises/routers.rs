//! Several routers are served as one: each message reaches its handler, whichever router that is in, and one shutdown ends all of them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidings::{
    Bus, Message, Publish, RequestError, State, handler,
    layer::{Invocation, Outcome},
    router, routers, routes,
};
use tidings_tests::{Recorder, eventually, on_each};
use tower::{BoxError, ServiceBuilder};

use crate::support::{Gate, SOON};

#[derive(Message, Serialize, Deserialize)]
#[channel("shop:orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("shop:orders:<name: String>")]
struct OrderNamed {
    total: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("shop:payments:<id>")]
struct Paid {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("shop:orders:new")]
struct NewOrders {}

#[derive(Message, Serialize, Deserialize)]
#[channel("shop:prices:<sku>")]
#[reply(u64)]
struct PriceRequest {
    sku: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("shop:audits:<id>")]
struct Audited {
    id: u64,
}

/// What was handled, and where.
type Handled = Recorder<(&'static str, u64)>;

struct Shop {
    handled: Handled,
    gate: Gate,
}

#[router]
impl Shop {
    #[handler]
    async fn placed(&self, order: OrderPlaced) -> Publish<Audited> {
        self.gate.pass().await;
        self.handled.record(("shop", order.id));
        Publish::new(Audited { id: order.id })
    }
}

struct Pay {
    handled: Handled,
}

#[router]
impl Pay {
    #[handler]
    async fn placed(&self, payment: Paid) {
        self.handled.record(("pay", payment.id));
    }

    #[handler]
    async fn price(&self, request: PriceRequest) -> u64 {
        request.sku * 100
    }
}

struct Rest {
    handled: Handled,
}

#[router]
impl Rest {
    #[handler]
    async fn new_orders(&self, _: NewOrders) {
        self.handled.record(("new", 0));
    }

    #[handler(fallback)]
    async fn named(&self, order: OrderNamed) {
        self.handled.record(("rest", order.total));
    }
}

#[derive(Message, Serialize, Deserialize)]
#[channel("shop:limits")]
#[reply(u64)]
struct LimitRequest {}

/// Its layer lets nothing out.
struct Limited;

#[router]
impl Limited {
    #[handler(layer = ServiceBuilder::new().map_result(|_: Result<Outcome, BoxError>| Err::<Outcome, BoxError>("nothing".into())))]
    async fn limited(&self, _: LimitRequest) -> u64 {
        7
    }
}

#[handler]
async fn audited(audited: Audited, State(handled): State<Handled>) {
    handled.record(("audit", audited.id));
}

struct Routers {
    handled: Handled,
    gate: Gate,
}

impl Routers {
    fn new() -> Self {
        let gate = Gate::closed();
        gate.open();
        Self { handled: Recorder::new(), gate }
    }

    fn shop(&self) -> Shop {
        Shop { handled: self.handled.clone(), gate: self.gate.clone() }
    }

    fn pay(&self) -> Pay {
        Pay { handled: self.handled.clone() }
    }

    fn rest(&self) -> Rest {
        Rest { handled: self.handled.clone() }
    }

    async fn sees(&self, expected: &[(&'static str, u64)]) {
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        eventually(SOON, async || {
            let mut seen = self.handled.all();
            seen.sort_unstable();
            seen == expected
        })
        .await;
    }
}

async fn publish(bus: &Bus, id: u64) {
    OrderPlaced { id }.publish(bus).await.unwrap();
    Paid { id }.publish(bus).await.unwrap();
}

on_each! {
    async fn each_message_reaches_the_router_that_takes_it(world: World) {
        let bus = world.bus().await;
        let routers = Routers::new();
        let audit = routes![audited].with_state(routers.handled.clone());
        let service = bus.serve(routers![routers.shop(), routers.pay(), audit]).await.unwrap();
        publish(&bus, 7).await;
        assert_eq!(PriceRequest { sku: 3 }.request(&bus).await.unwrap(), 300);
        routers.sees(&[("shop", 7), ("pay", 7), ("audit", 7)]).await;
        service.shutdown().await.unwrap();
    }

    async fn statistics_list_each_handler_with_its_router(world: World) {
        let bus = world.bus().await;
        let routers = Routers::new();
        let audit = routes![audited].with_state(routers.handled.clone());
        let service = bus.serve(routers![routers![routers.shop(), audit], routers.pay()]).await.unwrap();
        publish(&bus, 7).await;
        Paid { id: 8 }.publish(&bus).await.unwrap();
        routers.sees(&[("shop", 7), ("pay", 7), ("audit", 7), ("pay", 8)]).await;
        let expected = [
            (Some("Shop"), "placed", 1),
            (None, "audited", 1),
            (Some("Pay"), "placed", 2),
            (Some("Pay"), "price", 0),
        ];
        eventually(SOON, async || {
            let handlers = service.stats().handlers;
            handlers.iter().map(|stats| (stats.router, stats.handler, stats.handled)).eq(expected)
        })
        .await;
        let shown = format!("{:?}", service.stats().handlers);
        assert!(shown.contains(r#"handler: "placed", router: "Pay""#), "{shown}");
        service.shutdown().await.unwrap();
    }

    async fn one_shutdown_finishes_what_has_arrived_at_every_router(world: World) {
        let bus = world.bus().await;
        let routers = Routers { gate: Gate::closed(), ..Routers::new() };
        let service = bus.serve(routers![routers.pay(), routers.shop()]).await.unwrap();
        publish(&bus, 7).await;
        // The second of them too: what has not been read when the service stops is not handled.
        eventually(SOON, async || service.stats().handlers.iter().map(|stats| stats.running as u64 + stats.handled).sum::<u64>() == 2)
            .await;
        let (gate, stopping) = (routers.gate.clone(), service.shutdown());
        let (stopped, ()) = tokio::join!(stopping, async move { gate.open() });
        stopped.unwrap();
        routers.sees(&[("pay", 7), ("shop", 7)]).await;
        eventually(SOON, async || world.patterns().await == 0).await;
    }

    async fn a_fallback_stands_back_behind_the_handlers_of_other_members(world: World) {
        let bus = world.bus().await;
        for is_first in [true, false] {
            let routers = Routers::new();
            let service = if is_first {
                bus.serve(routers![routers.rest(), routers.shop()]).await.unwrap()
            } else {
                bus.serve(routers![routers.shop(), routers.rest()]).await.unwrap()
            };
            OrderPlaced { id: 7 }.publish(&bus).await.unwrap();
            NewOrders {}.publish(&bus).await.unwrap();
            OrderNamed { total: 9 }.publish_to(OrderNamed::channel("old"), &bus).await.unwrap();
            routers.sees(&[("shop", 7), ("new", 0), ("rest", 9)]).await;
            service.shutdown().await.unwrap();
        }
    }

    async fn layers_of_the_service_and_of_handlers_stand_around_the_right_ones(world: World) {
        let bus = world.bus().await;
        let (routers, passed) = (Routers::new(), Recorder::new());
        let seen = passed.clone();
        let all = ServiceBuilder::new().map_request(move |invocation: Invocation| {
            seen.record((invocation.route().router(), invocation.route().handler()));
            invocation
        });
        let service = bus.serve(routers![routers.shop(), Limited, routers.pay()]).layer(all).await.unwrap();
        publish(&bus, 7).await;
        routers.sees(&[("shop", 7), ("pay", 7)]).await;
        assert!(matches!(LimitRequest {}.request(&bus).await, Err(RequestError::Failed { .. })));
        let mut passed = passed.all();
        passed.sort_unstable();
        assert_eq!(passed, [(Some("Limited"), "limited"), (Some("Pay"), "placed"), (Some("Shop"), "placed")]);
        service.shutdown().await.unwrap();
    }

    async fn a_router_in_an_arc_can_be_looked_at_while_it_is_served(world: World) {
        let bus = world.bus().await;
        let routers = Routers::new();
        let pay = Arc::new(routers.pay());
        let service = bus.serve(Arc::clone(&pay)).await.unwrap();
        Paid { id: 7 }.publish(&bus).await.unwrap();
        eventually(SOON, async || pay.handled.all() == [("pay", 7)]).await;
        service.shutdown().await.unwrap();
        let service = bus.serve(routers![Arc::clone(&pay), Box::new(routers.rest())]).await.unwrap();
        Paid { id: 8 }.publish(&bus).await.unwrap();
        eventually(SOON, async || pay.handled.all() == [("pay", 7), ("pay", 8)]).await;
        service.shutdown().await.unwrap();
    }

    async fn a_vec_of_what_to_publish_is_published_in_order(world: World) {
        let bus = world.bus().await;
        let audits: Handled = Recorder::new();
        let first = routes![many, audited].with_state(audits.clone());
        let service = bus.serve(first).await.unwrap();
        NewOrders {}.publish(&bus).await.unwrap();
        eventually(SOON, async || audits.all().len() == 3).await;
        let mut ids: Vec<_> = audits.all().into_iter().map(|(_, id)| id).collect();
        ids.sort_unstable();
        assert_eq!(ids, [1, 2, 3]);
        service.shutdown().await.unwrap();
    }
}

#[handler]
async fn many(_: NewOrders) -> Vec<Publish<Audited>> {
    vec![Publish::all([Audited { id: 1 }, Audited { id: 2 }]), Publish::new(Audited { id: 3 })]
}
