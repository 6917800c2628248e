//! The way of a request: an instance is found, gets it, and answers, or the next one does.

use std::{
    borrow::Cow,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, sleep_until, timeout_at};

use crate::{
    bus::{
        book::{Instance, Turn, Wanted},
        directory::Directory,
        instances::key,
        replies::{Arrived, Replies, Waiter},
        sending::Receipt,
    },
    codec::{
        answers::{ANSWER, Answer, Answers, PassedOn},
        contract::{Codec, Exchange},
        slot::whole_millis,
    },
    error::{PublishError, RequestError, SubscribeError},
    message::kind::Request,
    publish::addressed::Addressed,
    time::{LONGEST, inherited, now},
    transport::{
        contract::{Parcel, Reach, ReceiptComes},
        frame::Frame,
    },
};

/// What comes of a request.
pub(super) type Output<M> = Result<<M as Request>::Reply, RequestError<<M as Request>::Error>>;

/// A request on its way, within its time.
pub(super) struct Errand<'e, 'a, M> {
    to_send: &'e Addressed<'a, M>,
    /// The template as it is asked for.
    key: Cow<'static, str>,
    timeout: Duration,
    deadline: Instant,
    idempotent: bool,
}

/// In whose hands a request is, and who is told of what becomes of it.
struct Hands<'h> {
    directory: &'h Directory,
    replies: &'h Replies,
    turn: &'h Turn,
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

/// What happens next while an instance has the request.
enum Next {
    Arrived(Arrived),
    /// The server has said how many have received it, or it was not sent.
    Sent(Result<Receipt, PublishError>),
    /// It is time to look whether the instance is still there, or to give up.
    Due,
}

/// So often it is asked whether an instance that has not answered is still there.
const STILL_THERE: Duration = Duration::from_secs(1);
/// So often it is looked whether somebody has received a request, of which nobody is told, once no answer is waited for.
const QUIETLY: Duration = Duration::from_millis(5);
/// So long an answer may take that was published before its instance was gone.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

impl<'e, 'a, M: Request> Errand<'e, 'a, M> {
    /// Begins the time: what is left to the handler that asks, where that is less.
    pub(super) fn new(to_send: &'e Addressed<'a, M>, timeout: Duration, idempotent: bool) -> Self {
        let begun = Instant::now();
        let own = begun + timeout.min(LONGEST);
        let (deadline, timeout) = match inherited().map(Instant::from_std) {
            Some(inherited) if inherited < own => (inherited, inherited.saturating_duration_since(begun)),
            _ => (own, timeout),
        };
        Self { to_send, key: key(M::TEMPLATE), timeout, deadline, idempotent }
    }

