//! What calls have asked to be sent, and is on its way.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use crate::{
    bus::handle::Bus,
    error::PublishError,
    serve::{
        lanes::LaneId,
        settlement::{Publishing, Sent},
        waiting::Waiting,
    },
    transport::contract::Parcel,
};

/// What is on its way. An answer holds nothing; messages hold the lane of their call until they are in line.
pub(super) struct Departures<'a> {
    bus: &'a Bus,
    under_way: Waiting<Departing<'a>>,
    /// Answers in the order in which they were put in line, which is mostly that in which the server takes them: only the first is looked at.
    answers: VecDeque<Answering<'a>>,
    /// What the instance says of itself: nobody waits for it to be sent.
    notes: Waiting<Sending<'a>>,
}

/// A message on its way.
type Sending<'a> = Pin<Box<dyn Future<Output = Result<(), PublishError>> + Send + 'a>>;

/// Something on its way has come so far.
pub(super) enum Departed<'a> {
    /// The messages are in line: the lane may go on, and the rest has to.
    InLine {
        publication: Publication<'a>,
        lane: LaneId,
    },
    /// It is known what became of the messages. The lane is there unless they were in line before.
    Sent {
        route: usize,
        lane: Option<LaneId>,
        sent: Sent,
    },
    Answered {
        route: usize,
        result: Result<(), PublishError>,
    },
    /// What the instance says of itself.
    Noted(Result<(), PublishError>),
}

/// How far messages have come at once.
pub(super) enum Published<'a> {
    Sent(Sent),
    InLine,
    /// They wait for their place in line, and have to be held with their lane.
    Waits(Publication<'a>),
}

/// Messages on their way.
pub(super) struct Publication<'a> {
    route: usize,
    in_line: oneshot::Receiver<()>,
    sent: Pin<Box<dyn Future<Output = Sent> + Send + 'a>>,
}

impl Publication<'_> {
    pub(super) fn route(&self) -> usize {
        self.route
    }

    /// Whether the messages have their place in line, or will never have one.
    fn is_in_line(&mut self, context: &mut Context<'_>) -> bool {
        Pin::new(&mut self.in_line).poll(context).is_ready()
    }
}

/// One thing on its way.
enum Departing<'a> {
    Publication {
        publication: Option<Publication<'a>>,
        /// Until the messages are in line.
        lane: Option<LaneId>,
    },
    Answer(Answering<'a>),
}

/// An answer of the handler with this number, on its way.
struct Answering<'a> {
    route: usize,
    sent: Sending<'a>,
}

/// When so many answers wait behind one that is not taken, as by a node of a cluster that hangs, each is looked at: those that others have taken are not
/// kept for it.
const BEHIND: usize = 256;

impl<'a> Departures<'a> {
    pub(super) fn new(bus: &'a Bus) -> Self {
        Self { bus, under_way: Waiting::new(), answers: VecDeque::new(), notes: Waiting::new() }
    }

    /// Begins to publish what a handler returned.
    pub(super) fn publish(&mut self, route: usize, publishing: Publishing, context: &mut Context<'_>) -> Published<'a> {
        let (in_line, sent) = publishing.start(self.bus);
        let mut publication = Publication { route, in_line, sent };
        if let Poll::Ready(sent) = publication.sent.as_mut().poll(context) {
            return Published::Sent(sent);
        }
        if !publication.is_in_line(context) {
            return Published::Waits(publication);
        }
        self.go_on(publication);
        Published::InLine
    }

    /// Goes on with messages that hold a lane until they are in line.
    pub(super) fn hold(&mut self, publication: Publication<'a>, lane: LaneId) {
        self.under_way.push(Departing::Publication { publication: Some(publication), lane: Some(lane) });
    }

    /// Goes on with messages that are in line.
    pub(super) fn go_on(&mut self, publication: Publication<'a>) {
        self.under_way.push(Departing::Publication { publication: Some(publication), lane: None });
    }

    /// Begins to send an answer; `None` while it is on its way.
    pub(super) fn answer(
        &mut self,
        route: usize,
        answer: Parcel,
        context: &mut Context<'_>,
    ) -> Option<Result<(), PublishError>> {
        let bus = self.bus;
        // That nobody has received it is the requester's business: it may have stopped waiting.
        let mut sent = Box::pin(async move { bus.send(answer).await.map(drop) });
        match sent.as_mut().poll(context) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => {
                self.goes(Answering { route, sent });
                None
            }
        }
    }

