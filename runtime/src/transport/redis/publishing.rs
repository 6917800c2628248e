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
        answer::{Coming, Unanswered},
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
        && let Ok(answer) = live.pipeline.send(now, publish_words(&parcel), parcel.expiry, parcel.receipt)
    {
        return State::InLine(InLine { link, live, parcel, deadline, answer });
    }
    State::Hindered(Box::pin(async move { link.publish(now, deadline, &parcel).await }))
}

/// Sends a message for which there was a connection, which was lost before the message left.
fn again(InLine { link, parcel, deadline, .. }: InLine<'_>) -> State<'_> {
    State::Hindered(Box::pin(async move { link.publish(Instant::now(), deadline, &parcel).await }))
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

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use crate::{
        config::Config,
        transport::{
            contract::{Reach, ReceiptComes},
            redis::{Redis, tests::server::Server},
        },
    };

    use super::*;

    fn parcel(size: usize) -> Parcel {
        let (channel, payload) = ("a".to_owned(), vec![b'x'; size]);
        Parcel {
            template: "a",
            reach: Reach::Channel,
            channel,
            payload,
            expiry: None,
            receipt: ReceiptComes::AfterSubscribers,
        }
    }

    fn polled(publishing: &mut Publishing<'_>) -> Poll<Published> {
        Pin::new(publishing).poll(&mut Context::from_waker(Waker::noop()))
    }

    async fn connected(server: &Server) -> Redis {
        Redis::connect(&server.url(), &Config::default()).await.unwrap()
    }

    #[tokio::test]
    async fn a_message_is_in_line_when_it_was_polled_unless_it_is_so_large_that_the_server_may_not_take_it() {
        let server = Server::start();
        let redis = connected(&server).await;
        for (size, is_in_line) in [(0, true), (SURELY_FITS, true), (SURELY_FITS + 1, false)] {
            let mut publishing = redis.commands.publish(parcel(size));
            assert!(polled(&mut publishing).is_pending());
            assert_eq!(matches!(publishing.0, State::InLine(_)), is_in_line, "{size}");
            assert_eq!(publishing.await.unwrap(), Some(0));
        }
    }

    #[tokio::test]
    async fn subscribers_come_first_where_the_user_may_ping_and_the_program_wants_it() {
        let server = Server::start();
        server.run("ACL SETUSER anna on nopass +@all -ping ~* &*");
        server.run("CONFIG RESETSTAT");
        let pings =
            || server.text("INFO commandstats").lines().find(|line| line.contains("cmdstat_ping:")).map(str::to_owned);
        let anna =
            Redis::connect(&format!("redis://anna:x@127.0.0.1:{}", server.port), &Config::default()).await.unwrap();
        let unordered = Config { subscribers_first: false, ..Config::default() };
        let unordered = Redis::connect(&server.url(), &unordered).await.unwrap();
        for redis in [&anna, &unordered] {
            for _ in 0..3 {
                assert_eq!(redis.commands.publish(parcel(1)).await.unwrap(), Some(0));
            }
        }
        let seen = pings().unwrap();
        assert!(seen.contains("calls=0,") && seen.contains("rejected_calls=1,"), "{seen}");
        let ordered = connected(&server).await;
        for _ in 0..3 {
            assert_eq!(ordered.commands.publish(parcel(1)).await.unwrap(), Some(0));
        }
        let seen = pings().unwrap();
        assert!(seen.contains("calls=3,") && seen.contains("rejected_calls=1,"), "{seen}");
    }

    #[tokio::test]
    async fn what_has_not_left_when_its_connection_is_lost_is_sent_on_the_next_one() {
        let server = Server::start();
        let redis = connected(&server).await;
        let [mut first, mut second, mut third] = [(); 3].map(|()| redis.commands.publish(parcel(1)));
        assert!(polled(&mut first).is_pending() && polled(&mut second).is_pending());
        // Nothing has run since then, so only the first one, which its caller has written, can have left.
        redis.commands.link.live().unwrap().pipeline.retire("enough");
        assert!(polled(&mut third).is_pending(), "there is no connection");
        for published in [first.await, second.await, third.await] {
            assert_eq!(published.unwrap(), Some(0));
        }
        let published = server.text("INFO commandstats");
        assert!(published.contains("cmdstat_publish:calls=3,"), "{published}");
    }
}
