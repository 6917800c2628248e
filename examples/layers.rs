//! Layers of tower around handlers: a limit for one handler, a timeout for all of them, and a layer of your own.
//!
//! `cargo run --example layers --features tower`, or with `REDIS_URL=redis://…` through a server.

use std::{
    env,
    error::Error,
    task::{Context, Poll},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tidings::{
    Bus, Message, RequestError,
    layer::{BoxError, Invocation, Outcome},
    router,
};
use tower::{Layer, Service, ServiceBuilder, limit::ConcurrencyLimitLayer};

#[derive(Message, Serialize, Deserialize)]
#[channel("thumbnails:<image>")]
#[reply(String)]
struct ThumbnailRequest {
    image: u64,
}

const SECOND: Duration = Duration::from_secs(1);

struct Studio;

#[router]
impl Studio {
    /// Whatever is asked for, no more than two are made at a time.
    #[handler(layer = ConcurrencyLimitLayer::new(2))]
    async fn thumbnail(&self, request: ThumbnailRequest) -> String {
        if request.image == 13 {
            // This one never ends: the timeout around the service does it.
            std::future::pending::<()>().await;
        }
        format!("thumbnail {}", request.image)
    }
}

/// Lets pass what a user has signed. It sees the metadata before anything is decoded.
#[derive(Clone)]
struct Signed;

#[derive(Clone)]
struct SignedOnly<S>(S);

impl<S> Layer<S> for Signed {
    type Service = SignedOnly<S>;

    fn layer(&self, inner: S) -> SignedOnly<S> {
        SignedOnly(inner)
    }
}

impl<S> Service<Invocation> for SignedOnly<S>
where
    S: Service<Invocation, Response = Outcome, Error = BoxError, Future: Send + 'static>,
{
    type Response = Outcome;
    type Error = BoxError;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Outcome, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, invocation: Invocation) -> Self::Future {
        if invocation.delivery().headers().get("user").is_none() {
            let handler = invocation.route().handler();
            return Box::pin(async move { Err(format!("nobody has signed a message to {handler}").into()) });
        }
        Box::pin(self.0.call(invocation))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bus = Bus::connect(env::var("REDIS_URL").as_deref().unwrap_or("memory:")).await?;
    // From outside in: who is not let in costs nothing of the rate.
    let layers = ServiceBuilder::new().layer(Signed).timeout(SECOND / 5).rate_limit(100, SECOND);
    let service = bus.serve(Studio).layer(layers).await?;

    println!("{}", (ThumbnailRequest { image: 7 }).request(&bus).header("user", "Ada").await?);
    for (user, image) in [(Some("Ada"), 13), (None, 7)] {
        let request = ThumbnailRequest { image };
        let mut request = request.request(&bus);
        if let Some(user) = user {
            request = request.header("user", user);
        }
        match request.await {
            Err(RequestError::Failed { reason, .. }) => println!("no thumbnail {image}: {reason}"),
            other => println!("unexpected: {other:?}"),
        }
    }
    service.shutdown().await?;
    Ok(())
}
