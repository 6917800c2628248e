//! What a program measures of itself, and how it tells.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// Counted by the allocator of the program `counting`; elsewhere it stays 0.
pub static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
/// What is allocated and not freed, as the program `counting` sees it.
pub static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);

/// What one run of one program came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    pub messages: u64,
    pub checksum: u64,
    pub seconds: f64,
    /// User and system time of the whole process.
    pub cpu_seconds: f64,
    /// The part of another process that took part, which is in `cpu_seconds`.
    pub cpu_seconds_of_other: f64,
    /// Peak memory, and how much of it came after the start.
    pub peak_kib: u64,
    pub growth_kib: u64,
    pub allocations: u64,
    /// Growth of what is allocated and not freed, where that is measured.
    pub live_bytes: i64,
    /// Median, where single messages are timed.
    pub median_micros: f64,
    /// The 99th percentile, where single messages are timed.
    pub p99_micros: f64,
}

/// A measurement that has begun.
pub struct Begun {
    at: Instant,
    cpu: f64,
    resident_kib: u64,
    allocations: u64,
}

impl Begun {
    pub fn now() -> Self {
        Self {
            at: Instant::now(),
            cpu: cpu_seconds(),
            resident_kib: resident_kib(),
            allocations: ALLOCATIONS.load(Ordering::Relaxed),
        }
    }

    pub fn report(&self, messages: u64) -> Report {
        let peak_kib = memory("VmHWM:");
        Report {
            messages,
            seconds: self.at.elapsed().as_secs_f64(),
            cpu_seconds: cpu_seconds() - self.cpu,
            peak_kib,
            growth_kib: peak_kib.saturating_sub(self.resident_kib),
            allocations: ALLOCATIONS.load(Ordering::Relaxed) - self.allocations,
            ..Report::default()
        }
    }
}

fn cpu_seconds() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("Linux tells a process its own usage");
    (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6
}

pub fn resident_kib() -> u64 {
    memory("VmRSS:")
}

fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or_default()
}

/// What the handlers of this process have taken so far.
#[derive(Debug, Default)]
pub struct Taken {
    messages: AtomicU64,
    checksum: AtomicU64,
    first: OnceLock<Instant>,
    last: OnceLock<Instant>,
    expected: AtomicU64,
    all: Notify,
}

pub static TAKEN: Taken = Taken {
    messages: AtomicU64::new(0),
    checksum: AtomicU64::new(0),
    first: OnceLock::new(),
    last: OnceLock::new(),
    expected: AtomicU64::new(u64::MAX),
    all: Notify::const_new(),
};

/// After so long without a message the rest counts as lost.
const SILENCE: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(200);

impl Taken {
    pub fn expect(&self, messages: u64) {
        self.expected.store(messages, Ordering::Relaxed);
    }

    pub fn add(&self, checksum: u64) {
        self.checksum.fetch_add(checksum, Ordering::Relaxed);
        let count = self.messages.fetch_add(1, Ordering::Relaxed) + 1;
        if count == 1 {
            self.first.get_or_init(Instant::now);
        }
        if count == self.expected.load(Ordering::Relaxed) {
            self.last.get_or_init(Instant::now);
            self.all.notify_one();
        }
    }

    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Says that publishing may begin, and waits until everything has arrived or nothing arrives any more.
    pub async fn drained(&self) -> Report {
        let begun = Begun::now();
        println!("ready");
        let expected = self.expected.load(Ordering::Relaxed);
        let (mut seen, mut progress) = (0, None);
        while seen < expected && progress.is_none_or(|at: Instant| at.elapsed() < SILENCE) {
            // Rare looks: each costs a wake-up that would count as the program's.
            let _ = tokio::time::timeout(LOOK, self.all.notified()).await;
            if self.messages() != seen {
                (seen, progress) = (self.messages(), Some(Instant::now()));
            }
        }
        let mut report = begun.report(seen);
        report.checksum = self.checksum.load(Ordering::Relaxed);
        let last = self.last.get().copied().or(progress);
        if let (Some(first), Some(last)) = (self.first.get(), last) {
            report.seconds = (last - *first).as_secs_f64();
        }
        report
    }
}

/// Median and 99th percentile.
pub fn percentiles(mut micros: Vec<f64>) -> (f64, f64) {
    micros.sort_by(f64::total_cmp);
    (micros[micros.len() / 2], micros[micros.len() * 99 / 100])
}
