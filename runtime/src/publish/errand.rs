//! The way of a request: an instance is found, gets it, and answers, or the next one does.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};

use crate::{
    bus::{
        book::{Instance, Turn, Wanted},
        directory::Directory,
        instances::key,
        replies::{Arrived, Replies, Waiter},
    },
    codec::{
        answers::{ANSWER, Answer, Answers, PassedOn},
        contract::{Codec, Exchange},
        slot::whole_millis,
    },
    error::{RequestError, SubscribeError},
    message::kind::Request,
    publish::addressed::Addressed,
    time::{deadline_after, inherited, now},
    transport::{
        contract::{Parcel, Reach},
        frame::Frame,
    },
};

/// What comes of a request.
pub(super) type Output<M> = Result<<M as Request>::Reply, RequestError<<M as Request>::Error>>;

/// A request on its way, within its time.
pub(super) struct Errand<'e, 'a, M> {
    to_send: &'e Addressed<'a, M>,
    /// The template as it is asked for.
    key: String,
    timeout: Duration,
    deadline: Instant,
    idempotent: bool,
}

/// What has come of a request in the hands of one instance.
enum Handed<M: Request> {
    Answered(Output<M>),
    /// Nothing of it was begun.
    Declined(PassedOn),
    /// Nobody has received it.
    Undelivered,
    /// Whether it was handled is not known.
    Lost(RequestError<M::Error>),
}

/// So often it is asked whether an instance that has not answered is still there.
const STILL_THERE: Duration = Duration::from_secs(1);
/// So long an answer may take that was published before its instance was gone.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

impl<'e, 'a, M: Request> Errand<'e, 'a, M> {
    /// Begins the time: what is left to the handler that asks, where that is less.
    pub(super) fn new(to_send: &'e Addressed<'a, M>, timeout: Duration, idempotent: bool) -> Self {
        let own = deadline_after(timeout);
        let (deadline, timeout) = match inherited().map(Instant::from_std) {
            Some(inherited) if inherited < own => (inherited, inherited.saturating_duration_since(Instant::now())),
            _ => (own, timeout),
        };
        Self { to_send, key: key(M::TEMPLATE), timeout, deadline, idempotent }
    }

    /// One instance handles it: one of the group, if there is one named.
    pub(super) async fn run(&self, group: Option<&str>) -> Output<M> {
        self.to_send.check()?;
        let (directory, replies) = Box::pin(self.in_time(self.opened())).await??;
        let (mut tried, mut last) = (Vec::new(), None);
        loop {
            let wanted = self.wanted(group, &tried);
            let found = self.in_time(directory.find(self.to_send.bus, M::TEMPLATE.text(), &wanted)).await;
            let turn = match found {
                Ok(found) => found?,
                // What others have said says more than that nobody else was found.
                Err(late) => return Err(last.unwrap_or(late)),
            };
            let Some(turn) = turn else { return Err(last.unwrap_or_else(|| self.nobody(directory))) };
            match self.hand(directory, replies, &turn).await? {
                Handed::Answered(output) => return output,
                // The instance counts the time from when it got the request, and was a moment ahead.
                Handed::Declined(PassedOn::Expired) => return Err(self.timed_out()),
                Handed::Declined(why) => last = Some(declined(M::TEMPLATE.text(), why)),
                Handed::Undelivered => {}
                // The instance is there, and may have it again.
                Handed::Lost(error @ RequestError::ConnectionLost { .. }) if self.idempotent => {
                    last = Some(error);
                    continue;
                }
                Handed::Lost(error) if self.idempotent => last = Some(error),
                Handed::Lost(error) => return Err(error),
            }
            tried.push(Arc::clone(&turn.instance));
        }
    }

    /// The groups of which somebody takes it.
    pub(super) async fn groups(&self) -> Result<Vec<String>, RequestError<M::Error>> {
        self.to_send.check()?;
        let (directory, _) = Box::pin(self.in_time(self.opened())).await??;
        let wanted = self.wanted(None, &[]);
        let groups = self.in_time(directory.groups(self.to_send.bus, M::TEMPLATE.text(), &wanted)).await??;
        if groups.is_empty() { Err(self.nobody(directory)) } else { Ok(groups) }
    }

    /// Where instances and answers are heard of: subscribed with the first request of the bus.
    async fn opened(&self) -> Result<(&'a Directory, &'a Replies), SubscribeError> {
        let bus = self.to_send.bus;
        tokio::try_join!(bus.directory(), bus.replies())
    }

