//! Runs the programs in turns, and prints what came out as Markdown.

use std::{process::Command, time::Duration};

use crate::{
    child::{EVENTS, Mode, run},
    column::{Column, Measured, Spread},
    dispatch, idle,
    measure::Report,
    memory, peers, queue,
    server::{Places, Redis},
    work::{self, Work},
};

pub struct Options {
    rounds: usize,
    /// The rounds of work that has several states.
    rounds_of_states: usize,
    /// Every count is divided by this.
    divisor: u64,
    /// How many routes, subscriptions, services and requests there are, where it is shown that it does not matter.
    sizes: &'static [u64],
    instructions: bool,
    calls: bool,
    only: Option<String>,
}

impl Options {
    fn parse(words: &[&str]) -> Self {
        let short = words.contains(&"--short");
        let after = |flag: &str| {
            let at = words.iter().position(|word| *word == flag)?;
            words.get(at + 1).map(|word| (*word).to_owned())
        };
        let rounds = after("--rounds").and_then(|rounds| rounds.parse().ok()).unwrap_or(if short { 1 } else { 5 });
        Self {
            rounds,
            rounds_of_states: if short { rounds } else { rounds.max(10) },
            divisor: if short { 100 } else { 1 },
            sizes: if short { &[10, 100] } else { &[10, 1_000, 10_000] },
            instructions: words.contains(&"--instructions"),
            calls: words.contains(&"--calls"),
            only: after("--only"),
        }
    }

    fn wants(&self, title: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.split(',').any(|part| title.contains(part)))
    }

    fn rounds(&self, work: &Work) -> usize {
        if work.has_states { self.rounds_of_states } else { self.rounds }
    }
}

pub fn print(words: &[&str]) {
    let options = Options::parse(words);
    let places = Places::start();
    let server = &places.server;
    heading(server);
    let (programs, growth) = (work::programs(), work::growth(options.sizes));
    let mut targets = Vec::new();
    for work in programs.iter().chain(&growth).filter(|work| options.wants(&work.title)) {
        targets.extend(measure(work, &options, places.of(work.place)));
    }
    if options.wants("W5") {
        targets.extend(dispatch(&options));
    }
    if !targets.is_empty() {
        println!("\n### Musts and aims\n\n| work | what | measured | must | aim | |\n|--|--|--|--|--|--|");
        targets.iter().for_each(|line| println!("{line}"));
    }
    if options.wants("Idle") {
        let watched = if options.divisor == 1 { 30 } else { 1 };
        idle::table(&places, Duration::from_secs(watched));
    }
    if options.wants("Memory of each") {
        memory(&options, server);
    }
    if options.wants("Memory of a waiting task") {
        waiting(&options, server);
    }
    if options.wants("Allocations") {
        costs("Allocations a message", &programs, &options, server, Mode::Allocations);
    }
    if options.calls {
        calls(&programs, &options, &places);
    }
    if options.instructions {
        costs("Instructions a message, under callgrind", &programs, &options, server, Mode::Instructions);
        growing_costs(&growth, &options, server);
    }
}

