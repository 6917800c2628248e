//! Which work is measured, and what its table shows.

use crate::{measure::Report, order::Form, server::Burst};

/// One kind of work, and who does it. The first program is the measure of the others.
pub struct Work {
    pub title: String,
    /// What a child is told to do.
    pub child: &'static str,
    pub form: Form,
    pub messages: u64,
    pub programs: Vec<String>,
    pub burst: Burst,
    pub columns: &'static [Column],
}

#[derive(Clone, Copy)]
pub enum Column {
    Rate,
    Cpu,
    Median,
    Tail,
    Lost,
    Growth,
    Peak,
}

const ALL: &[&str] = &["redis", "tidings", "fred", "rustis", "ruststream"];
pub const BOTH: &[&str] = &["redis", "tidings"];
const DRAINED: &[Column] = &[Column::Cpu, Column::Rate, Column::Lost, Column::Growth, Column::Peak];
const SENT: &[Column] = &[Column::Rate, Column::Cpu, Column::Peak];
const GROWN: &[Column] = &[Column::Cpu, Column::Rate, Column::Lost, Column::Peak];

/// The work of whole programs, W1 to W4.
pub fn programs() -> Vec<Work> {
    let burst = ["redis", "tidings", "fred-default", "rustis", "ruststream-default"];
    vec![
        Work::new("W1 subscribe, plain messages", "subscribe", 300_000).by(ALL).columns(DRAINED),
        Work::new("W1 subscribe, in the envelope", "subscribe", 300_000)
            .by(&["redis", "tidings", "fred", "rustis"])
            .in_the_envelope()
            .columns(DRAINED),
        Work::new("W1 burst, default settings, plain messages", "subscribe", 300_000)
            .by(&burst)
            .columns(&[Column::Lost, Column::Growth]),
        Work::new("W2 publish one at a time, plain messages", "publish", 20_000).by(ALL),
        Work::new("W2 publish one at a time, in the envelope", "publish", 20_000).in_the_envelope(),
        Work::new("W2 publish 64 at once, plain messages", "publish64", 200_000).by(ALL),
        Work::new("W2 publish 64 at once, in the envelope", "publish64", 200_000).in_the_envelope(),
        Work::new("W2 publish in batches of 1,000, plain messages", "batches", 400_000)
            .by(&["redis", "tidings", "fred", "rustis"]),
        Work::new("W2 publish in batches of 1,000, in the envelope", "batches", 400_000).in_the_envelope(),
        Work::new("W2 publish in atomic batches of 1,000, plain messages", "atomic", 400_000),
        Work::new("W2 publish in atomic batches of 3, plain messages", "atomic3", 60_000),
        Work::new("W3 request and reply, one at a time", "request", 5_000).in_the_envelope().columns(&[
            Column::Median,
            Column::Tail,
            Column::Rate,
            Column::Cpu,
        ]),
        Work::new("W3 request and reply, 64 at once", "request64", 100_000).in_the_envelope(),
        Work::new("W4 latency at 1,000 messages a second", "latency", 3_000).columns(&[
            Column::Median,
            Column::Tail,
            Column::Cpu,
        ]),
    ]
}

/// The work whose cost is to stay the same while something grows.
pub fn growth(sizes: &[u64]) -> Vec<Work> {
    let of = |program: &str| sizes.iter().map(|size| format!("{program}-{size}")).collect::<Vec<_>>();
    let subscriptions = |title, burst| {
        Work::new(title, "subscriptions", 100_000)
            .named([of("redis"), of("tidings")].concat())
            .burst(burst)
            .columns(GROWN)
    };
    let routes = || sizes.iter().map(u64::to_string);
    vec![
        Work::new("Growth: routes of one service, ten of them in use", "routes", 100_000)
            .named(routes().collect())
            .burst(Burst::Prefixes(10))
            .columns(GROWN),
        Work::new("Growth: routes of one service, all in use", "routes", 100_000)
            .named(routes().collect())
            .burst(Burst::PrefixesOfProgram)
            .columns(GROWN),
        subscriptions("Growth: subscriptions of one bus, ten of them in use", Burst::Names(10)),
        subscriptions("Growth: subscriptions of one bus, all in use", Burst::NamesOfProgram),
    ]
}

impl Work {
    /// By hand and tidings, plain messages, what is shown of a sender.
    fn new(title: &str, child: &'static str, messages: u64) -> Self {
        let programs = BOTH.iter().map(ToString::to_string).collect();
        Self {
            title: title.to_owned(),
            child,
            form: Form::Plain,
            messages,
            programs,
            burst: Burst::Orders,
            columns: SENT,
        }
    }

    /// What only takes memory; `messages` are subscriptions, services or requests.
    pub fn of_memory() -> Self {
        Self::new("Memory", "memory", 0)
    }

    fn by(self, programs: &[&str]) -> Self {
        self.named(programs.iter().map(ToString::to_string).collect())
    }

    fn named(self, programs: Vec<String>) -> Self {
        Self { programs, ..self }
    }

    fn in_the_envelope(self) -> Self {
        Self { form: Form::Envelope, ..self }
    }

    fn burst(self, burst: Burst) -> Self {
        Self { burst, ..self }
    }

    fn columns(self, columns: &'static [Column]) -> Self {
        Self { columns, ..self }
    }
}

impl Column {
    pub fn title(self) -> &'static str {
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
    pub fn cell(self, own: &[Report], first: &[Report], messages: u64) -> String {
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

/// How a table names a program.
pub fn name(work: &Work, program: &str) -> String {
    let (program, size) = program.split_once('-').unwrap_or((program, ""));
    let who = match program {
        "redis" => "by hand, on `redis`",
        other => other,
    };
    match (work.child, size) {
        ("routes", _) => format!("{program} routes"),
        ("subscriptions", size) => format!("{who}, {size} names"),
        _ => who.to_owned(),
    }
}
