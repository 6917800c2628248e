//! What handlers report of the tasks that an instance has, until it is noted.
//!
//! A report is only put down, however often it comes; whoever notes takes what has changed of all tasks together. Nothing here waits or looks at a
//! clock.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

use crate::transport::durable::{
    course::{Note, Progress, Reported},
    task::{Entry, EntryAt},
};

/// The reports of the tasks that an instance has of one queue.
pub(crate) struct Reports {
    book: Mutex<Book>,
    /// Handlers of so many tasks have asked for theirs. Of a queue whose handler reports nothing nobody looks into the book.
    open: AtomicUsize,
    /// Whether something is to be noted.
    is_due: AtomicBool,
    /// Tells whoever notes that something is to be noted.
    due: Arc<Notify>,
}

#[derive(Default)]
struct Book {
    open: HashMap<EntryAt, Arc<Report>>,
    due: Vec<Arc<Report>>,
}

/// What the handler of one task reports.
pub(crate) struct Report {
    at: EntryAt,
    id: Arc<str>,
    reports: Weak<Reports>,
    state: Mutex<State>,
    /// Told when something was noted, and when the attempt is over.
    noted: Notify,
}

#[derive(Default)]
struct State {
    reported: Reported,
    checkpoint: Option<Arc<[u8]>>,
    /// Counts what was put down.
    version: u64,
    /// Those of the last report and of the checkpoint.
    report_version: u64,
    checkpoint_version: u64,
    /// What was sent to be noted, and what is noted.
    sent: u64,
    noted: u64,
    /// Whether it is among what is to be noted.
    is_due: bool,
    is_over: bool,
}

/// What is to be noted of a task.
pub(crate) struct DueNote {
    pub(crate) report: Arc<Report>,
    pub(crate) note: Note,
    version: u64,
}

/// The attempt is over: nothing is noted any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IsOver;

impl Reports {
    pub(crate) fn new(due: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self { book: Mutex::default(), open: AtomicUsize::new(0), is_due: AtomicBool::new(false), due })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The report of a task, the same however often it is asked for.
    pub(crate) fn of(self: &Arc<Self>, entry: &Entry) -> Arc<Report> {
        let mut book = self.book();
        let report = book.open.entry(entry.at.clone()).or_insert_with(|| {
            self.open.fetch_add(1, Ordering::Relaxed);
            Arc::new(Report {
                at: entry.at.clone(),
                id: Arc::clone(&entry.id),
                reports: Arc::downgrade(self),
                state: Mutex::default(),
                noted: Notify::new(),
            })
        });
        Arc::clone(report)
    }

    /// Whether something is to be noted.
    pub(crate) fn is_due(&self) -> bool {
        self.is_due.load(Ordering::Relaxed)
    }

    /// What is to be noted, of so many tasks at most.
    pub(crate) fn take_due(&self, limit: usize) -> Vec<DueNote> {
        let mut book = self.book();
        let count = book.due.len().min(limit);
        let due: Vec<Arc<Report>> = book.due.drain(..count).collect();
        self.is_due.store(!book.due.is_empty(), Ordering::Relaxed);
        drop(book);
        due.into_iter().filter_map(Report::taken).collect()
    }

    /// The attempt at a task is over: what it has reported and is not noted.
    #[inline]
    pub(crate) fn close(&self, at: &EntryAt) -> Option<Progress> {
        if self.open.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let report = self.book().open.remove(at)?;
        self.open.fetch_sub(1, Ordering::Relaxed);
        report.close()
    }

    fn add_due(&self, report: Arc<Report>) {
        self.book().due.push(report);
        self.is_due.store(true, Ordering::Relaxed);
        self.due.notify_one();
    }
}

impl Drop for Reports {
    /// Whoever waits does not wait for ever.
    fn drop(&mut self) {
        for report in self.book().open.values() {
            report.close();
        }
    }
}

impl Report {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Puts down how far the task has come.
    pub(crate) fn report(self: &Arc<Self>, fraction: Option<f64>, text: &str) {
        self.change(|state| {
            state.reported.fraction = fraction;
            // Its memory is used again.
            state.reported.text.clear();
            state.reported.text.push_str(text);
            state.report_version = state.version;
        });
    }