    fn wanted<'w>(&'w self, group: Option<&'w str>, tried: &'w [Arc<Instance>]) -> Wanted<'w> {
        Wanted { template: &self.key, message: M::NAME, version: M::VERSION, group, tried }
    }

    /// Gives the request to an instance, and waits for its answer.
    async fn hand(
        &self,
        directory: &Directory,
        replies: &Replies,
        turn: &Turn,
    ) -> Result<Handed<M>, RequestError<M::Error>> {
        let mut waiter = replies.wait_for_one(&turn.instance);
        let time_left = whole_millis(self.deadline.saturating_duration_since(Instant::now()));
        let exchange = Exchange::new(&waiter.correlation_id).reply_to(replies.channel()).time_left(time_left);
        let parcel = self.to_send.attempt(exchange)?.into_inbox(turn.instance.inbox());
        if self.in_time(self.to_send.bus.send(parcel)).await??.receivers == Some(0) {
            self.gone(directory, replies, turn);
            return Ok(Handed::Undelivered);
        }
        let Some(arrived) = self.arrived(directory, replies, turn, &mut waiter).await else {
            waiter.overdue(&turn.instance);
            return Err(self.timed_out());
        };
        Ok(self.read(arrived, turn))
    }

    /// What arrives for the request; `None` when the time is over. After the loss of the instance it is waited for an answer that is on its way:
    /// one that has stopped has answered everything before it left.
    async fn arrived(
        &self,
        directory: &Directory,
        replies: &Replies,
        turn: &Turn,
        waiter: &mut Waiter,
    ) -> Option<Arrived> {
        match self.first(directory, replies, turn, waiter).await? {
            Arrived::InstanceLost => {}
            arrived => return Some(arrived),
        }
        let grace = self.deadline.min(Instant::now() + ON_ITS_WAY);
        loop {
            match timeout_at(grace, waiter.next()).await {
                Ok(Arrived::InstanceLost) => {}
                Ok(arrived) => return Some(arrived),
                Err(_) => return Some(Arrived::InstanceLost),
            }
        }
    }

    /// What arrives first. Meanwhile it is asked from time to time whether the instance is still there, by one of all who wait for it.
    async fn first(
        &self,
        directory: &Directory,
        replies: &Replies,
        turn: &Turn,
        waiter: &mut Waiter,
    ) -> Option<Arrived> {
        // The first time earlier, where less time is left than that.
        let every = STILL_THERE.min(self.timeout / 2);
        let mut ask = Instant::now() + every;
        while ask < self.deadline {
            if let Ok(arrived) = timeout_at(ask, waiter.next()).await {
                return Some(arrived);
            }
            if let Err(due) = turn.instance.look(now(), every) {
                ask = due.into();
                continue;
            }
            let (template, channel) = (M::TEMPLATE.text(), turn.instance.inbox().to_owned());
            let nothing = Parcel { template, reach: Reach::ShardChannel, channel, payload: Vec::new(), expiry: None };
            // Boxed, as what is seldom there must not make every request's future larger.
            let asked = Box::pin(timeout_at(self.deadline, self.to_send.bus.send(nothing))).await.ok()?;
            if asked.is_ok_and(|receipt| receipt.receivers == Some(0)) {
                self.gone(directory, replies, turn);
            }
            ask = Instant::now() + STILL_THERE;
        }
        timeout_at(self.deadline, waiter.next()).await.ok()
    }

    fn gone(&self, directory: &Directory, replies: &Replies, turn: &Turn) {
        if directory.lost(&turn.instance) {
            replies.instance_lost(&turn.instance);
        }
    }

    fn read(&self, arrived: Arrived, turn: &Turn) -> Handed<M> {
        let (template, limit) = (M::TEMPLATE.text(), self.to_send.bus.config().payload_limit);
        match arrived {
            Arrived::Answer(frame) => {
                turn.instance.answers();
                decoded(&frame)
            }
            Arrived::TooLarge { size } => {
                turn.instance.answers();
                Handed::Answered(Err(RequestError::AnswerTooLarge { template, size, limit }))
            }
            Arrived::Closed => Handed::Answered(Err(RequestError::Closed { template })),
            Arrived::ConnectionLost => Handed::Lost(RequestError::ConnectionLost { template }),
            Arrived::InstanceLost => Handed::Lost(RequestError::InstanceLost { template }),
        }
    }

    fn nobody(&self, directory: &Directory) -> RequestError<M::Error> {
        if directory.is_taken(&self.key) {
            return declined(M::TEMPLATE.text(), PassedOn::Unknown);
        }
        RequestError::NobodyListens { template: M::TEMPLATE.text() }
    }

    async fn in_time<T>(&self, there: impl Future<Output = T>) -> Result<T, RequestError<M::Error>> {
        timeout_at(self.deadline, there).await.map_err(|_| self.timed_out())
    }

    fn timed_out(&self) -> RequestError<M::Error> {
        RequestError::TimedOut { template: M::TEMPLATE.text(), timeout: self.timeout }
    }
}

fn decoded<M: Request>(frame: &Frame) -> Handed<M> {
    let template = M::TEMPLATE.text();
    Handed::Answered(match Answers::decode::<Answer<M::Reply, M::Error>>(&ANSWER, frame.payload()) {
        Ok((Answer::Ok(reply), _)) => Ok(reply),
        Ok((Answer::Error(error), _)) => Err(RequestError::Answered(error)),
        Ok((Answer::Failure(reason), _)) => Err(RequestError::Failed { template, reason }),
        Ok((Answer::Declined(why), _)) => return Handed::Declined(why),
        Err(error) => Err(RequestError::InvalidAnswer { template, reason: error.to_string() }),
    })
}

/// What whoever asks is told when all have declined, the last of them for this reason.
fn declined<E>(template: &'static str, why: PassedOn) -> RequestError<E> {
    match why {
        PassedOn::Busy => RequestError::Busy { template },
        PassedOn::Filtered | PassedOn::Unknown | PassedOn::Stopping | PassedOn::Expired => {
            RequestError::NotHandled { template, reason: why.reason() }
        }
    }
}
