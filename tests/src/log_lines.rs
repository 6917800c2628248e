//! What is logged, as lines.

use std::{
    fmt::{self, Write as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::DefaultGuard,
};

/// Collects what tidings logs, as `LEVEL message=… field=value …`. Clones share their lines.
#[derive(Clone, Debug)]
pub struct LogLines {
    lines: Arc<Mutex<Vec<String>>>,
    level: Level,
    with_spans: bool,
}

impl LogLines {
    /// Lines of this level and those above it, of this thread, until the guard is dropped.
    #[must_use]
    pub fn of_this_thread(level: Level) -> (Self, DefaultGuard) {
        let lines = Self::new(level, false);
        let guard = tracing::subscriber::set_default(lines.clone());
        (lines, guard)
    }

    /// Lines of the whole process, of every level. With spans, each of these is a line too.
    #[must_use]
    pub fn of_this_process(with_spans: bool) -> Self {
        let lines = Self::new(Level::TRACE, with_spans);
        tracing::subscriber::set_global_default(lines.clone()).expect("a process has one subscriber");
        lines
    }

    fn new(level: Level, with_spans: bool) -> Self {
        Self { lines: Arc::default(), level, with_spans }
    }

    /// The lines so far.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.lock().clone()
    }

    /// Forgets the lines so far.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscriber for LogLines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("tidings") && *metadata.level() <= self.level
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        if self.with_spans {
            let mut line = Line(attributes.metadata().name().to_owned());
            attributes.record(&mut line);
            self.lock().push(line.0);
        }
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, values: &span::Record<'_>) {
        if self.with_spans {
            let mut line = Line(String::new());
            values.record(&mut line);
            self.lock().push(line.0);
        }
    }

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.lock().push(line.0);
    }

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}
