//! What a user writes for queues.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use tidings::{Address, Bus, ChannelParam, Delivery, Enqueue, Headers, Kind, Lease, Message, Outcome, Publish, Queue, Router, Rule, State, Turns, handler, router, routes};

#[derive(ChannelParam, Serialize, Deserialize, Clone, Copy, PartialEq)]
enum Priority {
    High,
    Normal,
    Low,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images:<priority>", strict = priority, lease = "1m", max_length = 100000, payload_limit = 1024)]
struct ResizeImage {
    priority: Priority,
    path: String,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:mail:<priority: Priority>", weighted = priority, weights = [6, 3, 1])]
struct SendMail {
    to: String,
    r#type: u8,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:regions:<region>:<rest..: Vec<String>>", bound, at_most_once)]
struct Ping {
    region: String,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:views")]
struct View<'a> {
    path: &'a str,
    number: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("resized:<path>")]
struct Resized {
    path: String,
}

#[derive(Debug, Outcome)]
enum ResizeError {
    #[outcome(retry)]
    DiskFull,
    #[outcome(retry_after = after)]
    Busy { after: Duration },
    #[outcome(retry_after = 1)]
    Waits(u8, Duration),
    #[outcome(dead_letter)]
    NoImage,
    #[outcome(discard)]
    TooOld,
}

#[derive(Debug, Outcome)]
#[outcome(retry_after = 0)]
struct Later<T>(Duration, T);

#[derive(Debug, Outcome)]
enum Never {}

impl<T> fmt::Display for Later<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("later")
    }
}

impl fmt::Display for ResizeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

impl std::error::Error for ResizeError {}

impl fmt::Display for Never {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

struct Images;

#[router]
impl Images {
    #[handler(idempotent, retries = 5, backoff = "1s..10m", crashes = 2, timeout = "2m", concurrency = 8)]
    async fn resize(&self, task: ResizeImage, lease: &Lease) -> Result<Enqueue<SendMail>, ResizeError> {
        if task.priority == Priority::Low {
            return Err(ResizeError::Busy { after: lease.remaining() });
        }
        let mail = SendMail { to: task.path, r#type: 1 };
        Ok(Enqueue::to(&SendMail::channel(Priority::Low), mail).delay(Duration::from_secs(60)).header("a", "b"))
    }

    #[handler(once = to, window = "1d", timeout = "2m", retries = 0)]
    async fn mail(&self, task: SendMail, delivery: &Delivery, _: Address<SendMail>) -> Result<(), Later<u8>> {
        if task.r#type == 0 { Err(Later(Duration::from_secs(delivery.attempt().into()), 0)) } else { Ok(()) }
    }

    #[handler(timeout = "none")]
    async fn ping(&self, _: Ping) -> Result<Option<(Publish<Resized>, Enqueue<ResizeImage>)>, &'static str> {
        Ok(None)
    }
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:pages")]
struct Page<'a> {
    path: &'a str,
}

#[handler(once = path, timeout = "10s")]
async fn once_by_borrowed_text(_: Page<'_>) {}

#[handler(once = number, timeout = "10s", spawn)]
async fn view(task: View<'_>, State(()): State<()>, _: &Headers) -> Vec<Enqueue<ResizeImage>> {
    let task = ResizeImage { priority: Priority::High, path: task.path.to_owned() };
    vec![Enqueue::new(task).deduplicate("a", Duration::from_secs(1)).expires_in(Duration::from_secs(9))]
}

#[handler]
async fn resized(broadcast: Resized) -> Result<(Enqueue<ResizeImage>, Enqueue<ResizeImage>), ResizeError> {
    let task = || Enqueue::new(ResizeImage { priority: Priority::High, path: broadcast.path.clone() });
    Ok((task(), task()))
}

mod once_by_id {
    use super::*;

    #[handler(once, timeout = "10s")]
    pub async fn view(_: View<'_>) -> Result<(), Never> {
        Ok(())
    }
}

#[expect(dead_code)]
fn enqueue(task: ResizeImage, mail: SendMail, bus: &Bus) {
    let _ = task.enqueue(bus);
    let _ = task.enqueue_to(ResizeImage::channel(Priority::Normal), bus);
    let _ = mail.enqueue_to(SendMail::channel(Priority::Low), bus);
}

fn is_queue<M: Queue>() -> bool {
    M::KIND == Kind::Queue
}

fn main() {
    assert!(is_queue::<ResizeImage>() && is_queue::<View<'_>>());
    let routes = Images::ROUTES;
    let images = routes[0].facts().queue().unwrap();
    assert_eq!(images.turns, Turns::Strict("priority"));
    assert_eq!((images.lease, images.max_length), (Duration::from_secs(60), Some(100_000)));
    assert_eq!((images.payload_limit, images.bound, images.at_most_once), (1024, false, false));
    let mail = routes[1].facts().queue().unwrap();
    assert_eq!(mail.turns, Turns::Weighted("priority", &[6, 3, 1]));
    assert_eq!((mail.lease, mail.payload_limit), (Duration::from_secs(30), 256 * 1024));
    let ping = routes[2].facts().queue().unwrap();
    assert!(ping.bound && ping.at_most_once && ping.turns == Turns::Equal);
    let options = routes[0].options();
    assert_eq!((options.work.retries, options.work.crashes), (5, 2));
    assert_eq!(options.work.backoff, (Duration::from_secs(1), Duration::from_secs(600)));
    assert!(options.timeout.is_some() && !options.unlimited && routes[2].options().unlimited);

    assert_eq!(ResizeError::DiskFull.rule(), Rule::Retry);
    assert_eq!(ResizeError::Waits(0, Duration::from_secs(3)).rule(), Rule::RetryAfter(Duration::from_secs(3)));
    assert_eq!(Box::new(ResizeError::NoImage).rule(), Rule::DeadLetter);
    assert_eq!(ResizeError::TooOld.rule(), Rule::Discard);
    assert_eq!(Later(Duration::from_secs(4), "a").rule(), Rule::RetryAfter(Duration::from_secs(4)));

    let _ = (routes![view, resized].with_state(()), routes![once_by_id::view].with_state(()));
}
