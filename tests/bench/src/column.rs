//! What the tables show of the reports: values, ratios to the program written by hand, and what they are held against.

use serde::{Deserialize, Serialize};

use crate::measure::Report;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Rate,
    Cpu,
    /// The answering process's part of the CPU, where there are two processes.
    CpuOfOther,
    Median,
    Tail,
    Lost,
    Growth,
    Peak,
}

impl Column {
    pub fn title(self) -> &'static str {
        match self {
            Self::Rate => "thousand a second",
            Self::Cpu => "CPU, µs a message",
            Self::CpuOfOther => "of it the answering process",
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
            Self::CpuOfOther => report.cpu_seconds_of_other * 1e6 / count,
            Self::Median => report.median_micros,
            Self::Tail => report.p99_micros,
            Self::Lost => messages.saturating_sub(report.messages) as f64 * 100.0 / messages as f64,
            Self::Growth => report.growth_kib as f64 / 1024.0,
            Self::Peak => report.peak_kib as f64 / 1024.0,
        }
    }

    pub fn values(self, reports: &[Report], messages: u64) -> Vec<f64> {
        reports.iter().map(|report| self.value(report, messages)).collect()
    }

    /// Median, minimum and maximum, the ratio to the first program, and what that must be.
    pub fn cell(self, measured: &Measured, targets: &[Target]) -> String {
        let Spread { median, least, most } = Spread::of(&self.values(measured.own, measured.messages));
        let mut cell = match self {
            Self::Lost => format!("{median:.1} % ({least:.1}–{most:.1})"),
            Self::Growth | Self::Peak => format!("{median:.1}"),
            Self::CpuOfOther => digits(median),
            _ => {
                let ratio = Of::Median.value(self, measured);
                format!("{} ({}–{}), **{ratio:.2}**", digits(median), digits(least), digits(most))
            }
        };
        for target in targets.iter().filter(|target| target.column == self) {
            if target.of == Of::Worst {
                cell += &format!(", worst **{:.2}**", target.of.value(self, measured));
            }
            cell += &format!(" ({})", target.limits.text());
        }
        cell
    }
}

/// As many as say something.
fn digits(value: f64) -> String {
    let digits = if value < 10.0 { 2 } else { 1 };
    format!("{value:.digits$}")
}

pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    pub fn of(values: &[f64]) -> Self {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        Self { median: values[values.len() / 2], least: values[0], most: values[values.len() - 1] }
    }
}

/// The reports of one program, a round each, and those of the first program in the same rounds.
pub struct Measured<'a> {
    pub own: &'a [Report],
    pub first: &'a [Report],
    pub messages: u64,
}

impl Measured<'_> {
    /// The ratio to the first program in each round.
    pub fn ratios(&self, column: Column) -> Vec<f64> {
        let (own, first) = (column.values(self.own, self.messages), column.values(self.first, self.messages));
        own.iter().zip(first).map(|(own, first)| own / first).collect()
    }
}

/// What a program must reach, and what it aims at.
#[derive(Clone, Copy)]
pub struct Target {
    pub program: &'static str,
    pub column: Column,
    pub of: Of,
    pub limits: Limits,
}

/// What of a column is held against the target.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// The ratio of the medians.
    Median,
    /// The worst ratio of a round: a median hides that there are two states.
    Worst,
    /// The median itself.
    Value,
}

impl Target {
    pub const fn median(column: Column, limits: Limits) -> Self {
        Self { program: "tidings", column, of: Of::Median, limits }
    }

    pub const fn worst(column: Column, limits: Limits) -> Self {
        Self { program: "tidings", column, of: Of::Worst, limits }
    }

    pub const fn value(column: Column, limits: Limits) -> Self {
        Self { program: "tidings", column, of: Of::Value, limits }
    }

    pub const fn of_program(self, program: &'static str) -> Self {
        Self { program, ..self }
    }

    /// A line of the table of all targets.
    pub fn line(&self, work: &str, measured: &Measured) -> String {
        let what = match self.of {
            Of::Median => format!("{}, ratio", self.column.title()),
            Of::Worst => format!("{}, worst ratio of {} rounds", self.column.title(), measured.own.len()),
            Of::Value => self.column.title().to_owned(),
        };
        self.limits.line(work, &what, self.of.value(self.column, measured))
    }
}

impl Of {
    fn value(self, column: Column, measured: &Measured) -> f64 {
        let median = |reports| Spread::of(&column.values(reports, measured.messages)).median;
        match self {
            Self::Median => median(measured.own) / median(measured.first),
            Self::Worst => {
                let ratios = Spread::of(&measured.ratios(column));
                if column == Column::Rate { ratios.least } else { ratios.most }
            }
            Self::Value => median(measured.own),
        }
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub enum Limits {
    AtLeast { must: f64, aim: f64 },
    AtMost { must: f64, aim: f64 },
}

pub const fn at_least(must: f64, aim: f64) -> Limits {
    Limits::AtLeast { must, aim }
}

pub const fn at_most(must: f64, aim: f64) -> Limits {
    Limits::AtMost { must, aim }
}

impl Limits {
    pub fn text(self) -> String {
        let (sign, must, aim) = self.parts();
        format!("must {sign} {must}, aim {sign} {aim}")
    }

    pub fn line(self, work: &str, what: &str, measured: f64) -> String {
        let (sign, must, aim) = self.parts();
        let verdict = self.verdict(measured);
        format!("| {work} | {what} | {measured:.2} | {sign} {must} | {sign} {aim} | {verdict} |")
    }

    fn verdict(self, measured: f64) -> String {
        let (_, must, aim) = self.parts();
        let short_of = |limit: f64| match self {
            Self::AtLeast { .. } => limit - measured,
            Self::AtMost { .. } => measured - limit,
        };
        match (short_of(must), short_of(aim)) {
            (missed, _) if missed > 0.0 => format!("**must missed by {missed:.2}**"),
            (_, missed) if missed > 0.0 => format!("aim missed by {missed:.2}"),
            _ => "met, the aim too".to_owned(),
        }
    }

    fn parts(self) -> (&'static str, f64, f64) {
        match self {
            Self::AtLeast { must, aim } => ("≥", must, aim),
            Self::AtMost { must, aim } => ("≤", must, aim),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(seconds: f64) -> Report {
        Report { messages: 1_000, seconds, ..Report::default() }
    }

    #[test]
    fn a_state_that_the_median_hides_is_the_worst_of_the_rounds() {
        let (own, first) = ([1.0, 1.0, 4.0].map(report), [2.0, 2.0, 2.0].map(report));
        let measured = Measured { own: &own, first: &first, messages: 1_000 };
        let target = Target::worst(Column::Rate, at_least(1.3, 1.6));
        let line = target.line("W", &measured);
        assert_eq!(
            line,
            "| W | thousand a second, worst ratio of 3 rounds | 0.50 | ≥ 1.3 | ≥ 1.6 | **must missed by 0.80** |"
        );
        assert!(Column::Rate.cell(&measured, &[target]).ends_with("**2.00**, worst **0.50** (must ≥ 1.3, aim ≥ 1.6)"));
    }

    #[test]
    fn a_limit_tells_what_is_missed_and_by_how_much() {
        assert_eq!(at_most(0.75, 0.5).verdict(0.8), "**must missed by 0.05**");
        assert_eq!(at_most(0.75, 0.5).verdict(0.6), "aim missed by 0.10");
        assert_eq!(at_most(0.75, 0.5).verdict(0.5), "met, the aim too");
        assert_eq!(at_least(1.3, 1.6).verdict(1.4), "aim missed by 0.20");
    }
}
