//! One call of a handler: what it needs, its span, its time, its panic.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Either},
};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep_until};

use crate::{
    bus::handle::Bus,
    error::Rejection,
    handler::{
        contract::Router,
        layer::{HandlerLayer, Layers},
        outcome::{Ended, Outcome},
    },
    message::{
        delivery::{Arriving, Delivery, ReplyTo},
        facts::Kind,
    },
    observe::observation::enter,
    route::entry::Route,
    serve::{
        settlement::{Called, Worked},
        slots::{Slot, slot},
    },
    time::{deadline_after, now, within},
    transport::{
        contract::{CLAIMS, Claim},
        frame::Origin,
    },
};

/// What calls need, beside what they are of.
pub(crate) struct Callee<R> {
    router: Arc<R>,
    layers: Layers,
    bus: Bus,
}

/// Runs the handler of a route within its span, and says how that ended.
///
/// An `async` block and no `async fn`, here and below: the future of an `async fn` holds its arguments twice, and this future is moved into
/// its slot for every message. For the same reason one reference holds what all calls have in common, and the delivery is made in its place.
#[expect(clippy::manual_async_fn, reason = "its future would be larger")]
fn call<R: Router>(callee: &Callee<R>, route: usize, delivery: impl Into<Delivery>) -> impl Future<Output = Called> {
    async move {
        let mut delivery = delivery.into();
        let bus = &callee.bus;
        let entry = R::ROUTES.at(route);
        let is_request = entry.facts().kind() == Kind::Request;
        if is_request
            && delivery.frame().origin() != Origin::Inbox
            && let Some(ended) = claimed(entry, &mut delivery, bus).await
        {
            return Called::open(ended, delivery, None);
        }
        let begun = is_request.then(now);
        let size = delivery.frame().payload_len();
        let names = || (entry.handler(), entry.template().text());
        let observation = bus.observer().process(names, size, || {
            delivery.read(entry.facts().read_metadata());
            delivery.about()
        });
        let (ended, observation) = match observation {
            None => (handle(callee, entry, route, &mut delivery).await, None),
            // Boxed, as what is seldom there must not make every call's future larger.
            Some(observation) => Box::pin(enter(observation, handle(callee, entry, route, &mut delivery))).await,
        };
        let is_missed = matches!(ended, Ended::Returned(Outcome::Filtered)) && delivery.reply_to().is_some();
        if ended.is_settled() && !is_missed && !is_request && delivery.unreadable_metadata() == 0 {
            observation.iter().for_each(|observation| observation.ended(&ended));
            return Called::Settled(ended);
        }
        if let Ended::Returned(Outcome::Rejected(_)) = ended {
            // Whoever asked is to be told, and what was not decoded has not said who that is.
            delivery.read(entry.facts().read_metadata());
        }
        let called = Called::open(ended, delivery, observation);
        match begun {
            None => called,
            Some(begun) => called.after(now().saturating_duration_since(begun)),
        }
    }
}

/// Takes a request that every instance got from another program, for this one; if that fails, how the call ends. Whoever can tell nobody that it was
/// handled could not be told from those who handle it too.
///
/// # Cancel safety
///
/// Dropping the future may leave the request to nobody; its requester runs into its timeout.
fn claimed<'a>(route: &'a Route, delivery: &'a mut Delivery, bus: &'a Bus) -> BoxFuture<'a, Option<Ended>> {
    async move {
        delivery.read(route.facts().read_metadata());
        let to = delivery.reply_to();
        let longest = bus.reply_prefix().len() + LONGEST;
        let are_short = |to: &ReplyTo<'_>| to.correlation_id.len() <= LONGEST && to.channel.len() <= longest;
        let Some(to) = to.filter(|to| are_short(to) && bus.may_answer(to.channel)) else {
            return rejected(Rejection::NobodyToAnswer { allowed: bus.reply_prefix().to_owned() });
        };
        let (name, known) = (route.facts().name(), route.facts().version());
        if let Some(found) = delivery.version().filter(|&found| found > known.into()) {
            // It belongs to an instance that knows it.
            return rejected(Rejection::NewerVersion { name, found, known });
        }
        let key = bus.channel(|key| key.literal(&claims_key(to.channel, to.correlation_id)));
        let time_left = delivery.remaining().unwrap_or_default();
        let holds = time_left.max(LATE);
        match bus.claim(Claim { template: route.template().text(), key, holds }).await {
            Ok(true) => None,
            Ok(false) => Some(Ended::LeftToOthers),
            Err(error) => Some(Ended::Returned(Outcome::Failed(error.to_string().into()))),
        }
    }
    .boxed()
}

/// Where an answer goes is written by another program, which must not choose the slot on a cluster.
fn claims_key(channel: &str, correlation_id: &str) -> String {
    format!("{CLAIMS}{channel}:{correlation_id}").replace('{', "%7B").replace('}', "%7D")
}

