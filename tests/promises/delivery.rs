//! What is published after `subscribe` or `serve` returned arrives, and the receipt says how many it was passed to.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
};

use futures_util::StreamExt;
use tidings::{Bus, Received, router};
use tidings_tests::{Recorder, RedisServer, on_each};

use crate::support::{News, Step, message, messages, received};

struct Listener {
    seen: Recorder<u64>,
}

#[router]
impl Listener {
    #[handler]
    async fn news(&self, news: News) {
        self.seen.record(news.n);
    }

    #[handler]
    async fn step(&self, step: Step) {
        self.seen.record(step.n);
    }
}

on_each! {
    async fn a_channel_is_live_when_subscribe_returns(world: World) {
        let (bus, publisher) = (world.bus().await, world.bus().await);
        for n in 0..300 {
            let mut steps = bus.subscribe(Step::channel(n % 7)).await.unwrap();
            Step { line: n % 7, n }.publish(&publisher).await.unwrap();
            assert_eq!(message(&mut steps).await.n, n);
        }
    }

    async fn a_message_that_is_detached_keeps_all_that_is_known_of_it(world: World) {
        let (bus, publisher) = (world.bus().await, world.bus().await);
        let mut news = bus.subscribe(News::channel()).await.unwrap();
        News { n: 7 }.publish(&publisher).header("from", "here").await.unwrap();
        let mut kept = received(&mut news).await;
        let known = |received: &Received<News>| {
            let delivery = &received.delivery;
            let headers: Vec<String> = delivery.headers().iter().map(|(name, value)| format!("{name}={value}")).collect();
            (delivery.channel().to_owned(), delivery.payload().to_vec(), delivery.id().map(str::to_owned), headers)
        };
        let before = known(&kept);
        assert_eq!((before.0.as_str(), before.2.is_some(), before.3.as_slice()), ("news", true, &["from=here".to_owned()][..]));
        kept.detach();
        assert_eq!(known(&kept), before);
        assert_eq!(kept.n, 7);
    }

    async fn a_pattern_is_live_when_subscribe_returns(world: World) {
        let (bus, publisher) = (world.bus().await, world.bus().await);
        for n in 0..300 {
            let mut steps = bus.subscribe(Step::any()).await.unwrap();
            Step { line: n, n }.publish(&publisher).await.unwrap();
            assert_eq!(message(&mut steps).await.n, n);
        }
    }

    async fn every_handler_is_live_when_serve_returns(world: World) {
        let (bus, publisher) = (world.bus().await, world.bus().await);
        for n in 0..100 {
            let seen = Recorder::new();
            let service = bus.serve(Listener { seen: seen.clone() }).await.unwrap();
            Step { line: n, n }.publish(&publisher).await.unwrap();
            News { n: 1_000 + n }.publish(&publisher).await.unwrap();
            assert_eq!(seen.wait_for(2).await, [n, 1_000 + n]);
            drop(service);
        }
    }

    async fn everybody_who_listens_gets_each_message(world: World) {
        let mut subscriptions = Vec::new();
        for _ in 0..3 {
            let bus = world.bus().await;
            subscriptions.push(bus.subscribe(Step::channel(1)).await.unwrap());
            subscriptions.push(bus.subscribe(Step::channel(1)).await.unwrap());
            subscriptions.push(bus.subscribe(Step::any()).await.unwrap());
        }
        let publisher = world.bus().await;
        let sent: Vec<_> = (0..50).map(|n| Step { line: 1, n }).collect();
        for step in &sent {
            step.publish(&publisher).await.unwrap();
        }
        for steps in &mut subscriptions {
            assert_eq!(messages(steps, sent.len()).await, sent);
        }
    }

    async fn what_is_published_before_is_not_delivered_after(world: World) {
        let bus = world.bus().await;
        News { n: 1 }.publish(&bus).await.unwrap();
        world.settle().await;
        let mut news = bus.subscribe(News::channel()).await.unwrap();
        News { n: 2 }.publish(&bus).await.unwrap();
        assert_eq!(message(&mut news).await.n, 2);
    }

    async fn a_receipt_counts_connections_and_matching_patterns(world: World) {
        let (one, other) = (world.bus().await, world.bus().await);
        let step = Step { line: 1, n: 0 };
        let receivers = async || step.publish(&one).await.unwrap().receivers;
        assert_eq!(receivers().await, world.receivers(0));

        let _first = one.subscribe(Step::channel(1)).await.unwrap();
        assert_eq!(receivers().await, world.receivers(1));
        // The same channel on the same connection counts once, another channel not at all.
        let _second = one.subscribe(Step::channel(1)).await.unwrap();
        let _elsewhere = one.subscribe(Step::channel(2)).await.unwrap();
        assert_eq!(receivers().await, world.receivers(1));
        // A pattern on the same connection counts again.
        let _pattern = one.subscribe(Step::any()).await.unwrap();
        assert_eq!(receivers().await, world.receivers(2));
        let _service = other.serve(Listener { seen: Recorder::new() }).await.unwrap();
        assert_eq!(receivers().await, world.receivers(3));
        let _exact = other.subscribe(Step::channel(1)).await.unwrap();
        assert_eq!(receivers().await, world.receivers(4));
    }

    async fn a_subscription_is_a_stream(world: World) {
        let bus = world.bus().await;
        let news = bus.subscribe(News::channel()).await.unwrap();
        for n in 0..10 {
            News { n }.publish(&bus).await.unwrap();
        }
        let numbers = news.filter_map(async |event| event.into_message().map(|news| news.n)).take(10);
        assert_eq!(numbers.collect::<Vec<_>>().await, (0..10).collect::<Vec<_>>());
    }

    async fn a_large_payload_arrives_whole(world: World) {
        let bus = world.bus().await;
        let mut blobs = bus.subscribe(Blob::channel()).await.unwrap();
        let sent = Blob { text: "tidings ".repeat(1024 * 1024) };
        sent.publish(&bus).await.unwrap();
        // Compared without `assert_eq`, which would print both.
        assert!(message(&mut blobs).await.text == sent.text, "8 MiB arrived changed");
    }

    async fn a_subscription_outlives_the_handle_it_was_made_with(world: World) {
        let publisher = world.bus().await;
        let bus = world.bus().await;
        let mut news = bus.subscribe(News::channel()).await.unwrap();
        let seen = Recorder::new();
        let _service = bus.serve(Listener { seen: seen.clone() }).await.unwrap();
        drop(bus);
        News { n: 7 }.publish(&publisher).await.unwrap();
        assert_eq!(message(&mut news).await.n, 7);
        assert_eq!(seen.wait_for(1).await, [7]);
    }
}

