//! Which work is measured, who does it, what its table shows and what it must reach.

use crate::{
    child::{Kind, Threads},
    column::{Column, Target, at_least, at_most},
    order::Form,
    publish::{LARGE, SMALL},
    server::{Burst, Place},
};

/// One kind of work, and who does it. The first program is the measure of the others.
pub struct Work {
    pub title: String,
    pub kind: Kind,
    pub place: Place,
    pub form: Form,
    pub messages: u64,
    /// How many tasks there are, or messages in a batch.
    pub at_once: u64,
    pub programs: Vec<Program>,
    pub burst: Burst,
    pub columns: &'static [Column],
    pub targets: &'static [Target],
    /// Whether it is in one of several states, so that each round is shown and there are ten at least.
    pub has_states: bool,
    /// Whether its calls are counted.
    pub counts_calls: bool,
    /// Whether its allocations and instructions are counted too. It may be other work once more.
    pub is_costed: bool,
}

#[derive(Clone)]
pub struct Program {
    pub name: String,
    pub threads: Threads,
}

const ALL: &[&str] = &["redis", "tidings", "fred", "rustis", "ruststream"];
const BOTH: &[&str] = &["redis", "tidings"];
const DRAINED: &[Column] = &[Column::Cpu, Column::Rate, Column::Lost, Column::Growth, Column::Peak];
const SENT: &[Column] = &[Column::Rate, Column::Cpu, Column::Peak];
const GROWN: &[Column] = &[Column::Cpu, Column::Rate, Column::Lost, Column::Peak];
const TIMED: &[Column] = &[Column::Median, Column::Tail, Column::Rate, Column::Cpu];
const ASKED: &[Column] = &[Column::Rate, Column::Cpu, Column::CpuOfOther, Column::Median, Column::Tail];

const SUBSCRIBE: &[Target] =
    &[Target::median(Column::Cpu, at_most(0.40, 0.28)), Target::median(Column::Rate, at_least(2.0, 2.7))];
const BURST: &[Target] =
    &[Target::value(Column::Lost, at_most(0.0, 0.0)), Target::value(Column::Growth, at_most(16.0, 16.0))];
const PUBLISH: &[Target] =
    &[Target::median(Column::Rate, at_least(0.98, 0.98)), Target::median(Column::Cpu, at_most(1.0, 0.80))];
const PUBLISH_64: &[Target] =
    &[Target::worst(Column::Rate, at_least(1.30, 1.60)), Target::worst(Column::Cpu, at_most(0.75, 0.50))];
const BATCHES: &[Target] =
    &[Target::median(Column::Rate, at_least(1.0, 1.12)), Target::median(Column::Cpu, at_most(1.0, 0.75))];
const REQUEST: &[Target] = &[Target::median(Column::Median, at_most(0.95, 0.80))];
const REQUEST_64: &[Target] = &[Target::median(Column::Rate, at_least(1.30, 1.60))];
/// Of three instances, to one.
const INSTANCES: &[Target] = &[Target::median(Column::Rate, at_least(2.5, 2.5)).of_program("tidings-3")];
const QUEUE: &[Target] = &[Target::median(Column::Rate, at_least(1.0, 1.2))];
/// To the same queue without them.
const KEPT: &[Target] = &[Target::median(Column::Rate, at_least(0.8, 0.9)).of_program("tidings-results")];
const LATENCY: &[Target] = &[Target::median(Column::Median, at_most(0.95, 0.82))];
const ROUTES: &[Target] = &[Target::median(Column::Cpu, at_most(1.05, 1.02)).of_program("1000")];

/// The work of whole programs, W1 to W4, and W6.
pub fn programs() -> Vec<Work> {
    [subscribing(), publishing(), requesting(), queueing(), on_each_runtime(), on_a_cluster()]
        .into_iter()
        .flatten()
        .collect()
}

fn subscribing() -> Vec<Work> {
    let work = |title| Work::new(title, Kind::Subscribe, 300_000).columns(DRAINED).targets(SUBSCRIBE);
    vec![
        work("W1 subscribe, plain messages").by(ALL),
        work("W1 subscribe, in the envelope").by(&["redis", "tidings", "fred", "rustis"]).in_the_envelope(),
        work("W1 burst, default settings, plain messages")
            .by(&["redis", "tidings", "fred-default", "rustis", "ruststream-default"])
            .columns(&[Column::Lost, Column::Growth])
            .targets(BURST)
            .not_costed(),
    ]
}