fn rejected(rejection: Rejection) -> Option<Ended> {
    Some(Ended::Returned(Outcome::Rejected(Box::new(rejection))))
}

/// The longest correlation id of another program, and the longest end of its channel for answers, in bytes: both are kept in a key.
const LONGEST: usize = 512;
/// For so long a request counts as taken, if not more of its time is left: an instance that stood still, or whose connection brings it late, counts
/// the time from when it sees it, and must not take it again.
const LATE: Duration = Duration::from_secs(60);

/// In place of its call always: what it returns is otherwise copied twice for each message, into the caller's hands and into the caller's future.
#[inline(always)]
fn handle<'a, R: Router>(
    Callee { router, layers, bus }: &'a Callee<R>,
    entry: &'static Route,
    route: usize,
    delivery: &'a mut Delivery,
) -> impl Future<Output = Ended> {
    let limits = Limits::of(entry, delivery);
    match layers.around(route) {
        None => Either::Left(Guarded::new(router.dispatch(route, delivery, bus), limits)),
        Some(layered) => Either::Right(Guarded::new(layered.invoke(entry, route, delivery, bus), limits)),
    }
}

pin_project! {
    /// A call whose panic is a value, and which ends with its time. The timer exists once the call has to wait.
    struct Guarded<F> {
        // Absent once it has ended.
        #[pin]
        call: Option<F>,
        limits: Limits,
        timer: Option<Timer>,
    }
}

/// How long a call may take.
struct Limits {
    /// Its handler's timeout begins when it has to wait.
    route: &'static Route,
    /// When its requester stops waiting: known once the request was read, and so before the call has to wait.
    ends: Option<Arc<OnceLock<Instant>>>,
}

/// Ends a call.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    ended: fn() -> Ended,
}

impl Limits {
    #[inline]
    fn of(route: &'static Route, delivery: &mut Delivery) -> Self {
        let ends = route.facts().kind() == Kind::Request && !route.options().run_to_end;
        Self { route, ends: ends.then(|| delivery.watch_deadline()) }
    }

    /// The timer of a call that has to wait from now on.
    fn timer(&self) -> Option<Timer> {
        let timeout = self.route.options().timeout.map(deadline_after);
        let ends = self.ends.as_ref().and_then(|ends| ends.get()).map(|&ends| tokio::time::Instant::from_std(ends));
        let (at, ended): (_, fn() -> Ended) = match (timeout, ends) {
            (Some(timeout), Some(ends)) if timeout < ends => (timeout, || Ended::TimedOut),
            (_, Some(ends)) => (ends, || Ended::Cancelled),
            (Some(timeout), None) => (timeout, || Ended::TimedOut),
            (None, None) => return None,
        };
        Some(Timer { sleep: Box::pin(sleep_until(at)), ended })
    }
}

impl<F> Guarded<F> {
    fn new(call: F, limits: Limits) -> Self {
        Self { call: Some(call), limits, timer: None }
    }
}

impl<F: Future<Output: Into<Ended>>> Future for Guarded<F> {
    type Output = Ended;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Ended> {
        let mut guarded = self.project();
        let Some(call) = guarded.call.as_mut().as_pin_mut() else { return Poll::Pending };
        let poll = || match &guarded.limits.ends {
            Some(ends) => within(ends, || call.poll(context)),
            None => call.poll(context),
        };
        // The future is dropped after a panic and never polled again, so nobody sees a broken state of it.
        match catch_unwind(AssertUnwindSafe(poll)) {
            Ok(Poll::Ready(outcome)) => return Poll::Ready(outcome.into()),
            Ok(Poll::Pending) => {}
            Err(_) => return Poll::Ready(Ended::Panicked),
        }
        if guarded.timer.is_none() {
            *guarded.timer = guarded.limits.timer();
        }
        let Some(timer) = guarded.timer else { return Poll::Pending };
        timer.sleep.as_mut().poll(context).map(|()| {
            // What a handler holds at its await is the user's, and so is how it is dropped.
            let _ = catch_unwind(AssertUnwindSafe(|| guarded.call.set(None)));
            (timer.ended)()
        })
    }
}

impl<R: Router> Callee<R> {
    pub(crate) fn new(router: R, around: Vec<HandlerLayer>, bus: Bus) -> Self {
        let router = Arc::new(router);
        let layers = Layers::new(&router, around);
        Self { router, layers, bus }
    }
}

/// A task to be worked on. `is_done` says that its queue delivers at most once.
pub(crate) struct Job {
    pub(crate) delivery: Delivery,
    pub(crate) is_done: bool,
}

/// The handlers of a router, whichever it is: what is generic over routers ends here, so that whatever works with calls is compiled once.
pub(crate) trait Calls: Send + Sync {
    /// Where messages are handled, one after the other: each that comes by a channel, with its route.
    fn slot(&self) -> Slot<'_, (usize, Arriving), Called>;

    /// Where tasks of a route are worked on, one after the other.
    fn task_slot(&self, route: usize) -> Slot<'_, Job, Worked>;

