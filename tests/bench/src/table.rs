//! Runs the programs in turns, and prints what came out as Markdown.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use crate::{
    measure::Report,
    memory,
    order::Order,
    peers,
    server::Server,
    work::{self, Work, name},
};

pub struct Options {
    rounds: usize,
    /// Every count is divided by this.
    divisor: u64,
    /// How many routes, subscriptions, services and requests there are, where it is shown that it does not matter.
    sizes: &'static [u64],
    instructions: bool,
    only: Option<String>,
}

impl Options {
    fn parse(words: &[&str]) -> Self {
        let short = words.contains(&"--short");
        let after = |flag: &str| {
            let at = words.iter().position(|word| *word == flag)?;
            words.get(at + 1).map(|word| (*word).to_owned())
        };
        let rounds = after("--rounds").and_then(|rounds| rounds.parse().ok());
        Self {
            rounds: rounds.unwrap_or(if short { 1 } else { 5 }),
            divisor: if short { 100 } else { 1 },
            sizes: if short { &[10, 100] } else { &[10, 1_000, 10_000] },
            instructions: words.contains(&"--instructions"),
            only: after("--only"),
        }
    }

    fn wants(&self, title: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.split(',').any(|part| title.contains(part)))
    }
}

pub fn print(words: &[&str]) {
    let options = Options::parse(words);
    let server = Server::start();
    heading(&server);
    let (programs, growth) = (work::programs(), work::growth(options.sizes));
    for work in programs.iter().chain(&growth).filter(|work| options.wants(&work.title)) {
        measure(work, &options, &server);
    }
    if options.wants("W5") {
        println!("\n### W5 dispatch in process\n");
        println!("{}", crate::dispatch::table(options.divisor));
    }
    if options.wants("Memory") {
        memory(&options, &server);
    }
    if options.wants("Allocations") {
        costs("Allocations a message", &programs, &options, &server, &Mode::Allocations);
    }
    if options.instructions {
        costs("Instructions a message, under callgrind", &programs, &options, &server, &Mode::Instructions);
        growing_costs(&growth, &options, &server);
    }
}

fn heading(server: &Server) {
    let first_line = |command: &str, argument: &str| {
        let output = Command::new(command).arg(argument).output().map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&output).lines().next().unwrap_or_default().to_owned()
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let information = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = information.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    println!("- date: {}", first_line("date", "-uI"));
    println!("- machine: {processors} processors, {}", model.trim_start_matches(['\t', ' ', ':']));
    println!(
        "- redis-server {}, {}, Linux {}",
        server.version(),
        first_line("rustc", "--version"),
        first_line("uname", "-r")
    );
    let lock = include_str!("../Cargo.lock");
    let version = |name: &str| {
        let mut lines = lock.lines().skip_while(|line| *line != format!("name = \"{name}\""));
        let version = lines.nth(1).and_then(|line| line.strip_prefix("version = ")).unwrap_or("unknown");
        format!("{name} {}", version.trim_matches('"'))
    };
    let names = ["redis", "fred", "rustis", "ruststream", "ruststream-fred", "tokio", "serde_json"];
    println!("- crates: {}", names.map(version).join(", "));
}

fn measure(work: &Work, options: &Options, server: &Server) {
    let messages = work.messages / options.divisor;
    let programs: Vec<&String> = work.programs.iter().filter(|program| peers::can_run(program)).collect();
    let mut reports: Vec<Vec<Report>> = vec![Vec::new(); programs.len()];
    for _ in 0..options.rounds {
        for (program, reports) in programs.iter().zip(&mut reports) {
            reports.push(run(work, program, messages, server, &Mode::Timed).0);
        }
    }
    println!("\n### {} ({messages} messages, {} rounds)\n", work.title, options.rounds);
    let titles: Vec<&str> = work.columns.iter().map(|column| column.title()).collect();
    println!("| program | {} |\n|--|{}", titles.join(" | "), "--|".repeat(titles.len()));
    for (program, own) in programs.iter().zip(&reports) {
        let cells = work.columns.iter().map(|column| column.cell(own, &reports[0], messages));
        println!("| {} | {} |", name(work, program), cells.collect::<Vec<_>>().join(" | "));
    }
}

/// How a child runs.
enum Mode {
    Timed,
    Allocations,
    Instructions,
}

