use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::{ChannelParam, Message, Outcome, handler};

#[derive(ChannelParam, Serialize, Deserialize, Clone, Copy)]
enum Priority {
    High,
    Low,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:a:<priority>", weighted = priority, weights = { High: 6, Low: 1 }, lease = Duration::from_secs(30))]
struct WeightsByName {
    priority: Priority,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:b", lease("1m"))]
struct InParentheses {
    path: String,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:c", lease: "1m")]
struct BehindAColon {
    path: String,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:d", lease = 30 seconds, max_length = 10 * 1000, results = 1h)]
#[reply(u64)]
struct WithUnits {
    path: String,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:e", results = "1h", reply = u64)]
struct ReplyAsOption {
    path: String,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:f", dead_letters(count = 1000, bytes = 65536))]
struct OptionsInAnOption {
    path: String,
}

#[handler(once = task.path, timeout = "2m")]
async fn field_of_the_message(task: InParentheses) {
    drop(task);
}

#[handler(once(path), timeout = "2m")]
async fn in_parentheses(_: InParentheses) {}

#[handler(idempotent, timeout = 2 minutes, backoff = ["1s", "10m"], filter = )]
async fn with_units(_: InParentheses) {}

#[handler(idempotent(true), retry(max = 3), timeout("2m"))]
async fn in_other_parentheses(_: InParentheses) {}

#[handler("idempotent", timeout = "2m")]
async fn in_quotes(_: InParentheses) {}

#[derive(Debug, Outcome, thiserror::Error)]
enum ResizeError {
    #[outcome(retry_after(after))]
    #[error("busy")]
    Busy { after: Duration },
    #[outcome(retry(after = after))]
    #[error("full")]
    Full { after: Duration },
    #[outcome = "retry"]
    #[error("slow")]
    Slow,
}

fn main() {}