    /// A call that owns what it needs, to be a tokio task.
    fn call(self: Arc<Self>, route: usize, arriving: Arriving) -> BoxFuture<'static, Called>;

    /// The same of a task.
    fn work(self: Arc<Self>, route: usize, job: Job) -> BoxFuture<'static, Worked>;
}

impl<R: Router> Calls for Callee<R> {
    fn slot(&self) -> Slot<'_, (usize, Arriving), Called> {
        slot(move |(route, arriving)| call(self, route, arriving))
    }

    fn task_slot(&self, route: usize) -> Slot<'_, Job, Worked> {
        // Constant, so that what tasks need is compiled only where there are any.
        if const { R::ROUTES.has_queues() } {
            slot(move |job| work(self, route, job))
        } else {
            unreachable!("a router without queues has no tasks")
        }
    }

    fn call(self: Arc<Self>, route: usize, arriving: Arriving) -> BoxFuture<'static, Called> {
        Box::pin(async move { call(&self, route, arriving).await })
    }

    fn work(self: Arc<Self>, route: usize, job: Job) -> BoxFuture<'static, Worked> {
        if const { R::ROUTES.has_queues() } {
            Box::pin(async move { work(&self, route, job).await })
        } else {
            unreachable!("a router without queues has no tasks")
        }
    }
}

/// Runs the handler of a task, and sends what it returned to be published.
#[expect(clippy::manual_async_fn, reason = "its future would be larger")]
fn work<R: Router>(callee: &Callee<R>, route: usize, Job { delivery, is_done }: Job) -> impl Future<Output = Worked> {
    async move {
        match call(callee, route, delivery).await {
            Called::Settled(ended) => Worked::of(ended),
            // Boxed, as what is seldom there must not make every call's future larger.
            Called::Open(open) => Box::pin(open.worked(&callee.bus, is_done)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn, ready};

    use crate::{channel::template::Template, message::facts::Facts, route::entry::HandlerOptions};

    use super::*;

    fn limits(timeout: Option<u64>, left: Option<u64>) -> Limits {
        let options = HandlerOptions { timeout: timeout.map(Duration::from_millis), ..HandlerOptions::DEFAULT };
        let route = Route::new("handler", "Message", Facts::stub(Template::new("a", &[])), options);
        let ends = left.map(|millis| Arc::new(OnceLock::from(now() + Duration::from_millis(millis))));
        Limits { route: Box::leak(Box::new(route)), ends }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_ends_with_the_earlier_of_its_times_and_is_dropped() {
        for (timeout, left, after, is_cancelled) in [
            (Some(300), None, 300, false),
            (None, Some(200), 200, true),
            (Some(300), Some(200), 200, true),
            (Some(300), Some(400), 300, false),
            (Some(300), Some(300), 300, true),
        ] {
            let (begun, held) = (now(), Arc::new(()));
            let holds = Arc::clone(&held);
            let call = async move {
                pending::<()>().await;
                drop(holds);
                Ended::Panicked
            };
            let mut call = Box::pin(Guarded::new(call, limits(timeout, left)));
            let ended = call.as_mut().await;
            let expected = if is_cancelled { Ended::Cancelled } else { Ended::TimedOut };
            assert_eq!(format!("{ended:?}"), format!("{expected:?}"), "{timeout:?} {left:?}");
            assert_eq!(now().saturating_duration_since(begun).as_millis(), after, "{timeout:?} {left:?}");
            assert_eq!(Arc::strong_count(&held), 1, "what it held at its await");
            assert!(call.as_mut().now_or_never().is_none(), "it has ended");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_limits_takes_its_time_and_one_that_returns_at_once_has_no_timer() {
        let slow = async {
            tokio::time::sleep(Duration::from_secs(1_000_000)).await;
            Ended::LeftToOthers
        };
        assert!(matches!(Guarded::new(slow, limits(None, None)).await, Ended::LeftToOthers));
        let at_once = Guarded::new(ready(Ended::LeftToOthers), limits(Some(0), Some(0)));
        assert!(matches!(at_once.now_or_never(), Some(Ended::LeftToOthers)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_how_a_call_ended_whenever_it_comes() {
        for polls in [0, 3] {
            let mut left = polls;
            let panics = poll_fn(move |context| {
                assert!(left > 0, "a call of a test panics, as it should");
                left -= 1;
                context.waker().wake_by_ref();
                Poll::<Ended>::Pending
            });
            assert!(matches!(Guarded::new(panics, limits(Some(1_000), None)).await, Ended::Panicked));
        }
    }

    #[test]
    fn a_foreign_name_brings_no_hash_tag() {
        let key = claims_key("tidings:replies:{a}", "{b}{}}{");
        assert_eq!(key, "tidings:claims:tidings:replies:%7Ba%7D:%7Bb%7D%7B%7D%7D%7B");
        assert_eq!(claims_key("tidings:replies:a", "0-7"), "tidings:claims:tidings:replies:a:0-7");
    }
}