fn heading(server: &Redis) {
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

/// The reports of each program, a round each.
fn rounds<T>(work: &Work, rounds: usize, mut run: impl FnMut(&work::Program) -> T) -> Vec<(String, Vec<T>)> {
    let programs: Vec<_> = work.programs.iter().filter(|program| peers::can_run(&program.name)).collect();
    let mut all: Vec<_> = programs.iter().map(|program| (work.call(program), Vec::new())).collect();
    for _ in 0..rounds {
        for (program, (_, own)) in programs.iter().zip(&mut all) {
            own.push(run(program));
        }
    }
    all
}

/// Prints the table of some work, and returns the lines of its targets.
fn measure(work: &Work, options: &Options, server: &Redis) -> Vec<String> {
    let messages = work.messages / options.divisor;
    let all = rounds(work, options.rounds(work), |program| run(work, program, messages, server, Mode::Timed).report);
    println!("\n### {} ({messages} messages, {} rounds)\n", work.title, options.rounds(work));
    let titles: Vec<&str> = work.columns.iter().map(|column| column.title()).collect();
    println!("| program | {} |\n|--|{}", titles.join(" | "), "--|".repeat(titles.len()));
    let mut lines = Vec::new();
    for (program, (name, own)) in work.programs.iter().zip(&all) {
        let measured = Measured { own, first: &all[0].1, messages };
        let targets: Vec<_> = work.targets.iter().filter(|target| target.program == program.name).copied().collect();
        let cells = work.columns.iter().map(|column| column.cell(&measured, &targets));
        println!("| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
        lines.extend(targets.iter().map(|target| target.line(&work.title, &measured)));
    }
    if work.has_states {
        states(&all[0].1, &all[1], messages);
    }
    lines
}

/// Shows each round, since the median of two states is neither.
fn states(first: &[Report], (name, own): &(String, Vec<Report>), messages: u64) {
    let measured = Measured { own, first, messages };
    let numbers: String = (1..=own.len()).map(|round| format!(" {round} |")).collect();
    println!("\n| {name}, round by round |{numbers} worst | best |");
    println!("|--|{}--|--|", "--|".repeat(own.len()));
    for (column, what) in [(Column::Rate, "thousand a second"), (Column::Cpu, "CPU")] {
        let line = |what: &str, values: &[f64], show: fn(f64) -> String| {
            let Spread { least, most, .. } = Spread::of(values);
            let (worst, best) = if column == Column::Rate { (least, most) } else { (most, least) };
            let cells: String = values.iter().map(|value| format!(" {} |", show(*value))).collect();
            println!("| {what} |{cells} {} | {} |", show(worst), show(best));
        };
        if column == Column::Rate {
            line(what, &column.values(own, messages), |value| format!("{value:.0}"));
        }
        line(&format!("{what}, ratio"), &measured.ratios(column), |value| format!("{value:.2}"));
    }
}

fn dispatch(options: &Options) -> Vec<String> {
    println!("\n### W5 dispatch in process\n\n| what | ns |\n|--|--|");
    let mut lines = Vec::new();
    for dispatch::Row { what, nanos, limits } in dispatch::rows(options.divisor) {
        let text = limits.map(|limits| format!(" ({})", limits.text())).unwrap_or_default();
        println!("| {what} | {nanos:.1}{text} |");
        lines.extend(limits.map(|limits| limits.line("W5 dispatch in process", &format!("{what}, ns"), nanos)));
    }
    lines
}

/// The calls of all processes of a program, as `perf stat` counts them.
fn calls(works: &[Work], options: &Options, places: &Places) {
    let names = EVENTS.map(|event| event.trim_start_matches("syscalls:sys_enter_"));
    println!("\n### Calls a message\n");
    println!("| work | program | {} |\n|--|--|{}", names.join(" | "), "--|".repeat(EVENTS.len()));
    for work in works.iter().filter(|work| work.counts_calls && options.wants(&work.title)) {
        let messages = work.messages / options.divisor;
        let all = rounds(work, options.rounds, |program| {
            run(work, program, messages, places.of(work.place), Mode::Calls).calls
        });
        for (name, own) in all {
            let cells = (0..EVENTS.len()).map(|event| {
                let a_message: Vec<f64> = own.iter().map(|calls| calls[event] as f64 / messages as f64).collect();
                let Spread { median, least, most } = Spread::of(&a_message);
                format!("{median:.3} ({least:.3}–{most:.3})")
            });
            println!("| {} | {name} | {} |", work.title, cells.collect::<Vec<_>>().join(" | "));
        }
    }
}

/// What a message costs, as the difference of a long and a short run: the start does not count.
fn cost(work: &Work, program: &work::Program, (short, long): (u64, u64), server: &Redis, mode: Mode) -> f64 {
    let count = |messages| {
        let run = run(work, program, messages, server, mode);
        if mode == Mode::Instructions { run.instructions } else { run.report.allocations }
    };
    count(long).saturating_sub(count(short)) as f64 / (long - short) as f64
}

impl Options {
    /// How long the two runs are.
    fn lengths(&self) -> (u64, u64) {
        if self.divisor == 1 { (10_000, 30_000) } else { (1_000, 3_000) }
    }
}

fn costs(title: &str, works: &[Work], options: &Options, server: &Redis, mode: Mode) {
    println!("\n### {title}\n\n| work | by hand, on `redis` | tidings | ratio |\n|--|--|--|--|");
    for work in works.iter().filter(|work| work.is_costed) {
        let cost = |program| cost(work, program, options.lengths(), server, mode);
        let (by_hand, ours) = (cost(&work.programs[0]), cost(&work.programs[1]));
        println!("| {} | {by_hand:.1} | {ours:.1} | {:.2} |", work.title, ours / by_hand);
    }
}

fn growing_costs(works: &[Work], options: &Options, server: &Redis) {
    println!("\n### Instructions a message while something grows, under callgrind\n");
    println!("| work | program | instructions | ratio to the first |\n|--|--|--|--|");
    for work in works {
        let mut first = None;
        for program in &work.programs {
            let cost = cost(work, program, options.lengths(), server, Mode::Instructions);
            let ratio = cost / *first.get_or_insert(cost);
            println!("| {} | {} | {cost:.0} | {ratio:.2} |", work.title, work.call(program));
        }
    }
}

fn memory(options: &Options, server: &Redis) {
    println!("\n### Memory of each\n");
    println!("| what | how many | allocated, bytes each | resident, bytes each |\n|--|--|--|--|");
    for (what, program) in memory::PROGRAMS {
        for size in options.sizes {
            let work = Work::of_memory(program);
            let report = run(&work, &work.programs[0], *size, server, Mode::Allocations).report;
            // What is resident grows by pages, which says nothing of a few.
            let resident = if *size < 1_000 { "–".to_owned() } else { (report.growth_kib * 1024 / size).to_string() };
            println!("| {what} | {size} | {} | {resident} |", report.live_bytes / *size as i64);
        }
    }
}

/// What a task takes on the server while it waits, beside the same payload in a stream.
fn waiting(options: &Options, server: &Redis) {
    println!("\n### Memory of a waiting task on the server, payloads of 189 bytes\n");
    println!("| what | how many | bytes each | ratio |\n|--|--|--|--|");
    let size = 100_000 / options.divisor;
    let mut by_hand = None;
    for (what, program) in queue::WAITING.iter().filter(|(_, program)| peers::can_run(program)) {
        let work = Work::of_memory(program);
        let report = run(&work, &work.programs[0], size, server, Mode::Timed).report;
        let bytes = report.live_bytes as f64 / size as f64;
        println!("| {what} | {size} | {bytes:.0} | {:.2} |", bytes / *by_hand.get_or_insert(bytes));
    }
}
