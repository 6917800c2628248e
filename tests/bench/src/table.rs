//! Runs the programs in turns, and prints what came out as Markdown.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use crate::{
    measure::Report,
    order::{Form, Order},
    server::Server,
};

/// One kind of work, and who does it. The first program is the measure of the others.
struct Work {
    title: &'static str,
    child: &'static str,
    form: Form,
    messages: u64,
    programs: &'static [&'static str],
    /// How many prefixes the server's burst goes to; 0 is `orders:`.
    prefixes: u64,
    columns: &'static [Column],
}

#[derive(Clone, Copy)]
enum Column {
    Rate,
    Cpu,
    Median,
    Tail,
    Lost,
    Growth,
    Peak,
}

const ALL: &[&str] = &["redis", "tidings", "fred", "rustis", "ruststream"];
const BOTH: &[&str] = &["redis", "tidings"];
const DRAINED: &[Column] = &[Column::Cpu, Column::Rate, Column::Lost, Column::Growth, Column::Peak];
const SENT: &[Column] = &[Column::Rate, Column::Cpu, Column::Peak];

const WORKS: &[Work] = &[
    Work {
        title: "W1 subscribe, plain messages",
        child: "subscribe",
        form: Form::Plain,
        messages: 300_000,
        programs: ALL,
        prefixes: 0,
        columns: DRAINED,
    },
    Work {
        title: "W1 subscribe, in the envelope",
        child: "subscribe",
        form: Form::Envelope,
        messages: 300_000,
        programs: &["redis", "tidings", "fred", "rustis"],
        prefixes: 0,
        columns: DRAINED,
    },
    Work {
        title: "W1 burst, default settings, plain messages",
        child: "subscribe",
        form: Form::Plain,
        messages: 300_000,
        programs: &["redis", "tidings", "fred-default", "rustis", "ruststream-default"],
        prefixes: 0,
        columns: &[Column::Lost, Column::Growth],
    },
    Work {
        title: "W1 with 1,000 routes beside 10",
        child: "subscribe",
        form: Form::Plain,
        messages: 100_000,
        programs: &["routes-10", "routes-1000"],
        prefixes: 10,
        columns: &[Column::Cpu, Column::Rate, Column::Lost, Column::Peak],
    },
    Work {
        title: "W2 publish one at a time, plain messages",
        child: "publish",
        form: Form::Plain,
        messages: 20_000,
        programs: ALL,
        prefixes: 0,
        columns: SENT,
    },
    Work {
        title: "W2 publish one at a time, in the envelope",
        child: "publish",
        form: Form::Envelope,
        messages: 20_000,
        programs: BOTH,
        prefixes: 0,
        columns: SENT,
    },
    Work {
        title: "W2 publish 64 at once, plain messages",
        child: "publish64",
        form: Form::Plain,
        messages: 200_000,
        programs: ALL,
        prefixes: 0,
        columns: SENT,
    },
    Work {
        title: "W2 publish 64 at once, in the envelope",
        child: "publish64",
        form: Form::Envelope,
        messages: 200_000,
        programs: BOTH,
        prefixes: 0,
        columns: SENT,
    },
    Work {
        title: "W3 request and reply, one at a time",
        child: "request",
        form: Form::Envelope,
        messages: 5_000,
        programs: BOTH,
        prefixes: 0,
        columns: &[Column::Median, Column::Tail, Column::Rate, Column::Cpu],
    },
    Work {
        title: "W3 request and reply, 64 at once",
        child: "request64",
        form: Form::Envelope,
        messages: 100_000,
        programs: BOTH,
        prefixes: 0,
        columns: &[Column::Rate, Column::Cpu, Column::Peak],
    },
    Work {
        title: "W4 latency at 1,000 messages a second",
        child: "latency",
        form: Form::Plain,
        messages: 3_000,
        programs: BOTH,
        prefixes: 0,
        columns: &[Column::Median, Column::Tail, Column::Cpu],
    },
];

