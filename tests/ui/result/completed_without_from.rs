use serde::{Deserialize, Serialize};
use tidings::{Ended, Message, handler, routes};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images", completed = Done, failed = Failed)]
struct ResizeImage {
    path: String,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:mails")]
struct SendMail {
    to: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("done")]
struct Done;

#[derive(Message, Serialize, Deserialize)]
#[channel("failed")]
struct Failed;

// Of another task.
impl From<Ended<'_, SendMail>> for Failed {
    fn from(_: Ended<'_, SendMail>) -> Self {
        Self
    }
}

// The handler gives no further error.
#[handler(idempotent, timeout = "2m")]
async fn resize(_: ResizeImage) {}

fn main() {
    let _ = routes![resize];
}
