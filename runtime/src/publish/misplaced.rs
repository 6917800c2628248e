//! Verbs where they do not belong: those of a message asked of the bus, and those of one kind of message asked of another. They never compile, and
//! say what to write instead. Without them rustc proposes what sounds alike.

use crate::{
    bus::handle::Bus,
    message::kind::Results,
    publish::{
        awaiting::AwaitingResult, enqueue::Enqueueing, enqueue_all::EnqueueAll, publishing::Publishing,
        request::Requesting,
    },
    transport::durable::task::Enqueued,
};

/// What `bus.publish(message)` asks. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a bus publishes nothing by itself: its messages do",
    label = "write `message.publish(&bus)`, or `message.publish_to(address, &bus)`",
    note = "many at once: `bus.publish_all(&messages)`; a request: `message.request(&bus)`"
)]
pub trait PublishedByItself {
    type Sent;

    fn sent(self) -> Self::Sent;
}

/// What `bus.request(message)` asks. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a bus requests nothing by itself: its messages do",
    label = "write `message.request(&bus)`, or `message.request_to(address, &bus)`"
)]
pub trait RequestedByItself {
    type Sent;

    fn sent(self) -> Self::Sent;
}

/// What `bus.enqueue(task)` asks. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a bus enqueues nothing by itself: its tasks do",
    label = "write `task.enqueue(&bus)`, or `task.enqueue_to(address, &bus)`",
    note = "many at once: `bus.enqueue_all(&tasks)`"
)]
pub trait EnqueuedByItself {
    type Sent;

    fn sent(self) -> Self::Sent;
}

/// What `publish` asks of a request. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{M}` is a request, and a request is not published",
    label = "a request",
    note = "write `message.request(&bus)`, or `message.request_to(address, &bus)`: its reply would be lost otherwise"
)]
pub trait Published<'a, M> {
    fn sent(self) -> Publishing<'a, M>;
}

/// What `enqueue` asks of a broadcast and of a request. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{M}` is not a task of a queue, so it is not enqueued",
    label = "not a task",
    note = "write `message.publish(&bus)`, or `message.request(&bus)` where it has a `#[reply]`; for tasks, each of which one instance works on, write \
            `#[queue(\"…\")]` instead of `#[channel(\"…\")]` on `{M}`"
)]
pub trait SentAsTask<'a, M> {
    fn sent(self) -> Enqueueing<'a, M>;
}

/// What `publish` asks of a task. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{M}` is a task of a queue, and a task is not published",
    label = "a task",
    note = "write `message.enqueue(&bus)`, or `message.enqueue_to(address, &bus)`: it would be lost where nobody listens"
)]
pub trait TaskPublished<'a, M> {
    fn sent(self) -> Publishing<'a, M>;
}

/// What `result` asks of a task that is not enqueued yet. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "the task is not enqueued yet, so it has no result",
    label = "not enqueued yet",
    note = "write `.await?` behind `task.enqueue(&bus)`: that is the `Enqueued` which has `result`"
)]
pub trait NotEnqueuedYet<'a, M> {
    fn result<R, E>(self, bus: &'a Bus) -> AwaitingResult<'a, R, E>;
}

/// What `priority` asks of a task. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{M}` has no priority beside its fields",
    label = "a parameter of its queue is the priority",
    note = "write `#[queue(\"…:<priority>\", strict = priority)]` on `{M}`, with a field `priority` that is an enum with `#[derive(ChannelParam)]`"
)]
pub trait PrioritizedByItself<M> {
    fn sent(self) -> Self;
}

/// What `retries` and `attempts` ask of a task. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{M}` does not say how often it is tried: the handler that works on it does",
    label = "an option of the handler",
    note = "write `#[handler(retries = 5, backoff = \"1s..10m\")]` there"
)]
pub trait RetriedByItself<M> {
    fn sent(self) -> Self;
}

/// What `backoff`, `timeout` and `max_retries` ask of a task. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{M}` does not say how it is worked on: the handler does",
    label = "an option of the handler",
    note = "write `#[handler(timeout = \"2m\", retries = 5, backoff = \"1s..10m\")]` there; for how long a task may wait says `.expires_in(…)`"
)]
pub trait WorkedOnByItself<M> {
    fn sent(self) -> Self;
}

/// What options ask of tasks that are enqueued together. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "tasks that are enqueued together have no options in common",
    label = "each task has its own",
    note = "write `.push_enqueueing(task.enqueue(&bus).delay(…))` for each that has one, or `.push_enqueueing(task.enqueue_to(address, &bus))`"
)]
pub trait SaidOfEach<'a> {
    fn sent(self) -> Self;
}

/// What options ask of a task that is enqueued already. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "the task is enqueued already",
    label = "this is said before `.await`",
    note = "write it behind `task.enqueue(&bus)`, such as `task.enqueue(&bus).delay(…).await?`"
)]
pub trait SaidInTime<M> {
    fn sent(self) -> Self;
}

/// What `unique` asks of a task. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{M}` is unique by a key, and for a time",
    label = "write `.deduplicate(key, window)`",
    note = "such as `.deduplicate(\"invoice 7\", Duration::from_secs(3600))`; what was there already says `was_there` of the `Enqueued`"
)]
pub trait UniqueByItself<M> {
    fn sent(self) -> Self;
}

/// What `every` and `cron` ask of a task. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{M}` does not come again by itself",
    label = "there are no schedules",
    note = "enqueue each from a timer of your own, such as `tokio::time::interval`, with `.deduplicate(key, window)` and a key that is the same in all \
            instances"
)]
pub trait RepeatedByItself<M> {
    fn sent(self) -> Self;
}