#[derive(Debug, tidings::Message, serde::Serialize, serde::Deserialize)]
#[channel("blobs")]
struct Blob {
    text: String,
}

/// A subscriber of another program, which reads when it is asked to.
struct Beside(BufReader<TcpStream>);

impl Beside {
    fn subscribe(server: &RedisServer, channel: &str) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
        stream.write_all(format!("SUBSCRIBE {channel}\r\n").as_bytes()).unwrap();
        let mut subscriber = Self(BufReader::new(stream));
        subscriber.skip_lines(6);
        subscriber
    }

    /// Whether something has arrived.
    fn has_mail(&self) -> bool {
        let stream = self.0.get_ref();
        stream.set_nonblocking(true).unwrap();
        let has_mail = matches!(stream.peek(&mut [0]), Ok(1));
        stream.set_nonblocking(false).unwrap();
        has_mail
    }

    fn read_message(&mut self) {
        self.skip_lines(7);
    }

    fn skip_lines(&mut self, lines: usize) {
        for _ in 0..lines {
            self.0.read_line(&mut String::new()).unwrap();
        }
    }
}

/// That is for speed, and no promise. Only a real server writes to one after the other, which takes it so long for so many that a publisher with the
/// receipt would find some without the message, in a third of the rounds at least.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_comes_alone_is_with_its_subscribers_when_its_publisher_has_the_receipt() {
    const SUBSCRIBERS: u64 = 300;
    const ROUNDS: u64 = 100;
    let server = RedisServer::start().await;
    let bus = Bus::connect(&server.url()).await.unwrap();
    let mut subscribers: Vec<_> = (0..SUBSCRIBERS).map(|_| Beside::subscribe(&server, "news")).collect();
    let mut in_time = 0;
    for n in 0..ROUNDS {
        assert_eq!(News { n }.publish(&bus).await.unwrap().receivers, Some(SUBSCRIBERS));
        in_time += u64::from(subscribers.iter().all(Beside::has_mail));
        subscribers.iter_mut().for_each(Beside::read_message);
    }
    // The machine may bring what was written in another order, but seldom.
    assert!(in_time >= ROUNDS - 3, "in {in_time} of {ROUNDS}");
}