    /// One instance handles it: one of the group, if there is one named.
    pub(super) async fn run(&self, group: Option<&str>) -> Output<M> {
        self.to_send.check()?;
        let bus = self.to_send.bus;
        // Boxed here and below, as what is seldom there must not make every request's future larger.
        // The clock is read once where nothing has to be waited for.
        let ((directory, replies), mut begun) = match bus.opened() {
            Some(opened) => (opened, self.deadline.checked_sub(self.timeout).filter(|_| group.is_none())),
            None => (Box::pin(self.in_time(self.opened())).await??, None),
        };
        let (mut tried, mut last): (_, Option<Box<RequestError<M::Error>>>) = (Vec::new(), None);
        loop {
            let (turn, now) = {
                let wanted = self.wanted(group, &tried);
                let now = begun.take().unwrap_or_else(Instant::now);
                match directory.known(&wanted, now.into_std()) {
                    Some(turn) => (Some(turn), now),
                    None => match Box::pin(self.in_time(directory.find(bus, M::TEMPLATE.text(), &wanted))).await {
                        Ok(found) => (found?, Instant::now()),
                        // What others have said says more than that nobody else was found.
                        Err(late) => return Err(last.map_or(late, |last| *last)),
                    },
                }
            };
            let Some(turn) = turn else { return Err(last.map_or_else(|| self.nobody(directory), |last| *last)) };
            match self.hand(&Hands { directory, replies, turn: &turn }, now).await? {
                Handed::Answered(output) => return output,
                // The instance counts the time from when it got the request, and was a moment ahead.
                Handed::Declined(PassedOn::Expired) => return Err(self.timed_out()),
                Handed::Declined(why) => last = Some(Box::new(declined(M::TEMPLATE.text(), why))),
                Handed::Undelivered => {}
                // The instance is there, and may have it again.
                Handed::Lost(error @ RequestError::ConnectionLost { .. }) if self.idempotent => {
                    last = Some(Box::new(error));
                    continue;
                }
                Handed::Lost(error) if self.idempotent => last = Some(Box::new(error)),
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
    async fn hand(&self, hands: &Hands<'_>, now: Instant) -> Result<Handed<M>, RequestError<M::Error>> {
        let Hands { replies, turn, .. } = *hands;
        let mut waiter = replies.wait_for_one(&turn.instance);
        let time_left = whole_millis(self.deadline.saturating_duration_since(now));
        let exchange = Exchange::new(waiter.correlation_id()).reply_to(replies.channel()).time_left(time_left);
        // Not by way of a local, for which the future would keep room.
        let sending = pin!(self.to_send.bus.send(self.to_send.for_inbox(
            turn.instance.inbox(),
            exchange,
            self.deadline.into_std()
        )?));
        let arrived = match self.first(hands, &mut waiter, sending, now).await? {
            None => return Ok(Handed::Undelivered),
            Some(Arrived::InstanceLost) => self.on_its_way(&mut waiter).await,
            Some(arrived) => arrived,
        };
        Ok(self.read(arrived, turn))
    }

    /// Sends the request, and waits for what arrives first; `None` where nobody has received it. An answer may come before the server has said that somebody has.
    /// Meanwhile it is asked from time to time whether the instance is still there, by one of all who wait for it.
    async fn first(
        &self,
        hands: &Hands<'_>,
        waiter: &mut Waiter,
        sending: Pin<&mut impl Future<Output = Result<Receipt, PublishError>>>,
        now: Instant,
    ) -> Result<Option<Arrived>, RequestError<M::Error>> {
        let mut sending = Some(sending);
        // The first time earlier, where less time is left than that.
        let every = STILL_THERE.min(self.timeout / 2);
        let mut timer = pin!(sleep_until(self.deadline.min(now + every)));
        let mut lost: Option<Box<Arrived>> = None;
        loop {
            let next = poll_fn(|context: &mut Context<'_>| {
                if lost.is_none()
                    && let Poll::Ready(arrived) = waiter.poll_next(context)
                {
                    return Poll::Ready(Next::Arrived(arrived));
                }
                match sending.as_mut().map(|sending| sending.as_mut().poll(context)) {
                    Some(Poll::Ready(sent)) => Poll::Ready(Next::Sent(sent)),
                    _ => timer.as_mut().poll(context).map(|()| Next::Due),
                }
            })
            .await;
            match next {
                // It may turn out that nobody has received it, and then another instance may have it.
                Next::Arrived(arrived) if sending.is_some() && arrived.is_loss() => {
                    lost = Some(Box::new(arrived));
                    timer.as_mut().reset(self.after(QUIETLY));
                    continue;
                }
                Next::Arrived(arrived) => return Ok(Some(arrived)),
                Next::Sent(sent) => {
                    sending = None;
                    if sent?.receivers == Some(0) {
                        self.gone(hands);
                        return Ok(None);
                    }
                    if let Some(lost) = lost {
                        return Ok(Some(*lost));
                    }
                    continue;
                }
                Next::Due if Instant::now() >= self.deadline => {
                    if sending.is_none() {
                        waiter.overdue(&hands.turn.instance);
                    }
                    return Err(self.timed_out());
                }
                Next::Due => {}
            }
            let again = match sending {
                Some(_) if lost.is_some() => self.after(QUIETLY),
                Some(_) => self.after(every),
                None => Box::pin(self.look(hands, every)).await,
            };
            timer.as_mut().reset(again);
        }
    }

    /// Looks whether the instance is still there, unless somebody has looked lately; when to look again.
    async fn look(&self, hands: &Hands<'_>, every: Duration) -> Instant {
        let turn = hands.turn;
        if let Err(due) = turn.instance.look(now(), every) {
            return self.deadline.min(due.into());
        }
        let (template, channel) = (M::TEMPLATE.text(), turn.instance.inbox().to_owned());
        let nothing = Parcel {
            template,
            reach: Reach::ShardChannel,
            channel,
            payload: Vec::new(),
            expiry: None,
            receipt: ReceiptComes::Anytime,
        };
        let asked = timeout_at(self.deadline, self.to_send.bus.send(nothing)).await;
        if let Ok(Ok(receipt)) = asked
            && receipt.receivers == Some(0)
        {
            self.gone(hands);
        }
        self.after(STILL_THERE)
    }

    /// What still arrives after the loss of the instance: one that has stopped has answered everything before it left.
    async fn on_its_way(&self, waiter: &mut Waiter) -> Arrived {
        let grace = self.after(ON_ITS_WAY);
        loop {
            match timeout_at(grace, waiter.next()).await {
                Ok(Arrived::InstanceLost) => {}
                Ok(arrived) => return arrived,
                Err(_) => return Arrived::InstanceLost,
            }
        }
    }

    fn gone(&self, hands: &Hands<'_>) {
        let Hands { directory, replies, turn } = *hands;
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

    /// When this pause is over, or the time.
    fn after(&self, pause: Duration) -> Instant {
        self.deadline.min(Instant::now() + pause)
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

#[cfg(test)]
mod tests {
    use std::{future::pending, ops::RangeInclusive};

    use serde::{Deserialize, Serialize};
    use tidings::{Bus, Message, NoError, Service, handler, routes, testing::Broker};
    use tokio::time::sleep;

    use super::*;

    /// What is answered after so many milliseconds.
    #[derive(Message, Serialize, Deserialize)]
    #[channel("errands:<n>")]
    #[reply(u64)]
    struct Ask {
        n: u64,
    }

    #[handler]
    async fn answer(ask: Ask) -> u64 {
        sleep(millis(ask.n)).await;
        ask.n
    }

    type Failure = RequestError<NoError>;
    /// With the correlation id of the request.
    type Happens = fn(&Broker, &Hands<'_>, &str);

    const TIMEOUT: Duration = millis(800);

    const fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// At this time, or a few turns of a timer later.
    fn about(n: u64) -> RangeInclusive<Duration> {
        millis(n)..=millis(n) + QUIETLY
    }

    /// What the server says after 50 ms, which wakes nobody: so does a receipt that says that all is well.
    async fn quietly(receivers: u64) -> Result<Receipt, PublishError> {
        let there = Instant::now() + millis(50);
        poll_fn(|_| if Instant::now() >= there { Poll::Ready(()) } else { Poll::Pending }).await;
        Ok(Receipt { receivers: Some(receivers) })
    }

    /// What whoever asks is told, and after how long, where this happens after 20 ms.
    async fn first(
        happens: Happens,
        sending: impl Future<Output = Result<Receipt, PublishError>>,
    ) -> (Result<Option<Arrived>, Failure>, Duration) {
        let broker = Broker::new();
        let bus = Bus::connect(&broker.url()).await.unwrap();
        let service = bus.serve(routes![answer]).await.unwrap();
        let ask = Ask { n: 7 };
        let to_send = Addressed::by_fields(&ask, &bus);
        assert_eq!(Errand::new(&to_send, TIMEOUT, false).run(None).await.unwrap(), 7);
        let errand = Errand::new(&to_send, TIMEOUT, false);
        let (directory, replies) = bus.opened().unwrap();
        let turn = directory.known(&errand.wanted(None, &[]), now()).unwrap();
        let hands = Hands { directory, replies, turn: &turn };
        let (begun, mut waiter) = (Instant::now(), replies.wait_for_one(&turn.instance));
        let id = waiter.correlation_id().to_owned();
        let happening = async {
            sleep(millis(20)).await;
            happens(&broker, &hands, &id);
        };
        let sending = pin!(sending);
        let (told, ()) = tokio::join!(errand.first(&hands, &mut waiter, sending, begun), happening);
        let after = begun.elapsed();
        assert_eq!(turn.instance.is_gone(), matches!(told, Ok(None)));
        drop(service);
        (told, after)
    }

    fn nothing(_: &Broker, _: &Hands<'_>, _: &str) {}

    fn instance_lost(_: &Broker, hands: &Hands<'_>, _: &str) {
        hands.replies.instance_lost(&hands.turn.instance);
    }

    fn connection_lost(broker: &Broker, _: &Hands<'_>, _: &str) {
        broker.disconnect_subscribers();
    }

    fn answered(broker: &Broker, hands: &Hands<'_>, id: &str) {
        let answer = format!(r#"{{"id":"1","type":"reply","correlation_id":"{id}","data":{{"ok":7}}}}"#);
        assert_eq!(broker.publish_raw(hands.replies.channel(), answer.as_bytes()), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_lost_an_instance_or_the_connection_soon_sees_whether_somebody_has_the_request() {
        let (told, after) = first(instance_lost, quietly(1)).await;
        assert!(matches!(told, Ok(Some(Arrived::InstanceLost))) && about(50).contains(&after), "{after:?}");
        let (told, after) = first(connection_lost, quietly(1)).await;
        assert!(matches!(told, Ok(Some(Arrived::ConnectionLost))) && about(50).contains(&after), "{after:?}");
        // Nobody has it, so another instance may.
        for lose in [instance_lost as Happens, connection_lost] {
            let (told, after) = first(lose, quietly(0)).await;
            assert!(matches!(told, Ok(None)) && about(50).contains(&after), "{after:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_lost_an_instance_and_hears_of_no_receipt_waits_until_its_time_is_over() {
        for lose in [instance_lost as Happens, connection_lost] {
            let (told, after) = first(lose, pending()).await;
            assert!(matches!(told, Err(RequestError::TimedOut { timeout: TIMEOUT, .. })));
            assert!(about(800).contains(&after), "{after:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_needs_no_receipt() {
        let (told, after) = first(answered, pending()).await;
        assert!(matches!(told, Ok(Some(Arrived::Answer(_)))) && about(20).contains(&after), "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_receipt_that_does_not_come_is_seldom_looked_for() {
        let mut looked = 0;
        let sending = poll_fn(|_| {
            looked += 1;
            assert!(looked < 10, "no oftener, whatever else the call is woken for");
            Poll::Pending
        });
        let (told, after) = first(nothing, sending).await;
        assert!(matches!(told, Err(RequestError::TimedOut { .. })) && about(800).contains(&after), "{after:?}");
    }

    /// What comes of a request, and after how long, where this becomes of its instance after 20 ms.
    async fn asked(
        ask: Ask,
        timeout: u64,
        idempotent: bool,
        becomes: impl AsyncFnOnce(&Broker, Service) -> Vec<Service>,
    ) -> (Output<Ask>, Duration) {
        let broker = Broker::new();
        let bus = Bus::connect(&broker.url()).await.unwrap();
        let service = bus.serve(routes![answer]).await.unwrap();
        let to_send = Addressed::by_fields(&ask, &bus);
        let (begun, errand) = (Instant::now(), Errand::new(&to_send, millis(timeout), idempotent));
        let becoming = async {
            sleep(millis(20)).await;
            becomes(&broker, service).await
        };
        let ask = async { (errand.run(None).await, begun.elapsed()) };
        let (output, services) = tokio::join!(ask, becoming);
        drop(services);
        output
    }

    /// It stays what it is.
    async fn stays(_: &Broker, service: Service) -> Vec<Service> {
        vec![service]
    }

    async fn is_cut_off(broker: &Broker, service: Service) -> Vec<Service> {
        broker.disconnect_subscribers();
        vec![service]
    }

    /// It is gone, and there is another one.
    async fn is_replaced(broker: &Broker, service: Service) -> Vec<Service> {
        let another = Bus::connect(&broker.url()).await.unwrap().serve(routes![answer]).await.unwrap();
        drop(service);
        vec![another]
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_that_takes_long_is_not_taken_for_gone() {
        let (output, after) = asked(Ask { n: 2_500 }, 5_000, false, stays).await;
        assert!(matches!(output, Ok(2_500)) && about(2_500).contains(&after), "{output:?} {after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_that_is_gone_is_missed_after_a_second_or_half_of_the_time_and_half_a_second() {
        for (timeout, missed) in [(5_000, 1_500), (1_200, 1_100)] {
            let (output, after) = asked(Ask { n: 10_000 }, timeout, false, is_replaced).await;
            let is_lost = matches!(output, Err(RequestError::InstanceLost { .. }));
            assert!(is_lost && about(missed).contains(&after), "{output:?} {after:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_instance_gets_what_is_idempotent() {
        let (output, after) = asked(Ask { n: 10_000 }, 30_000, true, is_replaced).await;
        assert!(matches!(output, Ok(10_000)) && about(11_500).contains(&after), "{output:?} {after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_instance_gets_again_what_is_idempotent_if_the_connection_was_lost() {
        let (output, after) = asked(Ask { n: 100 }, 5_000, true, is_cut_off).await;
        assert!(matches!(output, Ok(100)) && about(120).contains(&after), "{output:?} {after:?}");
        let (output, after) = asked(Ask { n: 100 }, 5_000, false, is_cut_off).await;
        let is_lost = matches!(output, Err(RequestError::ConnectionLost { .. }));
        assert!(is_lost && about(20).contains(&after), "{output:?} {after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_groups_are_those_that_take_it() {
        let broker = Broker::new();
        let bus = Bus::connect(&broker.url()).await.unwrap();
        let ask = Ask { n: 7 };
        let to_send = Addressed::by_fields(&ask, &bus);
        let groups = async || Errand::new(&to_send, TIMEOUT, false).groups().await;
        assert!(matches!(groups().await, Err(RequestError::NobodyListens { .. })));
        let services =
            tokio::join!(bus.serve(routes![answer]).group("north"), bus.serve(routes![answer]).group("south"));
        let mut found = groups().await.unwrap();
        found.sort_unstable();
        assert_eq!(found, ["north", "south"]);
        drop(services);
    }
}
