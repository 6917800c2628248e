//! One message on its way to the server: in line at once where nothing is in the way, which takes no future of futures.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::transport::{
    contract::{Parcel, Published},
    redis::{
        answer::{Coming, Unanswered, Wakes},
        commands::{OpenPipeline, SURELY_FITS, SharedLink, publish_words},
    },
};

/// See [`Commands::publish`](super::commands::Commands::publish).
pub(super) struct Publishing<'a>(State<'a>);

enum State<'a> {
    New(&'a SharedLink, Parcel),
    InLine(InLine<'a>),
    /// There is no connection, or no room, or the payload is large, or it has to be sent again.
    Hindered(BoxFuture<'a, Published>),
    Ended,
}

struct InLine<'a> {
    link: &'a SharedLink,
    live: Arc<OpenPipeline>,
    parcel: Parcel,
    deadline: Instant,
    answer: Coming,
}

impl<'a> Publishing<'a> {
    pub(super) fn new(link: &'a SharedLink, parcel: Parcel) -> Self {
        Self(State::New(link, parcel))
    }

    /// One that has another way to go.
    pub(super) fn hindered(published: BoxFuture<'a, Published>) -> Self {
        Self(State::Hindered(published))
    }
}

/// Puts the message in line.
fn begin(link: &SharedLink, parcel: Parcel) -> State<'_> {
    let now = Instant::now();
    let deadline = now + link.settings.command_timeout;
    if parcel.payload.len() <= SURELY_FITS
        && let Some(live) = link.live()
        && let Ok(answer) = live.pipeline.send(now, publish_words(&parcel), parcel.expiry, wakes(&parcel))
    {
        return State::InLine(InLine { link, live, parcel, deadline, answer });
    }
    State::Hindered(Box::pin(async move { link.publish(now, deadline, &parcel).await }))
}

/// Sends a message for which there was a connection, which was lost before the message left.
fn again(InLine { link, parcel, deadline, .. }: InLine<'_>) -> State<'_> {
    State::Hindered(Box::pin(async move { link.publish(Instant::now(), deadline, &parcel).await }))
}

pub(super) fn wakes(parcel: &Parcel) -> Wakes {
    if parcel.is_quiet { Wakes::OfTrouble } else { Wakes::Always }
}

impl Future for Publishing<'_> {
    type Output = Published;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Published> {
        loop {
            let state = match &mut self.0 {
                State::InLine(InLine { answer, .. }) => {
                    let answered = ready!(Pin::new(answer).poll(context));
                    let State::InLine(in_line) = std::mem::replace(&mut self.0, State::Ended) else { continue };
                    if let Err(Unanswered::NotSent) = answered {
                        again(in_line)
                    } else {
                        return Poll::Ready(in_line.link.result(&in_line.live, &in_line.parcel, Some(answered)));
                    }
                }
                State::Hindered(published) => {
                    let published = ready!(published.as_mut().poll(context));
                    self.0 = State::Ended;
                    return Poll::Ready(published);
                }
                State::New(..) => {
                    let State::New(link, parcel) = std::mem::replace(&mut self.0, State::Ended) else { continue };
                    link.life.check(parcel.template)?;
                    begin(link, parcel)
                }
                State::Ended => return Poll::Pending,
            };
            self.0 = state;
        }
    }
}
