//! Readers that wait for a task: whoever waits longest is served first.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::oneshot;

use crate::transport::durable::contract::Waited;

/// Why a reader that waits gets nothing.
#[derive(Debug)]
pub(crate) enum Cut {
    /// Its connection was cut.
    Lost,
    /// Its instance crashed, as the test wanted.
    Crashed,
}

/// A reader that waits.
#[derive(Debug)]
pub(crate) struct Blocked {
    pub(crate) ticket: u64,
    pub(crate) instance: Arc<str>,
    /// None of one that rests until the queue goes on.
    pub(crate) parts: Vec<Arc<str>>,
    pub(crate) at_most_once: bool,
    /// Nothing is brought where it was only woken.
    pub(crate) answer: oneshot::Sender<Result<Waited, Cut>>,
}

/// Those that wait, in order.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    queue: VecDeque<Blocked>,
    /// How many are to be woken: one because a task has become the earliest due, or all because the queue was paused.
    news: usize,
}

impl Waiting {
    pub(crate) fn push(&mut self, blocked: Blocked) {
        self.queue.push_back(blocked);
    }

    /// It waits no longer; whether it did still.
    pub(crate) fn leave(&mut self, ticket: u64) -> bool {
        let before = self.queue.len();
        self.queue.retain(|blocked| blocked.ticket != ticket);
        self.queue.len() < before
    }

    /// The first for whom something is there.
    pub(crate) fn first(&mut self, has_something: impl Fn(&Blocked) -> bool) -> Option<Blocked> {
        let at = self.queue.iter().position(has_something)?;
        self.queue.remove(at)
    }

    /// One of those who wait, or the next one who will, is to look when the next task is due.
    pub(crate) fn tell_one(&mut self) {
        self.tell(1);
    }

    /// So many of those who wait, or will, are to look.
    pub(crate) fn tell(&mut self, count: usize) {
        self.news = self.news.max(count);
    }

    /// Whether the one that asks is the one that is to be told.
    pub(crate) fn take_news(&mut self) -> bool {
        let is_told = self.news > 0;
        self.news = self.news.saturating_sub(1);
        is_told
    }

    /// Wakes those that are to be told, if somebody waits.
    pub(crate) fn pass_on_news(&mut self, is_paused: bool) {
        while self.news > 0
            && let Some(blocked) = self.queue.pop_front()
        {
            self.news -= 1;
            let _ = blocked.answer.send(Ok(Waited { entries: Vec::new(), is_paused }));
        }
    }

    /// Has everybody look.
    pub(crate) fn wake_all(&mut self, is_paused: bool) {
        for blocked in self.queue.drain(..) {
            let _ = blocked.answer.send(Ok(Waited { entries: Vec::new(), is_paused }));
        }
    }

    pub(crate) fn cut_all(&mut self) {
        for blocked in self.queue.drain(..) {
            let _ = blocked.answer.send(Err(Cut::Lost));
        }
    }

    pub(crate) fn crashed(&mut self, instance: &str) {
        while let Some(blocked) = self.first(|blocked| &*blocked.instance == instance) {
            let _ = blocked.answer.send(Err(Cut::Crashed));
        }
    }
}
