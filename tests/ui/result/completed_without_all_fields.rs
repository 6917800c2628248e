use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:images", completed = Done)]
struct ResizeImage {
    path: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("done:<id: String>")]
struct Done;

fn main() {}