    /// Puts down what the next attempt goes on from, in JSON.
    pub(crate) fn checkpoint(self: &Arc<Self>, checkpoint: Vec<u8>) {
        self.change(|state| {
            state.checkpoint = Some(checkpoint.into());
            state.checkpoint_version = state.version;
        });
    }

    /// What this attempt has put down for the next one.
    pub(crate) fn own_checkpoint(&self) -> Option<Arc<[u8]>> {
        self.state().checkpoint.clone()
    }

    fn change(self: &Arc<Self>, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        if state.is_over {
            return;
        }
        state.version += 1;
        change(&mut state);
        let was_due = std::mem::replace(&mut state.is_due, true);
        drop(state);
        if !was_due && let Some(reports) = self.reports.upgrade() {
            reports.add_due(Arc::clone(self));
        }
    }

    /// Waits until all that was reported before is noted.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(crate) async fn flush(&self) -> Result<(), IsOver> {
        let version = self.state().version;
        loop {
            let noted = self.noted.notified();
            tokio::pin!(noted);
            // Registered before the look, so that nothing between the two is missed.
            noted.as_mut().enable();
            {
                let state = self.state();
                if state.noted >= version {
                    return Ok(());
                }
                if state.is_over {
                    return Err(IsOver);
                }
            }
            noted.await;
        }
    }

    fn taken(self: Arc<Self>) -> Option<DueNote> {
        let mut state = self.state();
        state.is_due = false;
        let (version, progress) = (state.version, state.not_noted());
        let is_again = state.report_version <= state.sent;
        state.sent = version;
        drop(state);
        let note = Note { at: self.at.clone(), id: Arc::clone(&self.id), progress: progress?, is_again };
        Some(DueNote { report: self, note, version })
    }

    fn close(&self) -> Option<Progress> {
        let mut state = self.state();
        state.is_over = true;
        let progress = state.not_noted();
        drop(state);
        self.noted.notify_waiters();
        progress
    }
}

impl State {
    fn not_noted(&self) -> Option<Progress> {
        let checkpoint = self.checkpoint.as_ref().filter(|_| self.checkpoint_version > self.noted);
        (self.version > self.noted).then(|| Progress {
            reported: (self.report_version > self.noted).then(|| self.reported.clone()),
            checkpoint: checkpoint.map(|checkpoint| checkpoint.to_vec()),
        })
    }
}

impl DueNote {
    /// It is noted.
    pub(crate) fn noted(self) {
        let mut state = self.report.state();
        state.noted = state.noted.max(self.version);
        drop(state);
        self.report.noted.notify_waiters();
    }

    /// It is not known to be noted, and is to be noted again.
    pub(crate) fn again(self) {
        let mut state = self.report.state();
        let is_wanted = !state.is_over && !std::mem::replace(&mut state.is_due, true);
        drop(state);
        if is_wanted && let Some(reports) = self.report.reports.upgrade() {
            reports.add_due(self.report);
        }
    }

