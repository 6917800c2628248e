//! What a command was answered with, or why it was not, and the way of that to who awaits it.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

pub(super) type Answered = Result<Response, Unanswered>;

#[derive(Debug)]
pub(super) enum Response {
    Integer(u64),
    /// The server's words, cleaned.
    Error(String),
    /// The texts of any other answer.
    Texts(Vec<String>),
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    NotSent,
    /// The command may have been executed.
    Lost(String),
    /// The same: there was no answer in time.
    Late,
}

/// Why whoever has asked has no answer.
#[derive(Debug)]
pub(super) enum Unasked {
    /// It was not sent, for this reason.
    NotSent(String),
    /// It may have been carried out.
    Lost(String),
    /// The same: there was no answer in time.
    Late,
}

/// Brings one answer to who awaits it. Dropped before, it says that there will be none.
#[derive(Debug)]
pub(super) struct Answering(Option<Arc<Slot>>);

/// Resolves with the answer, once.
///
/// # Cancel safety
///
/// Dropping it takes back nothing of what was sent.
#[derive(Debug)]
pub(super) struct Coming(Arc<Slot>);

#[derive(Debug)]
struct Slot {
    state: Mutex<State>,
    wakes: Wakes,
}

#[derive(Debug)]
enum State {
    Awaited(Option<Waker>),
    Answered(Answered),
    Taken,
}

/// When who awaits an answer is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wakes {
    Always,
    /// Not by a number above zero: it says that all is well, and can wait until something else wakes who awaits it.
    OfTrouble,
}

/// A way for one answer.
pub(super) fn answer(wakes: Wakes) -> (Answering, Coming) {
    let slot = Arc::new(Slot { state: Mutex::new(State::Awaited(None)), wakes });
    (Answering(Some(Arc::clone(&slot))), Coming(slot))
}

impl Answering {
    pub(super) fn send(mut self, answer: Answered) {
        if let Some(slot) = self.0.take() {
            slot.fill(answer);
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take() {
            slot.fill(Err(Unanswered::Lost("the connection's tokio task has ended".to_owned())));
        }
    }
}

impl Slot {
    fn fill(&self, answer: Answered) {
        let is_well = matches!(answer, Ok(Response::Integer(1..)));
        let mut state = self.lock();
        let before = std::mem::replace(&mut *state, State::Answered(answer));
        drop(state);
        if let State::Awaited(Some(waiting)) = before
            && (self.wakes == Wakes::Always || !is_well)
        {
            waiting.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Future for Coming {
    type Output = Answered;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answered> {
        let mut state = self.0.lock();
        match &mut *state {
            State::Awaited(Some(waiting)) => waiting.clone_from(context.waker()),
            State::Awaited(none) => *none = Some(context.waker().clone()),
            State::Answered(_) | State::Taken => {
                if let State::Answered(answer) = std::mem::replace(&mut *state, State::Taken) {
                    return Poll::Ready(answer);
                }
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::{FutureExt, task::ArcWake};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl ArcWake for Woken {
        fn wake_by_ref(woken: &Arc<Self>) {
            woken.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What comes of an answer that is awaited: how often who awaits it is woken, and what it then finds.
    fn awaited(wakes: Wakes, send: impl FnOnce(Answering)) -> (usize, String) {
        let woken = Arc::new(Woken::default());
        let waker = futures_util::task::waker(Arc::clone(&woken));
        let (answering, mut coming) = answer(wakes);
        assert!(coming.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
        send(answering);
        let times = woken.0.load(Ordering::Relaxed);
        (times, format!("{:?}", coming.now_or_never()))
    }

    #[test]
    fn who_awaits_an_answer_is_woken_by_it_and_some_only_by_trouble() {
        let number = |number| move |answering: Answering| answering.send(Ok(Response::Integer(number)));
        assert_eq!(awaited(Wakes::Always, number(1)), (1, "Some(Ok(Integer(1)))".to_owned()));
        assert_eq!(awaited(Wakes::OfTrouble, number(1)), (0, "Some(Ok(Integer(1)))".to_owned()));
        assert_eq!(awaited(Wakes::OfTrouble, number(0)), (1, "Some(Ok(Integer(0)))".to_owned()));
        let refuse = |answering: Answering| answering.send(Ok(Response::Error("NOPERM".to_owned())));
        assert_eq!(awaited(Wakes::OfTrouble, refuse), (1, r#"Some(Ok(Error("NOPERM")))"#.to_owned()));
        let late = |answering: Answering| answering.send(Err(Unanswered::Late));
        assert_eq!(awaited(Wakes::OfTrouble, late), (1, "Some(Err(Late))".to_owned()));
        let (times, found) = awaited(Wakes::OfTrouble, drop);
        assert!(times == 1 && found.contains("the connection's tokio task has ended"), "{times}, {found}");
    }

    #[test]
    fn an_answer_that_came_first_is_there_and_comes_once() {
        let (answering, mut coming) = answer(Wakes::OfTrouble);
        answering.send(Ok(Response::Integer(7)));
        assert!(matches!((&mut coming).now_or_never(), Some(Ok(Response::Integer(7)))));
        assert!((&mut coming).now_or_never().is_none());
        let (answering, coming) = answer(Wakes::Always);
        drop(coming);
        answering.send(Err(Unanswered::NotSent));
    }
}
