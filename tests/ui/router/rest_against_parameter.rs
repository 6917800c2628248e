use serde::{Deserialize, Serialize};
use tidings::{Message, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("logs:<path..>")]
struct Log {
    path: Vec<String>,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("logs:<name>")]
struct LogOf {
    name: String,
}

struct Shop;

#[router]
impl Shop {
    #[handler]
    async fn log(&self, _message: Log) {}

    #[handler]
    async fn log_of(&self, _message: LogOf) {}
}

fn main() {}