    fn goes(&mut self, answer: Answering<'a>) {
        if self.answers.len() == BEHIND {
            self.answers.drain(..).for_each(|answer| self.under_way.push(Departing::Answer(answer)));
        }
        self.answers.push_back(answer);
    }

    /// Begins to send what the instance says of itself.
    pub(super) fn note(&mut self, note: Parcel) {
        let bus = self.bus;
        self.notes.push(Box::pin(async move { bus.send(note).await.map(drop) }));
    }

    /// What comes so far next; `None` while nothing is on its way.
    pub(super) async fn next(&mut self) -> Option<Departed<'a>> {
        poll_fn(|context| match self.come(context) {
            None if !self.is_empty() || !self.notes.is_empty() => Poll::Pending,
            departed => Poll::Ready(departed),
        })
        .await
    }

    /// What has come so far already.
    pub(super) fn come(&mut self, context: &mut Context<'_>) -> Option<Departed<'a>> {
        if let Some(answer) = self.answers.front_mut()
            && let Poll::Ready(departed) = answer.poll(context)
        {
            self.answers.pop_front();
            return Some(departed);
        }
        self.under_way.ended(context).or_else(|| self.notes.ended(context).map(Departed::Noted))
    }

    pub(super) fn len(&self) -> usize {
        self.under_way.len() + self.answers.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty() && self.answers.is_empty()
    }
}

impl<'a> Answering<'a> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Departed<'a>> {
        self.sent.as_mut().poll(context).map(|result| Departed::Answered { route: self.route, result })
    }
}

impl<'a> Future for Departing<'a> {
    type Output = Departed<'a>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Departed<'a>> {
        match &mut *self {
            Self::Answer(answer) => answer.poll(context),
            Self::Publication { publication: place, lane } => {
                let Some(mut publication) = place.take() else { return Poll::Pending };
                if let Poll::Ready(sent) = publication.sent.as_mut().poll(context) {
                    return Poll::Ready(Departed::Sent { route: publication.route, lane: lane.take(), sent });
                }
                if let Some(held) = *lane
                    && publication.is_in_line(context)
                {
                    return Poll::Ready(Departed::InLine { publication, lane: held });
                }
                *place = Some(publication);
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, task::Waker};

    use super::*;

    #[tokio::test]
    async fn answers_that_are_taken_are_not_kept_for_long_behind_one_that_is_not() {
        let bus = Bus::connect("memory:").await.unwrap();
        let mut departures = Departures::new(&bus);
        let mut context = Context::from_waker(Waker::noop());
        let mut senders = Vec::new();
        for route in 0..=BEHIND {
            let (sender, taken) = oneshot::channel::<()>();
            senders.push(sender);
            let sent = async { taken.await.map_err(|_| unreachable!("nobody drops it")) };
            departures.goes(Answering { route, sent: Box::pin(sent) });
            // All but the first are taken.
            if route > 0 {
                senders.pop().unwrap().send(()).unwrap();
            }
            assert_eq!(departures.len(), route + 1);
            assert!(route == BEHIND || departures.come(&mut context).is_none());
        }
        let mut routes = HashSet::new();
        // The runtime lets a tokio task take only so many at once.
        for _ in 0..BEHIND {
            while let Some(departed) = departures.come(&mut context) {
                let Departed::Answered { route, result: Ok(()) } = departed else { panic!("they are answers") };
                routes.insert(route);
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(routes, (1..=BEHIND).collect());
        assert_eq!(departures.len(), 1);
        senders.pop().unwrap().send(()).unwrap();
        assert!(matches!(departures.come(&mut context), Some(Departed::Answered { route: 0, .. })));
        assert!(departures.is_empty());
    }
}
