//! One run of one program: what its process is told, what that does, and who starts it.

use std::{
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};

use crate::{
    idle, latency,
    measure::Report,
    memory,
    order::{Form, Order},
    pair, publish, queue, request, routes,
    server::{Burst, Place, Redis},
    subscribe, subscriptions,
    work::{Program, Work},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Subscribe,
    Routes,
    Subscriptions,
    Memory,
    Publish,
    Batches,
    Atomic,
    /// Asks another process, which does `Answer`.
    Request,
    Answer,
    /// Asks and answers.
    OneProcess,
    Latency,
    /// Works off a queue.
    Drain,
    /// Fills a queue.
    Fill,
    /// Waits at a queue that is nearly always empty.
    PickUp,
    /// Serves what nobody sends.
    Idle,
}

/// The runtime of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Threads {
    /// What `tokio::main` makes: a thread for each processor.
    Default,
    Two,
    /// `current_thread`.
    Current,
}

/// What a process is told, as JSON.
#[derive(Serialize, Deserialize)]
struct Task {
    kind: Kind,
    program: String,
    url: String,
    messages: u64,
    form: Form,
    at_once: u64,
    threads: Threads,
}

/// Does what it is told, and prints the report.
pub fn perform(task: &str) {
    let task: Task = serde_json::from_str(task).expect("a task");
    let runtime = task.threads.runtime();
    // In a tokio task, as programs do: the main thread's future is polled differently.
    let report = runtime.block_on(async { tokio::spawn(task.run()).await.expect("the program finishes") });
    println!("{}", serde_json::to_string(&report).expect("a report can be written"));
}

impl Task {
    async fn run(self) -> Report {
        let Self { kind, program, url, messages, form, at_once, threads: _ } = &self;
        let (messages, form, at_once) = (*messages, *form, *at_once);
        match kind {
            Kind::Subscribe => subscribe::run(program, url, messages, form).await,
            Kind::Routes => routes::run(program, url, messages).await,
            Kind::Subscriptions => subscriptions::run(program, url, messages).await,
            Kind::Memory => memory::run(program, url, messages).await,
            Kind::Publish => publish::run(program, url, messages, form, at_once).await,
            Kind::Batches => publish::run_in_batches(program, url, messages, form, at_once, false).await,
            Kind::Atomic => publish::run_in_batches(program, url, messages, form, at_once, true).await,
            Kind::Request => pair::ask(program, url, messages, at_once).await,
            Kind::Answer => pair::answer(program, url).await,
            Kind::OneProcess => request::run(program, url, messages, at_once).await,
            Kind::Latency => latency::run(program, url, messages).await,
            Kind::Drain => queue::drain(program, url, messages, at_once).await,
            Kind::Fill => queue::fill(program, url, messages, at_once).await,
            Kind::PickUp => queue::pick_up(program, url, messages).await,
            Kind::Idle => idle::run(program, url, messages).await,
        }
    }
}

impl Threads {
    fn runtime(self) -> Runtime {
        let runtime = match self {
            Self::Default => Runtime::new(),
            Self::Two => Builder::new_multi_thread().worker_threads(2).enable_all().build(),
            Self::Current => Builder::new_current_thread().enable_all().build(),
        };
        runtime.expect("a runtime")
    }
}

/// What is observed of a process from outside.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Timed,
    Allocations,
    Instructions,
    Calls,
}

/// What is counted with `perf stat`: it counts in the kernel and hardly slows a program. `strace` stops it at each call, and what is
/// written together is then another.
pub const EVENTS: [&str; 7] = [
    "syscalls:sys_enter_sendto",
    "syscalls:sys_enter_writev",
    "syscalls:sys_enter_futex",
    "syscalls:sys_enter_recvfrom",
    "syscalls:sys_enter_epoll_wait",
    "syscalls:sys_enter_write",
    "context-switches",
];

/// One run, of all processes that take part.
pub struct Run {
    pub report: Report,
    /// Under callgrind.
    pub instructions: u64,
    /// So many of each of the `EVENTS`.
    pub calls: [u64; EVENTS.len()],
}

/// Runs one program, with the processes that answer it if it needs some.
pub fn run(work: &Work, program: &Program, messages: u64, server: &Redis, mode: Mode) -> Run {
    if matches!(work.kind, Kind::Drain | Kind::Fill | Kind::PickUp) {
        // Whoever comes next finds an empty queue.
        server.flush();
    }
    let process = |kind| Process::start(work, kind, program, messages, server, mode);
    let answering = if work.kind == Kind::Request { program.instances() } else { 0 };
    let others: Vec<_> = (0..answering)
        .map(|_| {
            let mut other = process(Kind::Answer);
            assert_eq!(other.line(), "ready");
            other
        })
        .collect();
    let mut process = process(work.kind);
    let mut line = process.line();
    if line == "ready" {
        // On a cluster, nodes are busy with telling each other of the burst: that is not the subscriber's time.
        let waits = work.place == Place::Cluster && !matches!(work.burst, Burst::OrdersElsewhere);
        if waits {
            process.signal("STOP");
        }
        server.burst(messages, work.form, work.burst, &program.name);
        if waits {
            server.settled();
            process.signal("CONT");
        }
        line = process.line();
    }
    let mut run = process.end(line);
    for mut other in others {
        other.input = None;
        let line = other.line();
        run.add(other.end(line));
    }
    check(work, program, messages, &run.report, server.published());
    // Whoever comes next finds idle nodes.
    server.settled();
    run
}