fn publishing() -> Vec<Work> {
    let work = |title, at_once| {
        let messages = if at_once == 1 { 20_000 } else { 200_000 };
        Work::new(title, Kind::Publish, messages).at_once(at_once)
    };
    let batches = |title| Work::new(title, Kind::Batches, 400_000).at_once(LARGE);
    vec![
        work("W2 publish one at a time, plain messages", 1).by(ALL).targets(PUBLISH),
        work("W2 publish one at a time, in the envelope", 1).in_the_envelope().targets(PUBLISH),
        work("W2 publish 8 at once, plain messages", 8).has_states().not_costed(),
        work("W2 publish 64 at once, plain messages", 64).by(ALL).has_states().targets(PUBLISH_64),
        work("W2 publish 64 at once, in the envelope", 64).in_the_envelope().has_states().targets(PUBLISH_64),
        work("W2 publish 1,024 at once, plain messages", 1_024).has_states().not_costed(),
        batches("W2 publish in batches of 1,000, plain messages")
            .by(&["redis", "tidings", "fred", "rustis"])
            .targets(BATCHES),
        batches("W2 publish in batches of 1,000, in the envelope").in_the_envelope().targets(BATCHES),
        Work::new("W2 publish in atomic batches of 1,000, plain messages", Kind::Atomic, 400_000).at_once(LARGE),
        Work::new("W2 publish in atomic batches of 3, plain messages", Kind::Atomic, 60_000).at_once(SMALL),
    ]
}

fn requesting() -> Vec<Work> {
    let work = |title, kind, messages| Work::new(title, kind, messages).in_the_envelope().on(Threads::Two);
    vec![
        work("W3 request and reply, one channel, one at a time", Kind::Request, 5_000).columns(TIMED).targets(REQUEST),
        work("W3 request and reply, one channel, 64 at once", Kind::Request, 100_000)
            .at_once(64)
            .columns(ASKED)
            .targets(REQUEST_64)
            .counts_calls(),
        work("W3 request and reply, handlers that wait 5 ms, 8 in an instance, 64 at once", Kind::Request, 20_000)
            .named(["tidings-1", "tidings-3"].map(str::to_owned).to_vec())
            .on(Threads::Two)
            .at_once(64)
            .columns(&[Column::Rate, Column::Median, Column::Tail, Column::Cpu])
            .targets(INSTANCES)
            .not_costed(),
        work("W3 request and reply in one process, a hundred channels, one at a time", Kind::OneProcess, 5_000)
            .columns(TIMED),
        work("W3 request and reply in one process, a hundred channels, 64 at once", Kind::OneProcess, 100_000)
            .at_once(64),
        Work::new("W4 latency at 1,000 messages a second", Kind::Latency, 3_000)
            .columns(&[Column::Median, Column::Tail, Column::Cpu])
            .targets(LATENCY)
            .not_costed(),
    ]
}

fn queueing() -> Vec<Work> {
    let drain =
        |title, messages| Work::new(title, Kind::Drain, messages).by(&["redis", "tidings", "oxana", "ruststream"]);
    let fill = |title, messages| Work::new(title, Kind::Fill, messages);
    vec![
        drain("W6 queue, 64 at once", 100_000).at_once(64).targets(QUEUE),
        drain("W6 queue whose results are kept, 64 at once", 100_000)
            .at_once(64)
            .by(&["tidings", "tidings-results"])
            .targets(KEPT),
        drain("W6 queue, one at a time", 20_000),
        fill("W6 enqueue, one at a time", 20_000),
        fill("W6 enqueue, 64 at once", 100_000).at_once(64),
        fill("W6 enqueue, in batches of 1,000", 200_000).at_once(LARGE),
        Work::new("W6 pick-up of a task by an idle instance", Kind::PickUp, 200)
            .columns(&[Column::Median, Column::Tail, Column::Cpu])
            .not_costed(),
    ]
}

/// The same programs on tokio's multi-thread runtime and on that of one thread.
fn on_each_runtime() -> Vec<Work> {
    let work = |title, kind, messages| Work::new(title, kind, messages).on_each().not_costed();
    vec![
        work("W1 subscribe on each runtime, plain messages", Kind::Subscribe, 300_000).columns(DRAINED),
        work("W2 publish 64 at once on each runtime, plain messages", Kind::Publish, 200_000).at_once(64),
        work("W3 request and reply on each runtime, one channel, 64 at once", Kind::Request, 100_000)
            .in_the_envelope()
            .at_once(64)
            .columns(ASKED),
    ]
}

/// The same on a cluster of three masters: what one server must reach.
fn on_a_cluster() -> Vec<Work> {
    let work = |title: &str, kind, messages| Work::new(title, kind, messages).at(Place::Cluster).not_costed();
    let subscribe = |title| work(title, Kind::Subscribe, 100_000).columns(DRAINED);
    let publish = |title, messages| work(title, Kind::Publish, messages);
    let request = |title, messages| work(title, Kind::Request, messages).in_the_envelope().on(Threads::Two);
    vec![
        subscribe("W1 on a cluster: subscribe, published at the node of the subscription, plain messages")
            .targets(SUBSCRIBE),
        subscribe("W1 on a cluster: subscribe, published at another node, plain messages")
            .burst(Burst::OrdersElsewhere),
        publish("W2 on a cluster: publish one at a time, plain messages", 20_000).targets(PUBLISH),
        publish("W2 on a cluster: publish 64 at once, plain messages", 200_000)
            .at_once(64)
            .has_states()
            .targets(PUBLISH_64),
        work("W2 on a cluster: publish in batches of 1,000, plain messages", Kind::Batches, 200_000)
            .at_once(LARGE)
            .targets(BATCHES),
        request("W3 on a cluster: request and reply, one channel, one at a time", 5_000)
            .columns(TIMED)
            .targets(REQUEST),
        request("W3 on a cluster: request and reply, one channel, 64 at once", 50_000)
            .at_once(64)
            .columns(ASKED)
            .targets(REQUEST_64),
        work("W6 on a cluster: queue, 64 at once", Kind::Drain, 100_000).at_once(64).targets(QUEUE),
        work("W6 on a cluster: queue, one at a time", Kind::Drain, 20_000),
    ]
}

