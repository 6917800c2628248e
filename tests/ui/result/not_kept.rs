use serde::{Deserialize, Serialize};
use tidings::{Ended, Message, Results, handler};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images", completed = Done)]
struct ResizeImage {
    path: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("done")]
struct Done;

impl From<Ended<'_, ResizeImage>> for Done {
    fn from(ended: Ended<'_, ResizeImage>) -> Self {
        let _ = ended.result();
        Self
    }
}

#[handler(idempotent, timeout = "2m")]
async fn resize(_: ResizeImage) -> u64 {
    1
}

fn keeps<M: Results>() {}

fn main() {
    keeps::<ResizeImage>();
}
