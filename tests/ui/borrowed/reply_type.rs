use serde::{Deserialize, Serialize};
use tidings::{Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("ask")]
#[reply(u64)]
struct Ask<'a> {
    word: &'a str,
}

#[handler]
async fn asked(ask: Ask<'_>) -> String {
    ask.word.to_owned()
}

fn main() {}