/// Nothing was lost on the way, or it is known how much.
fn check(work: &Work, program: &Program, messages: u64, report: &Report, published: u64) {
    match work.kind {
        Kind::Subscribe | Kind::Routes | Kind::Subscriptions if report.messages == messages => {
            assert_eq!(report.checksum, Order::checksum_of(messages), "{} took other messages", program.name);
        }
        Kind::Publish | Kind::Batches | Kind::Atomic => {
            assert_eq!(published, messages, "{} published another number", program.name);
        }
        _ => {}
    }
}

impl Run {
    /// Adds what an answering process took. Time is the asking one's.
    fn add(&mut self, other: Self) {
        self.report.cpu_seconds += other.report.cpu_seconds;
        self.report.cpu_seconds_of_other += other.report.cpu_seconds;
        self.report.allocations += other.report.allocations;
        self.instructions += other.instructions;
        self.calls.iter_mut().zip(other.calls).for_each(|(calls, others)| *calls += others);
    }
}

pub struct Process {
    child: Child,
    /// Closed when the process is to end.
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    pub fn start(work: &Work, kind: Kind, program: &Program, messages: u64, server: &Redis, mode: Mode) -> Self {
        let (Work { form, at_once, .. }, Program { name, threads }) = (work, program);
        let (program, url) = (name.clone(), server.url.clone());
        let task = Task { kind, program, url, messages, form: *form, at_once: *at_once, threads: *threads };
        let mut command = mode.command();
        command.arg("child").arg(serde_json::to_string(&task).expect("a task can be written"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // The tools tell there what they have counted.
        let is_counted = matches!(mode, Mode::Instructions | Mode::Calls);
        command.stderr(if is_counted { Stdio::piped() } else { Stdio::inherit() });
        let mut child = command.spawn().expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { input: child.stdin.take(), child, lines }
    }

    /// Waits until it says that it is there.
    pub fn ready(mut self) -> Self {
        assert_eq!(self.line(), "ready");
        self
    }

    /// Tells it to end, and waits until it has.
    pub fn stop(mut self) {
        self.input = None;
        let line = self.line();
        self.end(line);
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name}");
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("the program says something").expect("text")
    }

    fn end(self, report: String) -> Run {
        let output = self.child.wait_with_output().expect("the program ends");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "a program failed: {errors}");
        let report = serde_json::from_str(&report).unwrap_or_else(|_| panic!("no report: {report}"));
        let collected = errors.lines().find_map(|line| line.split("Collected : ").nth(1));
        let instructions = collected.and_then(|count| count.trim().parse().ok()).unwrap_or_default();
        Run { report, instructions, calls: EVENTS.map(|event| calls(&errors, event)) }
    }
}

impl Mode {
    fn command(self) -> Command {
        let own = std::env::current_exe().expect("a program has a path");
        let within = |tool: &str, arguments: &[&str]| {
            let mut command = Command::new(tool);
            command.args(arguments).arg(&own);
            command
        };
        match self {
            Self::Timed => Command::new(own),
            Self::Allocations => Command::new(own.with_file_name("counting")),
            // The threads take turns fairly, or one of them starves and batches come out otherwise than they do in earnest.
            Self::Instructions => {
                within("valgrind", &["--tool=callgrind", "--fair-sched=yes", "--callgrind-out-file=/dev/null"])
            }
            Self::Calls => within("perf", &["stat", "-x,", "-e", &EVENTS.join(",")]),
        }
    }
}

/// The count of an event in the lines of `perf stat`, which are values with commas between them: the count, its unit, the event.
fn calls(errors: &str, event: &str) -> u64 {
    let count = errors.lines().find_map(|line| {
        let mut parts = line.split(',');
        let count = parts.next()?;
        (parts.nth(1)?.trim_end_matches(":u") == event).then_some(count)
    });
    count.and_then(|count| count.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_counted_by_its_name() {
        let errors = "a word\n12,,syscalls:sys_enter_sendto,100,100.00,,\n<not supported>,,context-switches,0,,,\n";
        assert_eq!(calls(errors, "syscalls:sys_enter_sendto"), 12);
        assert_eq!(calls(errors, "context-switches"), 0);
    }
}
