use std::{cell::{Cell, RefCell}, rc::Rc, sync::MutexGuard};

use serde::{Deserialize, Serialize};
use tidings::Message;

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
    #[serde(skip)]
    customer: Rc<String>,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("seen:<room: u64>")]
struct Seen {
    times: Cell<u64>,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("chat:<room: u64>")]
enum ChatEvent {
    Join,
    Said { words: Vec<RefCell<String>> },
}

#[derive(Message, Serialize, Deserialize)]
#[channel("quotes:<sku>")]
#[reply(u64)]
struct QuoteRequest {
    sku: String,
    #[serde(skip)]
    place: Option<*const u8>,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:resize", results = "1h")]
#[reply(u64)]
struct Resize<'a> {
    path: &'a str,
    #[serde(skip)]
    guard: Option<MutexGuard<'a, u64>>,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("told")]
struct Told {
    #[serde(skip)]
    function: Option<Box<dyn Fn() + Send>>,
}

fn main() {}
