//! A service inside an HTTP server: an endpoint that asks it, server-sent events, and a shutdown that ends both.
//!
//! `cargo run --example axum_server`, or with `REDIS_URL=redis://…` through a server. Its own clients call it, and it ends by itself.

use std::{convert::Infallible, env, error::Error, net::SocketAddr, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::sse::{Event as SseEvent, Sse},
    routing::{get, post},
};
use futures_util::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use tidings::{Bus, Event, Message, Publish, RequestError, router};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinSet,
};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("parcels:<order>")]
struct ParcelPacked {
    order: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes")]
#[reply(Quote, error = UnknownSku)]
struct QuoteRequest {
    sku: String,
}

#[derive(Serialize, Deserialize)]
struct Quote {
    cents: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct UnknownSku;

struct Shop;

#[router]
impl Shop {
    #[handler]
    async fn placed(&self, order: OrderPlaced) -> Publish<ParcelPacked> {
        Publish::new(ParcelPacked { order: order.id })
    }

    #[handler]
    async fn quote(&self, request: QuoteRequest) -> Result<Quote, UnknownSku> {
        if request.sku == "engine" { Ok(Quote { cents: 125_000 }) } else { Err(UnknownSku) }
    }
}

/// `POST /quotes/engine`: asks whoever serves it, here or elsewhere.
async fn quote(State(bus): State<Bus>, Path(sku): Path<String>) -> Result<Json<Quote>, StatusCode> {
    match (QuoteRequest { sku }).request(&bus).timeout(Duration::from_secs(2)).await {
        Ok(quote) => Ok(Json(quote)),
        Err(RequestError::Answered(UnknownSku)) => Err(StatusCode::NOT_FOUND),
        Err(RequestError::TimedOut { .. }) => Err(StatusCode::GATEWAY_TIMEOUT),
        Err(_) => Err(StatusCode::SERVICE_UNAVAILABLE),
    }
}

/// `POST /orders/7`: publishes.
async fn order(State(bus): State<Bus>, Path(id): Path<u64>) -> StatusCode {
    match (OrderPlaced { id }).publish(&bus).await {
        Ok(_) => StatusCode::ACCEPTED,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// `GET /parcels`: a subscription for each client. It ends with the bus, and is unsubscribed when the client leaves.
async fn parcels(State(bus): State<Bus>) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, StatusCode> {
    let parcels = bus.subscribe(ParcelPacked::any()).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let events = parcels.filter_map(async |event| match event {
        Event::Message(parcel) => SseEvent::default().event("parcel").json_data(&parcel.message).ok().map(Ok),
        Event::Gap(_) | Event::Lagged(_) => Some(Ok(SseEvent::default().event("missed"))),
        _ => None,
    });
    Ok(Sse::new(events))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bus = Bus::connect(env::var("REDIS_URL").as_deref().unwrap_or("memory:")).await?;
    let service = bus.serve(Shop).await?;
    let app = Router::new()
        .route("/quotes/{sku}", post(quote))
        .route("/orders/{id}", post(order))
        .route("/parcels", get(parcels))
        .with_state(bus.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;

    // A real program waits for SIGTERM and Ctrl-C here, as `service.run_until_stopped()` does.
    let (stop, stopped) = oneshot::channel::<()>();
    let mut server = JoinSet::new();
    server.spawn(async move {
        let shutdown = async move {
            let _ = stopped.await;
            // Without this the server would wait for the stream of events for ever.
            if let Err(error) = bus.close_within(Duration::from_secs(10)).await {
                println!("unexpected: {error}");
            }
        };
        axum::serve(listener, app).with_graceful_shutdown(shutdown).await
    });

    println!("POST /quotes/engine: {}", post_to(address, "/quotes/engine").await?);
    println!("POST /quotes/loom: {}", post_to(address, "/quotes/loom").await?);
    let mut events = events_of(address, "/parcels").await?;
    println!("POST /orders/7: {}", post_to(address, "/orders/7").await?);
    while let Some(line) = events.next_line().await? {
        // The other lines are those of HTTP's chunks.
        if line.starts_with("data:") {
            println!("event of /parcels: {line}");
            break;
        }
    }

    drop(stop);
    while events.next_line().await?.is_some() {}
    println!("the stream has ended");
    while let Some(ended) = server.join_next().await {
        ended??;
    }
    service.shutdown().await?;
    println!("the server has stopped");
    Ok(())
}

/// The status and the body of an answer.
async fn post_to(address: SocketAddr, path: &str) -> Result<String, Box<dyn Error>> {
    let mut stream = ask(address, "POST", path, "close").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer of HTTP")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    Ok(format!("{status} {body}"))
}

/// A stream of events, once the server has begun it.
async fn events_of(address: SocketAddr, path: &str) -> Result<Lines<BufReader<TcpStream>>, Box<dyn Error>> {
    let mut lines = BufReader::new(ask(address, "GET", path, "keep-alive").await?).lines();
    while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}
    Ok(lines)
}

async fn ask(address: SocketAddr, method: &str, path: &str, connection: &str) -> Result<TcpStream, Box<dyn Error>> {
    let mut stream = TcpStream::connect(address).await?;
    let request =
        format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\nconnection: {connection}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}
