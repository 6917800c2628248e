use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<total>:<coupon>:<lines>:<place>:<nothing>")]
struct Fields {
    total: f64,
    coupon: Option<String>,
    lines: Vec<u64>,
    place: (u8, u8),
    nothing: (),
}

#[derive(Message, Serialize, Deserialize)]
#[channel("chat:<room: &str>")]
struct Borrowed {
    text: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("chat:<room: str>")]
struct WithoutSize {
    text: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("chat:<room: Option<std::string::String>>")]
struct Optional {
    text: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("chat:<rooms: Vec<String>>")]
struct Several {
    text: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("chat:<rooms..: Option<String>>")]
struct OptionalRest {
    text: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("chat:<room: impl ToString>")]
struct Any {
    text: String,
}

fn main() {}