/// What `within` asks of a request. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a request travels with its time, after which its handler is cancelled",
    label = "write `.timeout(…)`"
)]
pub trait WaitedForWithin<M> {
    fn sent(self) -> Self;
}

/// What `timeout` asks of a result that is waited for. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a result is waited for within a time, and the task goes on after it",
    label = "write `.within(…)`"
)]
pub trait TimedOut<R> {
    fn sent(self) -> Self;
}

/// What `request` asks of a task. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{M}` is a task of a queue, and a task is not answered",
    label = "a task",
    note = "write `message.enqueue(&bus)`, or `message.enqueue_to(address, &bus)`: it is worked on later, and nobody waits"
)]
pub trait TaskRequested<'a, M> {
    fn sent(self) -> Enqueueing<'a, M>;
}

impl Bus {
    #[doc(hidden)]
    pub fn publish<M: PublishedByItself>(&self, message: M) -> M::Sent {
        message.sent()
    }

    #[doc(hidden)]
    pub fn publish_to<M: PublishedByItself, A>(&self, message: M, _address: A) -> M::Sent {
        message.sent()
    }

    #[doc(hidden)]
    pub fn request<M: RequestedByItself>(&self, message: M) -> M::Sent {
        message.sent()
    }
    #[doc(hidden)]
    pub fn request_to<M: RequestedByItself, A>(&self, message: M, _address: A) -> M::Sent {
        message.sent()
    }

    #[doc(hidden)]
    pub fn enqueue<M: EnqueuedByItself>(&self, task: M) -> M::Sent {
        task.sent()
    }

    #[doc(hidden)]
    pub fn enqueue_to<M: EnqueuedByItself, A>(&self, task: M, _address: A) -> M::Sent {
        task.sent()
    }
}

impl<M> Enqueueing<'_, M> {
    #[doc(hidden)]
    pub fn result<'a, R, E>(&self, bus: &'a Bus) -> AwaitingResult<'a, R, E>
    where
        M: Results<Output = R, Error = E>,
        (): NotEnqueuedYet<'a, M>,
    {
        ().result(bus)
    }

    #[doc(hidden)]
    pub fn priority<P>(self, _priority: P) -> Self
    where
        (): PrioritizedByItself<M>,
    {
        self
    }

    #[doc(hidden)]
    pub fn retries<N>(self, _retries: N) -> Self
    where
        (): RetriedByItself<M>,
    {
        self
    }

    #[doc(hidden)]
    pub fn attempts<N>(self, _attempts: N) -> Self
    where
        (): RetriedByItself<M>,
    {
        self
    }

    #[doc(hidden)]
    pub fn max_retries<N>(self, _retries: N) -> Self
    where
        (): RetriedByItself<M>,
    {
        self
    }

    #[doc(hidden)]
    pub fn backoff<B>(self, _backoff: B) -> Self
    where
        (): WorkedOnByItself<M>,
    {
        self
    }

    #[doc(hidden)]
    pub fn timeout<T>(self, _timeout: T) -> Self
    where
        (): WorkedOnByItself<M>,
    {
        self
    }

    #[doc(hidden)]
    pub fn unique<K>(self, _key: K) -> Self
    where
        (): UniqueByItself<M>,
    {
        self
    }

    #[doc(hidden)]
    pub fn every<I>(self, _interval: I) -> Self
    where
        (): RepeatedByItself<M>,
    {
        self
    }

    #[doc(hidden)]
    pub fn cron<E>(self, _expression: E) -> Self
    where
        (): RepeatedByItself<M>,
    {
        self
    }
}

impl<'a> EnqueueAll<'a> {
    #[doc(hidden)]
    pub fn delay<T>(self, _delay: T) -> Self
    where
        (): SaidOfEach<'a>,
    {
        self
    }

    #[doc(hidden)]
    pub fn at<T>(self, _time: T) -> Self
    where
        (): SaidOfEach<'a>,
    {
        self
    }

    #[doc(hidden)]
    pub fn expires_in<T>(self, _time: T) -> Self
    where
        (): SaidOfEach<'a>,
    {
        self
    }

    #[doc(hidden)]
    pub fn header<T, V>(self, _name: T, _value: V) -> Self
    where
        (): SaidOfEach<'a>,
    {
        self
    }

    #[doc(hidden)]
    pub fn deduplicate<T, V>(self, _key: T, _window: V) -> Self
    where
        (): SaidOfEach<'a>,
    {
        self
    }
}

impl<M> Enqueued<M> {
    #[doc(hidden)]
    pub fn delay<T>(self, _delay: T) -> Self
    where
        (): SaidInTime<M>,
    {
        self
    }

    #[doc(hidden)]
    pub fn at<T>(self, _time: T) -> Self
    where
        (): SaidInTime<M>,
    {
        self
    }

    #[doc(hidden)]
    pub fn expires_in<T>(self, _time: T) -> Self
    where
        (): SaidInTime<M>,
    {
        self
    }

    #[doc(hidden)]
    pub fn header<T, V>(self, _name: T, _value: V) -> Self
    where
        (): SaidInTime<M>,
    {
        self
    }

    #[doc(hidden)]
    pub fn deduplicate<T, V>(self, _key: T, _window: V) -> Self
    where
        (): SaidInTime<M>,
    {
        self
    }
}

impl<M> Requesting<'_, M> {
    #[doc(hidden)]
    pub fn within<T>(self, _time: T) -> Self
    where
        (): WaitedForWithin<M>,
    {
        self
    }
}

impl<R, E> AwaitingResult<'_, R, E> {
    #[doc(hidden)]
    pub fn timeout<T>(self, _time: T) -> Self
    where
        (): TimedOut<R>,
    {
        self
    }
}