/// The work whose cost is to stay the same while something grows.
pub fn growth(sizes: &[u64]) -> Vec<Work> {
    let of = |program: &str| sizes.iter().map(|size| format!("{program}-{size}")).collect::<Vec<_>>();
    let subscriptions = |title, burst| {
        Work::new(title, Kind::Subscriptions, 100_000)
            .named([of("redis"), of("tidings")].concat())
            .burst(burst)
            .columns(GROWN)
    };
    let routes = |title, burst| {
        Work::new(title, Kind::Routes, 100_000)
            .named(sizes.iter().map(u64::to_string).collect())
            .burst(burst)
            .columns(GROWN)
            .targets(ROUTES)
    };
    vec![
        routes("Growth: routes of one service, ten of them in use", Burst::Prefixes(10)),
        routes("Growth: routes of one service, all in use", Burst::PrefixesOfProgram),
        subscriptions("Growth: subscriptions of one bus, ten of them in use", Burst::Names(10)),
        subscriptions("Growth: subscriptions of one bus, all in use", Burst::NamesOfProgram),
    ]
}

impl Program {
    /// How many processes answer it.
    pub fn instances(&self) -> usize {
        self.name.split_once('-').and_then(|(_, instances)| instances.parse().ok()).unwrap_or(1)
    }
}

impl Work {
    /// By hand and tidings, plain messages, what is shown of a sender.
    fn new(title: &str, kind: Kind, messages: u64) -> Self {
        let work = Self {
            title: title.to_owned(),
            kind,
            place: Place::Server,
            form: Form::Plain,
            messages,
            at_once: 1,
            programs: Vec::new(),
            burst: Burst::Orders,
            columns: SENT,
            targets: &[],
            has_states: false,
            counts_calls: false,
            is_costed: true,
        };
        work.by(BOTH)
    }

    /// What only takes memory; `messages` are subscriptions, services or requests.
    pub fn of_memory(program: &str) -> Self {
        Self::new("Memory", Kind::Memory, 0).by(&[program])
    }

    /// What only waits.
    pub fn idle(program: &str, place: Place) -> Self {
        Self::new("Idle", Kind::Idle, 0).by(&[program]).at(place)
    }

    fn by(self, programs: &[&str]) -> Self {
        self.named(programs.iter().map(ToString::to_string).collect())
    }

    fn named(self, names: Vec<String>) -> Self {
        let programs = names.into_iter().map(|name| Program { name, threads: Threads::Default }).collect();
        Self { programs, ..self }
    }

    fn on(mut self, threads: Threads) -> Self {
        self.programs.iter_mut().for_each(|program| program.threads = threads);
        self
    }

    fn on_each(mut self) -> Self {
        let on_one = self.programs.iter().map(|program| Program { threads: Threads::Current, ..program.clone() });
        self.programs.extend(on_one.collect::<Vec<_>>());
        self
    }

    fn at(self, place: Place) -> Self {
        Self { place, ..self }
    }

    fn in_the_envelope(self) -> Self {
        Self { form: Form::Envelope, ..self }
    }

    fn at_once(self, at_once: u64) -> Self {
        Self { at_once, ..self }
    }

    fn burst(self, burst: Burst) -> Self {
        Self { burst, ..self }
    }

    fn columns(self, columns: &'static [Column]) -> Self {
        Self { columns, ..self }
    }

    fn targets(self, targets: &'static [Target]) -> Self {
        Self { targets, ..self }
    }

    fn has_states(self) -> Self {
        Self { has_states: true, ..self }.counts_calls()
    }

    fn counts_calls(self) -> Self {
        Self { counts_calls: true, ..self }
    }

    fn not_costed(self) -> Self {
        Self { is_costed: false, ..self }
    }

    /// How a table calls the program.
    pub fn call(&self, program: &Program) -> String {
        let (who, size) = program.name.split_once('-').unwrap_or((&program.name, ""));
        let who = match who {
            "redis" => "by hand, on `redis`",
            other => other,
        };
        let who = match (self.kind, size) {
            (Kind::Routes, _) => format!("{who} routes"),
            (Kind::Subscriptions, size) => format!("{who}, {size} names"),
            (Kind::Request, instances @ ("1" | "3")) => format!("{who}, {instances} instances"),
            _ => who.to_owned(),
        };
        if program.threads == Threads::Current { format!("{who}, `current_thread`") } else { who }
    }
}