/// One run of one program; with callgrind the number of its instructions too.
fn run(work: &Work, program: &str, messages: u64, server: &Server, mode: &Mode) -> (Report, u64) {
    let own = std::env::current_exe().expect("a program has a path");
    let arguments = ["child", work.child, program, &server.url, &messages.to_string(), work.form.text()];
    let mut command = match mode {
        Mode::Timed => Command::new(own),
        Mode::Allocations => Command::new(own.with_file_name("counting")),
        Mode::Instructions => {
            let mut command = Command::new("valgrind");
            // The threads take turns fairly, or one of them starves and batches come out otherwise than they do in earnest.
            command.args(["--tool=callgrind", "--fair-sched=yes", "--callgrind-out-file=/dev/null"]).arg(own);
            command
        }
    };
    let errors = if matches!(mode, Mode::Instructions) { Stdio::piped() } else { Stdio::inherit() };
    let mut child = command.args(arguments).stdout(Stdio::piped()).stderr(errors).spawn().expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut line = lines.next().expect("the program says something").expect("text");
    if line == "ready" {
        server.burst(messages, work.form, work.burst.names(program));
        line = lines.next().expect("the program reports").expect("text");
    }
    let output = child.wait_with_output().expect("the program ends");
    assert!(output.status.success(), "{} of {program} failed", work.title);
    let report: Report = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no report: {line}"));
    check(work, program, messages, &report, server.published());
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let collected = errors.lines().find_map(|line| line.split("Collected : ").nth(1));
    (report, collected.and_then(|count| count.trim().parse().ok()).unwrap_or_default())
}

/// Nothing was lost on the way, or it is known how much.
fn check(work: &Work, program: &str, messages: u64, report: &Report, published: u64) {
    match work.child {
        "subscribe" | "routes" | "subscriptions" if report.messages == messages => {
            assert_eq!(report.checksum, Order::checksum_of(messages), "{program} took other messages");
        }
        "publish" | "publish64" | "batches" | "atomic" | "atomic3" => {
            assert_eq!(published, messages, "{program} published another number")
        }
        _ => {}
    }
}

/// What a message costs, as the difference of a long and a short run: the start does not count.
fn cost(work: &Work, program: &str, (short, long): (u64, u64), server: &Server, mode: &Mode) -> f64 {
    let count = |messages| {
        let (report, instructions) = run(work, program, messages, server, mode);
        if instructions > 0 { instructions } else { report.allocations }
    };
    count(long).saturating_sub(count(short)) as f64 / (long - short) as f64
}

impl Options {
    /// How long the two runs are.
    fn lengths(&self) -> (u64, u64) {
        if self.divisor == 1 { (10_000, 30_000) } else { (1_000, 3_000) }
    }
}

fn costs(title: &str, works: &[Work], options: &Options, server: &Server, mode: &Mode) {
    println!("\n### {title}\n\n| work | by hand, on `redis` | tidings | ratio |\n|--|--|--|--|");
    // The burst is W1 once more, and the latency is mostly waiting.
    for work in works.iter().filter(|work| work.child != "latency" && !work.title.contains("burst")) {
        let cost = |program| cost(work, program, options.lengths(), server, mode);
        let (by_hand, ours) = (cost("redis"), cost("tidings"));
        println!("| {} | {by_hand:.1} | {ours:.1} | {:.2} |", work.title, ours / by_hand);
    }
}

fn growing_costs(works: &[Work], options: &Options, server: &Server) {
    println!("\n### Instructions a message while something grows, under callgrind\n");
    println!("| work | program | instructions | ratio to the first |\n|--|--|--|--|");
    for work in works {
        let mut first = None;
        for program in &work.programs {
            let cost = cost(work, program, options.lengths(), server, &Mode::Instructions);
            let ratio = cost / *first.get_or_insert(cost);
            println!("| {} | {} | {cost:.0} | {ratio:.2} |", work.title, name(work, program));
        }
    }
}

fn memory(options: &Options, server: &Server) {
    println!("\n### Memory of each\n");
    println!("| what | how many | allocated, bytes each | resident, bytes each |\n|--|--|--|--|");
    for (what, program) in memory::PROGRAMS {
        for size in options.sizes {
            let work = Work::of_memory();
            let (report, _) = run(&work, program, *size, server, &Mode::Allocations);
            // What is resident grows by pages, which says nothing of a few.
            let resident = if *size < 1_000 { "–".to_owned() } else { (report.growth_kib * 1024 / size).to_string() };
            println!("| {what} | {size} | {} | {resident} |", report.live_bytes / *size as i64);
        }
    }
}
