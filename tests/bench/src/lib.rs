//! Measures tidings beside a program written by hand on the `redis` crate, and beside other clients.
//!
//! Every figure comes from whole programs: child processes of this one, which take turns, so that what else the machine does
//! meets all of them alike. See `docs/benchmarks.md`.

#![expect(clippy::expect_used, reason = "a measurement that fails has nothing to clean up")]

mod dispatch;
mod latency;
pub mod measure;
mod memory;
mod order;
mod peers;
mod publish;
mod request;
mod routes;
mod server;
mod subscribe;
mod subscriptions;
mod table;
mod work;

use order::Form;

/// `table [--short] …` measures everything; `child …` is one run of one program.
pub fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["child", work, program, url, messages, form] => child(work, program, url, messages, form),
        ["table", ref options @ ..] => table::print(options),
        _ => eprintln!("usage: table [--short] [--instructions] [--only W1,W2,…]"),
    }
}

fn child(work: &str, program: &str, url: &str, messages: &str, form: &str) {
    let messages = messages.parse().expect("a number");
    let form = Form::parse(form);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let report = runtime.block_on(async {
        // In a task, as programs do: the main thread's future is polled differently.
        let (work, program, url) = (work.to_owned(), program.to_owned(), url.to_owned());
        let task = tokio::spawn(async move {
            match work.as_str() {
                "subscribe" => subscribe::run(&program, &url, messages, form).await,
                "routes" => routes::run(&program, &url, messages).await,
                "subscriptions" => subscriptions::run(&program, &url, messages).await,
                "memory" => memory::run(&program, &url, messages).await,
                "publish" => publish::run(&program, &url, messages, form, 1).await,
                "publish64" => publish::run(&program, &url, messages, form, 64).await,
                "batches" => publish::run_in_batches(&program, &url, messages, form, publish::LARGE, false).await,
                "atomic" => publish::run_in_batches(&program, &url, messages, form, publish::LARGE, true).await,
                "atomic3" => publish::run_in_batches(&program, &url, messages, form, publish::SMALL, true).await,
                "request" => request::run(&program, &url, messages, 1).await,
                "request64" => request::run(&program, &url, messages, 64).await,
                "latency" => latency::run(&program, &url, messages).await,
                other => panic!("no such work: {other}"),
            }
        });
        task.await.expect("the program finishes")
    });
    println!("{}", serde_json::to_string(&report).expect("a report can be written"));
}
