//! What is generated gives no cause to any lint of the compiler, however strict the crate is.

#![deny(warnings)]
#![deny(
    deprecated,
    elided_lifetimes_in_paths,
    explicit_outlives_requirements,
    let_underscore_drop,
    macro_use_extern_crate,
    meta_variable_misuse,
    missing_abi,
    missing_copy_implementations,
    missing_debug_implementations,
    missing_docs,
    nonstandard_style,
    private_bounds,
    private_interfaces,
    redundant_lifetimes,
    single_use_lifetimes,
    trivial_casts,
    trivial_numeric_casts,
    unit_bindings,
    unnameable_types,
    unreachable_pub,
    unsafe_code,
    unused,
    unused_extern_crates,
    unused_import_braces,
    unused_lifetimes,
    unused_macro_rules,
    unused_qualifications,
    unused_results,
    variant_size_differences
)]

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidings::{Address, Bus, ChannelParam, Context, Delivery, Ended, Enqueue, Extract, ExtractError, Handler, HandlerOptions, IntoOutcome, Order, Route, Router, Routes, Headers, Lease, Message, Publish, Queue, QueueFacts, Redelivery, Rule, State, Turns, WorkOptions, handler, layer::Outcome, router, routers, routes};

/// An order.
#[derive(Message, Serialize, Deserialize, Debug)]
#[channel("orders:<id>")]
pub struct OrderPlaced {
    id: u64,
    total: u64,
    customer: Customer,
}

/// Who it is from.
#[derive(Serialize, Deserialize, Debug)]
pub struct Customer {
    name: String,
    country: String,
}

/// A view of an invoice.
#[derive(Message, Serialize, Deserialize, Debug)]
#[channel("invoices:<id>")]
pub struct Invoice<'a> {
    id: u64,
    #[serde(borrow)]
    text: std::borrow::Cow<'a, str>,
}

#[derive(Message, Serialize, Deserialize, Debug)]
#[channel("quotes:<sku>")]
#[reply(u64, error = String)]
struct QuoteRequest {
    sku: String,
}

/// In this order.
#[derive(ChannelParam, Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
pub enum Priority {
    /// First.
    High,
    /// Then.
    Low,
}

/// An image is resized, as it was.
#[derive(Message, Serialize, Deserialize, Debug)]
#[queue("tasks:images:<priority: Priority>", strict = priority)]
#[message(name = "ResizeImage")]
pub struct ResizeImageV1 {
    path: String,
}

/// An image is resized.
#[derive(Message, Serialize, Deserialize, Debug)]
#[queue("tasks:images:<priority>", weighted = priority, weights = [3, 1], lease = "1m", max_length = 7, payload_limit = 7, results = "1h", results_count = 7, completed = Resized, failed = Resized)]
#[reply(u64, error = ResizeError)]
#[message(version = 2, from = ResizeImageV1)]
pub struct ResizeImage {
    priority: Priority,
    path: String,
}

impl From<ResizeImageV1> for ResizeImage {
    fn from(older: ResizeImageV1) -> Self {
        Self { priority: Priority::Low, path: older.path }
    }
}

/// An image was resized, or not.
#[derive(Message, Serialize, Deserialize, Debug)]
#[channel("resized:<path>")]
pub struct Resized {
    path: String,
    bytes: Option<u64>,
}

impl From<Ended<'_, ResizeImage>> for Resized {
    fn from(ended: Ended<'_, ResizeImage>) -> Self {
        Self { bytes: ended.result(), path: ended.into_task().path }
    }
}

/// Why not.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, tidings::Outcome)]
pub enum ResizeError {
    /// The disk is full.
    #[outcome(retry)]
    DiskFull,
    /// Asked to wait.
    #[outcome(retry_after = after)]
    Busy {
        /// So long.
        after: std::time::Duration,
    },
}

impl std::fmt::Display for ResizeError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("no")
    }
}

/// Images.
#[derive(Clone, Copy, Debug)]
pub struct Images;

