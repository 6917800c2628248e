//! Measures tidings beside a program written by hand on the `redis` crate, and beside other clients.
//!
//! Every figure comes from whole programs: child processes of this one, which take turns, so that what else the machine does
//! meets all of them alike. See `docs/benchmarks.md`.

#![expect(clippy::expect_used, reason = "a measurement that fails has nothing to clean up")]

mod by_hand;
mod child;
mod column;
mod dispatch;
mod idle;
mod latency;
pub mod measure;
mod memory;
mod order;
mod pair;
mod peers;
mod publish;
mod queue;
mod request;
mod routes;
mod server;
mod subscribe;
mod subscriptions;
mod table;
mod work;

/// `table [--short] …` measures everything; `child …` is one run of one program, and `dispatch …` all of W5.
pub fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["child", task] => child::perform(task),
        ["dispatch", divisor] => dispatch::perform(divisor),
        ["table", ref options @ ..] => table::print(options),
        _ => eprintln!("usage: table [--short] [--rounds N] [--only W1,W2,…] [--calls] [--instructions]"),
    }
}
