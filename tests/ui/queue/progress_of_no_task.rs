use serde::{Deserialize, Serialize};
use tidings::{Message, Progress, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[handler]
async fn placed(_: OrderPlaced, progress: Progress) {
    progress.report(0.5, "half");
}

fn main() {}
