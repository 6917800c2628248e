//! Options of queues, of their handlers and of their errors through every kind of fragment that a `macro_rules!` can take them as.

#![deny(warnings)]
#![allow(dead_code)]

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::{Bus, ChannelParam, Ended, Enqueue, Lease, Message, Outcome, Progress, Router, Turns, handler, router, routes};

#[derive(ChannelParam, Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Priority {
    High,
    Low,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("ended")]
pub struct Over;

macro_rules! queue {
    (literals $name:ident, $queue:literal, $lease:literal, $length:literal, $limit:literal, $results:literal, $count:literal, $bytes:literal) => {
        #[derive(Message, Serialize, Deserialize)]
        #[queue($queue, lease = $lease, max_length = $length, payload_limit = $limit, results = $results, results_count = $count, results_bytes = $bytes)]
        #[reply(u64)]
        pub struct $name {
            id: u64,
        }
    };
    (expressions $name:ident, $queue:expr, $turns:expr, $weights:expr, $lease:expr, $length:expr, $limit:expr, $results:expr, $count:expr, $bytes:expr, $over:expr, $reply:expr, $error:expr) => {
        #[derive(Message, Serialize, Deserialize)]
        #[queue($queue, weighted = $turns, weights = $weights, lease = $lease, max_length = $length, payload_limit = $limit, results = $results, results_count = $count, results_bytes = $bytes, completed = $over, failed = $over)]
        #[reply($reply, error = $error)]
        pub struct $name {
            priority: Priority,
            path: String,
        }
    };
    (types $name:ident, $queue:tt, $turns:ident, [$($weight:literal),*], $over:ty, $failed:path, $reply:ty, $error:ty) => {
        #[derive(Message, Serialize, Deserialize)]
        #[queue($queue, weighted = $turns, weights = [$($weight),*], results = "1h", completed = $over, failed = $failed)]
        #[reply($reply, error = $error)]
        pub struct $name {
            $turns: Priority,
        }
    };
    (metas $(#[$meta:meta])* $name:ident, $field:ident: $ty:ty) => {
        #[derive(Message, Serialize, Deserialize)]
        $(#[$meta])*
        pub struct $name {
            $field: $ty,
        }
    };
    (tokens $name:ident, $queue:tt $($options:tt)*) => {
        #[derive(Message, Serialize, Deserialize)]
        #[queue($queue $($options)*)]
        pub struct $name {
            priority: Priority,
        }
    };
}

queue!(literals Literals, "literals", "1m", 7, 1024, "1h", 7, 4096);
queue!(expressions Expressions, "expressions:<priority>", priority, [6, 1], "1m", 7, 1024, "1h", 7, 4096, crate::Over, u64, Trouble);
queue!(types Types, "types:<priority>", priority, [6, 1], crate::Over, crate::Over, Option<Vec<u64>>, Box<Trouble>);
queue!(metas #[queue("metas:<priority>", strict = priority, lease = "1m", at_most_once)] Metas, priority: Priority);
queue!(tokens Tokens, "tokens:<priority>", strict = priority, bound);

macro_rules! over {
    ($($task:ty),*) => {
        $(impl From<Ended<'_, $task>> for Over {
            fn from(_: Ended<'_, $task>) -> Self {
                Self
            }
        })*
    };
}
over!(Expressions, Types);

macro_rules! errors {
    ($name:ident, $rule:ident, $option:ident = $field:ident, $place:literal, $other:meta) => {
        #[derive(Debug, Serialize, Deserialize, Outcome, thiserror::Error)]
        pub enum $name {
            #[error("full")]
            #[outcome($rule)]
            Full,
            #[error("busy")]
            #[outcome($option = $field)]
            Busy { $field: Duration },
            #[error("waits")]
            #[outcome(retry_after = $place)]
            Waits(u8, Duration),
            #[error("other")]
            #[outcome($other)]
            Other,
        }
    };
}
errors!(Trouble, retry, retry_after = after, 1, dead_letter);

macro_rules! handlers {
    (literals $name:ident, $task:ty, $timeout:literal, $retries:literal, $backoff:literal, $crashes:literal, $concurrency:literal) => {
        #[handler(idempotent, timeout = $timeout, retries = $retries, backoff = $backoff, crashes = $crashes, concurrency = $concurrency)]
        pub async fn $name(task: $task, _: Progress, _: &Lease) -> (u64, Enqueue<Literals>) {
            (task.id, Enqueue::new(task))
        }
    };
    (expressions $name:ident, $task:path, $once:expr, $window:expr, $timeout:expr, $retries:expr, $backoff:expr, $crashes:expr, $result:ty) => {
        #[handler(once = $once, window = $window, timeout = $timeout, retries = $retries, backoff = $backoff, crashes = $crashes)]
        pub async fn $name(task: $task) -> $result {
            let _ = task.priority;
            Ok(7)
        }
    };
    (idents $name:ident, $task:ident, $stance:ident, $option:ident = $timeout:tt, $result:ty) => {
        #[handler($stance, $option = $timeout)]
        pub async fn $name(_: $task) -> $result {
            Ok(None)
        }
    };
    (metas $name:ident, $task:ty, $($option:meta),*) => {
        #[handler($($option),*)]
        pub async fn $name(_: $task) {}
    };
}
handlers!(literals literals, Literals, "1m", 3, "1s..10m", 2, 8);
handlers!(expressions expressions, crate::Expressions, path, "1d", "1m", 3, "1s..10m", 2, Result<u64, Trouble>);
handlers!(idents types, Types, once, timeout = "none", Result<Option<Vec<u64>>, Box<Trouble>>);
handlers!(metas metas, Metas, timeout = "1m", concurrency = 3);
handlers!(metas tokens, Tokens, idempotent, timeout = "1m", backoff = "1s..2s");

macro_rules! router {
    ($type:ident, $stance:ident = $field:ident, $($name:ident: $task:ty => $result:ty = $reply:expr),*) => {
        pub struct $type;

        #[router]
        impl $type {
            $(
                #[handler($stance = $field, timeout = "1m")]
                async fn $name(&self, task: $task) -> $result {
                    let _ = task.id;
                    $reply
                }
            )*
        }
    };
}
router!(Images, once = id, literals: Literals => u64 = 7);

fn main() {
    assert_eq!((Literals::QUEUE.unwrap().lease, Literals::QUEUE.unwrap().payload_limit), (Duration::from_secs(60), 1024));
    assert_eq!(Expressions::QUEUE.unwrap().turns, Turns::Weighted("priority", &[6, 1]));
    assert_eq!(Types::QUEUE.unwrap().turns, Turns::Weighted("priority", &[6, 1]));
    assert!(Metas::QUEUE.unwrap().at_most_once && Tokens::QUEUE.unwrap().bound);
    assert_eq!(Images::ROUTES.len(), 1);
    let _ = |bus: Bus| bus.serve(routes![literals, expressions, types, metas, tokens]);
}