    /// The task is not the instance's any more. Whether that was not known yet.
    pub(crate) fn lost(self) -> Option<EntryAt> {
        let was_over = self.report.state().is_over;
        self.report.close();
        (!was_over).then(|| self.report.at.clone())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt;

    use crate::transport::durable::record::Record;

    use super::*;

    fn entry(id: &str) -> Entry {
        let at = EntryAt { channel: "tasks".into(), is_back: false, entry: id.into() };
        let id = id.into();
        let (payload, record) = (Bytes::new(), Record::default());
        Entry { at, id, name: None, version: None, payload, record, unique: None, expires_at: None }
    }

    fn said(due: &DueNote) -> Option<&str> {
        due.note.progress.reported.as_ref().map(|reported| reported.text.as_str())
    }

    #[test]
    fn a_million_reports_are_one_note_with_the_last_of_them() {
        let reports = Reports::new(Arc::default());
        let report = reports.of(&entry("1"));
        for number in 0..1_000_000 {
            report.report(Some(f64::from(number) / 1e6), if number == 999_999 { "last" } else { "one" });
        }
        let mut due = reports.take_due(10);
        assert_eq!(due.len(), 1);
        assert_eq!(said(&due[0]), Some("last"));
        assert!(!reports.is_due() && reports.take_due(10).is_empty());
        due.remove(0).noted();
        assert_eq!(reports.close(&entry("1").at), None);
    }

    #[test]
    fn a_checkpoint_is_noted_once_and_goes_with_the_settlement_where_it_is_not() {
        let reports = Reports::new(Arc::default());
        let report = reports.of(&entry("1"));
        report.checkpoint(b"7".to_vec());
        let due = reports.take_due(10).remove(0);
        assert_eq!(due.note.progress.checkpoint.as_deref(), Some(b"7".as_slice()));
        // It changes while it is on its way.
        report.report(None, "on");
        due.noted();
        let due = reports.take_due(10).remove(0);
        assert_eq!((due.note.progress.checkpoint.as_deref(), said(&due)), (None, Some("on")));
        due.again();
        assert!(reports.is_due());
        report.checkpoint(b"8".to_vec());
        let left = reports.close(&entry("1").at).unwrap();
        assert_eq!((left.checkpoint.as_deref(), &*left.reported.unwrap().text), (Some(b"8".as_slice()), "on"));
        assert_eq!(report.own_checkpoint().as_deref(), Some(b"8".as_slice()));
        // Nothing is reported any more, and nobody is kept.
        report.report(None, "late");
        assert_eq!(reports.close(&entry("1").at), None);
    }

    #[test]
    fn a_checkpoint_says_nothing_of_a_report_that_is_noted() {
        let reports = Reports::new(Arc::default());
        let report = reports.of(&entry("1"));
        report.report(Some(0.5), "half");
        let due = reports.take_due(10).remove(0);
        assert_eq!((said(&due), due.note.is_again), (Some("half"), false));
        due.noted();
        report.checkpoint(b"7".to_vec());
        let due = reports.take_due(10).remove(0);
        assert_eq!((due.note.progress.checkpoint.is_some(), said(&due)), (true, None));
        due.noted();
        // The same words are a report of their own, until they are sent again.
        for is_again in [false, true, true] {
            if !is_again {
                report.report(Some(0.5), "half");
            }
            report.checkpoint(b"8".to_vec());
            let due = reports.take_due(10).remove(0);
            assert_eq!((said(&due), due.note.is_again), (Some("half"), is_again));
            due.again();
        }
        let left = reports.close(&entry("1").at).unwrap();
        assert_eq!((left.reported.unwrap().fraction, left.checkpoint.as_deref()), (Some(0.5), Some(b"8".as_slice())));
    }

    #[test]
    fn a_flush_waits_for_what_was_reported_before_it_and_ends_with_the_attempt() {
        let reports = Reports::new(Arc::default());
        let report = reports.of(&entry("1"));
        assert_eq!(report.flush().now_or_never(), Some(Ok(())));
        report.report(Some(0.5), "half");
        let flush = report.flush();
        tokio::pin!(flush);
        assert_eq!(flush.as_mut().now_or_never(), None);
        reports.take_due(10).remove(0).noted();
        assert_eq!(flush.now_or_never(), Some(Ok(())));
        report.report(Some(0.6), "more");
        let due = reports.take_due(10).remove(0);
        let flush = report.flush();
        tokio::pin!(flush);
        assert_eq!(flush.as_mut().now_or_never(), None);
        assert_eq!(due.lost(), Some(entry("1").at));
        assert_eq!(flush.now_or_never(), Some(Err(IsOver)));
    }

    #[test]
    fn nobody_waits_for_an_instance_that_is_gone() {
        let reports = Reports::new(Arc::default());
        let report = reports.of(&entry("1"));
        report.report(None, "on");
        let flush = report.flush();
        tokio::pin!(flush);
        assert_eq!(flush.as_mut().now_or_never(), None);
        drop(reports);
        assert_eq!(flush.now_or_never(), Some(Err(IsOver)));
    }

    #[test]
    fn so_many_are_taken_and_the_rest_is_due_still() {
        let reports = Reports::new(Arc::default());
        for id in ["1", "2", "3"] {
            reports.of(&entry(id)).report(None, id);
        }
        assert_eq!(reports.take_due(2).len(), 2);
        assert!(reports.is_due());
        assert_eq!(reports.take_due(2).len(), 1);
        assert!(!reports.is_due());
    }
}