pub struct Options {
    rounds: usize,
    /// Every count is divided by this.
    divisor: u64,
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
            divisor: if short { 20 } else { 1 },
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
    for work in WORKS.iter().filter(|work| options.wants(work.title)) {
        measure(work, &options, &server);
    }
    if options.wants("W5") {
        println!("\n### W5 dispatch in process\n");
        println!("{}", crate::dispatch::table(options.divisor));
    }
    if options.wants("allocations") {
        costs("Allocations a message", &options, &server, Mode::Allocations);
    }
    if options.instructions {
        costs("Instructions a message, under callgrind", &options, &server, Mode::Instructions);
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
    let mut reports: Vec<Vec<Report>> = vec![Vec::new(); work.programs.len()];
    for _ in 0..options.rounds {
        for (program, reports) in work.programs.iter().zip(&mut reports) {
            reports.push(run(work, program, messages, server, &Mode::Timed).0);
        }
    }
    println!("\n### {} ({messages} messages, {} rounds)\n", work.title, options.rounds);
    let titles: Vec<&str> = work.columns.iter().map(|column| column.title()).collect();
    println!("| program | {} |\n|--|{}", titles.join(" | "), "--|".repeat(titles.len()));
    for (program, own) in work.programs.iter().zip(&reports) {
        let cells = work.columns.iter().map(|column| column.cell(own, &reports[0], messages));
        println!("| {} | {} |", name(program), cells.collect::<Vec<_>>().join(" | "));
    }
}

fn name(program: &str) -> &str {
    match program {
        "redis" => "by hand, on `redis`",
        "fred-default" => "fred",
        "ruststream-default" => "ruststream",
        "routes-10" => "tidings, 10 routes",
        "routes-1000" => "tidings, 1,000 routes",
        other => other,
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
            command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(own);
            command
        }
    };
    let errors = if matches!(mode, Mode::Instructions) { Stdio::piped() } else { Stdio::inherit() };
    let mut child = command.args(arguments).stdout(Stdio::piped()).stderr(errors).spawn().expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut line = lines.next().expect("the program says something").expect("text");
    if line == "ready" {
        server.burst(messages, work.form, work.prefixes);
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
        "subscribe" if report.messages == messages => {
            assert_eq!(report.checksum, Order::checksum_of(messages), "{program} took other messages");
        }
        "publish" | "publish64" => assert_eq!(published, messages, "{program} published another number"),
        _ => {}
    }
}

impl Column {
    fn title(self) -> &'static str {
        match self {
            Self::Rate => "thousand a second",
            Self::Cpu => "CPU, µs a message",
            Self::Median => "p50, µs",
            Self::Tail => "p99, µs",
            Self::Lost => "lost",
            Self::Growth => "growth, MiB",
            Self::Peak => "peak, MiB",
        }
    }

    fn value(self, report: &Report, messages: u64) -> f64 {
        let count = report.messages.max(1) as f64;
        match self {
            Self::Rate => count / report.seconds / 1e3,
            Self::Cpu => report.cpu_seconds * 1e6 / count,
            Self::Median => report.median_micros,
            Self::Tail => report.p99_micros,
            Self::Lost => messages.saturating_sub(report.messages) as f64 * 100.0 / messages as f64,
            Self::Growth => report.growth_kib as f64 / 1024.0,
            Self::Peak => report.peak_kib as f64 / 1024.0,
        }
    }

    /// Median, minimum and maximum, and the ratio to the first program.
    fn cell(self, own: &[Report], first: &[Report], messages: u64) -> String {
        let values = |reports: &[Report]| {
            let mut values: Vec<f64> = reports.iter().map(|report| self.value(report, messages)).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let (own, first) = (values(own), values(first));
        let (median, least, most) = (own[own.len() / 2], own[0], own[own.len() - 1]);
        match self {
            Self::Lost => format!("{median:.1} % ({least:.1}–{most:.1})"),
            Self::Growth | Self::Peak => format!("{median:.1}"),
            _ => {
                let ratio = median / first[first.len() / 2];
                let digits = if median < 10.0 { 2 } else { 1 };
                format!("{median:.digits$} ({least:.digits$}–{most:.digits$}), **{ratio:.2}**")
            }
        }
    }
}

/// What a message costs, as the difference of a long and a short run: the start does not count.
fn costs(title: &str, options: &Options, server: &Server, mode: Mode) {
    println!("\n### {title}\n\n| work | by hand, on `redis` | tidings | ratio |\n|--|--|--|--|");
    let (short, long) = if options.divisor == 1 { (10_000, 30_000) } else { (1_000, 3_000) };
    for work in WORKS.iter().filter(|work| work.programs.starts_with(BOTH) && !work.title.contains("burst")) {
        if work.child == "latency" {
            continue;
        }
        let cost = |program: &str| {
            let count = |messages| {
                let (report, instructions) = run(work, program, messages, server, &mode);
                if instructions > 0 { instructions } else { report.allocations }
            };
            count(long).saturating_sub(count(short)) as f64 / (long - short) as f64
        };
        let (by_hand, ours) = (cost("redis"), cost("tidings"));
        println!("| {} | {by_hand:.1} | {ours:.1} | {:.2} |", work.title, ours / by_hand);
    }
}
