use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:views", completed = Done)]
struct View<'a> {
    path: &'a str,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("done")]
struct Done;

#[handler(idempotent, timeout = "2m")]
async fn view(_: View<'_>) {}

fn main() {}
