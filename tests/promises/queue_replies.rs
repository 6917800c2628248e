//! What a handler of a task returns where its result is kept: the reply, what follows with it, and an error that says what is to become of the task.

use serde::{Deserialize, Serialize};
use tidings::{Bus, DeadReason, Delivery, Ended, Enqueue, Message, NoError, Outcome, Publish, Results, router};
use tidings_tests::{Recorder, eventually, on_each};

use crate::support::{News, SOON, message};

#[derive(Clone, Debug, Message, Serialize, Deserialize)]
#[queue("replies:resize", lease = "1s", results = "1h", payload_limit = 400, completed = Completed)]
#[reply(Resized, error = ResizeError)]
struct Resize {
    path: String,
    bytes: usize,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Resized {
    image: String,
}

#[derive(Debug, Serialize, Deserialize, Outcome, thiserror::Error)]
enum ResizeError {
    #[outcome(retry)]
    #[error("the disk is full")]
    DiskFull,
    #[outcome(dead_letter)]
    #[error("{path} is no image")]
    NoImage { path: String },
    #[outcome(discard)]
    #[error("too old")]
    TooOld,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[queue("replies:compress", lease = "1s", results = "1h")]
#[reply(u64)]
struct Compress {
    path: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("replies:completed:<id>")]
struct Completed {
    id: String,
}

impl From<Ended<'_, Resize>> for Completed {
    fn from(ended: Ended<'_, Resize>) -> Self {
        Self { id: ended.id().to_owned() }
    }
}

#[derive(Clone, Default)]
struct Images {
    attempts: Recorder<(String, u32)>,
    compressed: Recorder<String>,
}

#[router]
impl Images {
    #[handler(idempotent, timeout = "10s", retries = 1, backoff = "1ms..2ms")]
    async fn resize(
        &self,
        task: Resize,
        delivery: &Delivery,
    ) -> Result<(Resized, Enqueue<Compress>, Publish<News>), ResizeError> {
        let Resize { path, bytes } = task;
        self.attempts.record((path.clone(), delivery.attempt()));
        match path.as_str() {
            "full" if delivery.failures() == 0 => Err(ResizeError::DiskFull),
            "text" => Err(ResizeError::NoImage { path: "x".repeat(bytes) }),
            "old" => Err(ResizeError::TooOld),
            _ => {
                let image = "x".repeat(bytes);
                Ok((Resized { image }, Enqueue::new(Compress { path }), Publish::new(News { n: bytes as u64 })))
            }
        }
    }

    #[handler(idempotent, timeout = "10s", retries = 0)]
    async fn compress(&self, task: Compress) -> Result<u64, &'static str> {
        self.compressed.record(task.path);
        Ok(7)
    }
}

async fn enqueue(bus: &Bus, path: &str, bytes: usize) {
    Resize { path: path.to_owned(), bytes }.enqueue(bus).await.unwrap();
}

fn keeps<M: Results<Output = O, Error = E>, O, E>() -> bool {
    M::FACTS.queue().is_some_and(|queue| queue.results.is_some())
}

on_each! {
    async fn what_follows_is_done_beside_a_reply(world: World) {
        assert!(keeps::<Resize, Resized, ResizeError>() && keeps::<Compress, u64, NoError>());
        let bus = world.bus().await;
        let mut news = bus.subscribe(News::any()).await.unwrap();
        let images = Images::default();
        let service = bus.serve(images.clone()).await.unwrap();
        enqueue(&bus, "cat", 3).await;
        enqueue(&bus, "full", 4).await;
        images.compressed.wait_for(2).await;
        let mut told = [message(&mut news).await.n, message(&mut news).await.n];
        told.sort_unstable();
        assert_eq!(told, [3, 4]);
        eventually(SOON, async || bus.queue::<Resize>().counts().await.unwrap().ended.completed == 2).await;
        eventually(SOON, async || bus.queue::<Compress>().counts().await.unwrap().ended.completed == 2).await;
        let mut attempts = images.attempts.all();
        attempts.sort_unstable();
        assert_eq!(attempts, [("cat".to_owned(), 1), ("full".to_owned(), 1), ("full".to_owned(), 2)]);
        service.shutdown().await.unwrap();
    }

    async fn a_typed_error_says_what_is_to_become_of_its_task(world: World) {
        let bus = world.bus().await;
        let images = Images::default();
        let service = bus.serve(images.clone()).await.unwrap();
        let queue = bus.queue::<Resize>();
        enqueue(&bus, "old", 0).await;
        eventually(SOON, async || queue.counts().await.unwrap().ended.discarded == 1).await;
        enqueue(&bus, "text", 3).await;
        eventually(SOON, async || queue.counts().await.unwrap().dead == 1).await;
        // One that is too large to be kept decides all the same.
        enqueue(&bus, "text", 500).await;
        eventually(SOON, async || queue.counts().await.unwrap().dead == 2).await;
        let letters = queue.dead_letters().await.unwrap();
        let errors: Vec<_> = letters.iter().map(|letter| (letter.reason, letter.error.as_deref().unwrap())).collect();
        assert_eq!(errors[1], (DeadReason::Refused, "xxx is no image"));
        assert_eq!(errors[0].0, DeadReason::Refused);
        let kept = "is no image (the error itself cannot be kept: it has 523 bytes, and `payload_limit` of `replies:resize` is 400)";
        assert!(errors[0].1.ends_with(kept), "{}", errors[0].1);
        assert_eq!(images.attempts.len(), 3);
        service.shutdown().await.unwrap();
    }

    async fn a_reply_that_is_too_large_fails_the_attempt_and_nothing_follows(world: World) {
        let bus = world.bus().await;
        let images = Images::default();
        let service = bus.serve(images.clone()).await.unwrap();
        let queue = bus.queue::<Resize>();
        enqueue(&bus, "huge", 500).await;
        eventually(SOON, async || queue.counts().await.unwrap().dead == 1).await;
        let letters = queue.dead_letters().await.unwrap();
        let expected = "the reply cannot be kept: it has 512 bytes, and `payload_limit` of `replies:resize` is 400";
        assert_eq!((letters[0].reason, letters[0].error.as_deref()), (DeadReason::Failed, Some(expected)));
        assert_eq!((images.attempts.len(), images.compressed.len()), (2, 0));
        service.shutdown().await.unwrap();
    }
}
