use serde::{Deserialize, Serialize};
use tidings::{Bus, Ended, Enqueue, Message, Outcome, Results, handler, router, routes};

#[derive(Serialize, Deserialize)]
struct Resized;

#[derive(Debug, Serialize, Deserialize, Outcome, thiserror::Error)]
#[error("no image")]
#[outcome(dead_letter)]
struct ResizeError;

// One mistake in the channel gives one error, however the task and its result are used.
#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:*", results = "1h", completed = Done)]
#[reply(Resized, error = ResizeError)]
struct ResizeImage {
    path: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("done")]
struct Done {
    kept: bool,
}

impl From<Ended<'_, ResizeImage>> for Done {
    fn from(ended: Ended<'_, ResizeImage>) -> Self {
        let _: Option<ResizeError> = ended.typed_error();
        Self { kept: ended.result().is_some_and(|Resized| ended.task().path.is_empty()) }
    }
}

#[handler(idempotent, timeout = "2m")]
async fn resize(task: ResizeImage) -> Result<(Resized, Enqueue<ResizeImage>), ResizeError> {
    if task.path.is_empty() { Err(ResizeError) } else { Ok((Resized, Enqueue::new(task))) }
}

struct Images;

#[router]
impl Images {
    #[handler(idempotent, timeout = "2m")]
    async fn resize(&self, _: ResizeImage) -> Resized {
        Resized
    }
}

fn keeps<M: Results<Output = Resized, Error = ResizeError>>(_: M) {}

async fn serve(bus: &Bus, task: ResizeImage) {
    let _service = bus.serve(routes![resize]).await.unwrap();
    let _service = bus.serve(Images).await.unwrap();
    let _ = task.enqueue(bus);
    keeps(task);
}

fn main() {}