#[router]
impl Images {
    /// Resizes.
    #[handler(once = path, window = "1d", retries = 5, backoff = "1s..10m", crashes = 3, timeout = "2m")]
    pub async fn resize(&self, task: ResizeImage, lease: &Lease) -> Result<(u64, Enqueue<ResizeImage>), ResizeError> {
        match task.priority {
            Priority::High => Ok((7, Enqueue::new(task))),
            Priority::Low if task.path.is_empty() => Err(ResizeError::DiskFull),
            Priority::Low => Err(ResizeError::Busy { after: lease.remaining() }),
        }
    }
}

/// The shop.
#[derive(Debug)]
pub struct Shop<D> {
    store: D,
}

#[router]
impl<D: Clone + PartialEq> Shop<D> {
    const LIMIT: u64 = 100;

    /// An order.
    #[handler(concurrency = 16, order = id, timeout = "1s", filter = name != "" && *total > Self::LIMIT)]
    pub async fn placed(
        &self,
        OrderPlaced { id, total, customer: Customer { name, country } }: OrderPlaced,
        address: Address<OrderPlaced>,
        headers: &Headers,
    ) -> Result<(), std::fmt::Error>
    where
        D: Clone,
    {
        tokio::task::yield_now().await;
        if self.store.clone() == self.store.clone() && headers.get("x").is_some() && name == country {
            return Err(std::fmt::Error);
        }
        assert_eq!((id, total), (address.id, 7));
        Ok(())
    }

    #[handler(run_to_end, filter = true)]
    async fn quote(&self, QuoteRequest { sku }: QuoteRequest, bus: &Bus) -> Result<u64, String> {
        if bus.stats().subscriptions.is_empty() { Err(sku) } else { Ok(7) }
    }
}

/// An order's message is looked at.
#[handler(spawn, filter = order.total > 7)]
pub async fn placed(mut order: OrderPlaced, delivery: &Delivery, State(shop): State<Arc<u64>>) -> Publish<OrderPlaced> {
    order.total += *shop + delivery.channel().len() as u64;
    Publish::new(order)
}

mod inner {
    use tidings::handler;

    #[handler(fallback)]
    pub(super) async fn placed(_: super::OrderNamed) -> Option<tidings::Publish<super::OrderPlaced>> {
        None
    }
}

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<name: String>")]
struct OrderNamed;

#[handler]
async fn invoice(invoice: Invoice<'_>) -> Result<(), &'static str> {
    if invoice.id == 7 && invoice.text.is_empty() { Err("empty") } else { Ok(()) }
}

#[expect(non_snake_case)]
#[handler]
async fn QUOTE(request: QuoteRequest) -> u64 {
    request.sku.len() as u64
}

/// What is in scope anyway needs no path, but what is generated cannot know that.
/// Names.
pub type Names = (Outcome, Route, Routes, HandlerOptions, Order, ExtractError, Option<(AnyFuture, Vec<u8>, Rule, QueueFacts, Turns, WorkOptions, Redelivery)>);

/// A future.
pub type AnyFuture = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Names are in scope.
pub fn names<'a, M: Extract<'a, (), ()> + IntoOutcome + Handler + Router + Queue>(_: &Context<'a, M>, names: Names) -> Names {
    names
}

fn is_used(bus: Bus) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Runtime::new()?;
    let shop = Arc::new(Shop { store: 7 });
    let served = runtime.block_on(async {
        let first = bus.serve(Arc::clone(&shop)).await?;
        let second = bus.serve(routes![placed, inner::placed, invoice, QUOTE].with_state(Arc::new(7))).await?;
        let third = bus.serve(routers![shop, routes![invoice]]).await?;
        let fourth = bus.serve(Images).await?;
        Ok::<_, tidings::SubscribeError>((first, second, third, fourth))
    })?;
    drop(served);
    let _enqueued = ResizeImageV1 { path: String::new() }.enqueue_to(ResizeImageV1::channel(Priority::High), &bus);
    let _invoice = Invoice { id: 7, text: "".into() };
    Ok(())
}

fn main() {
    let _used: fn(_) -> _ = is_used;
}
