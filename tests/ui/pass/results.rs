//! What a user writes of the end of tasks.

#![deny(warnings)]

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use tidings::{Delivery, Ended, Enqueue, Message, NoError, Outcome, Publish, Results, Router, TaskState, handler, router, routes, routers};

#[derive(Serialize, Deserialize)]
pub struct Resized {
    bytes: u64,
}

#[derive(Debug, Serialize, Deserialize, Outcome)]
pub enum ResizeError {
    #[outcome(retry)]
    DiskFull,
    #[outcome(dead_letter)]
    NoImage,
}

impl fmt::Display for ResizeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

impl std::error::Error for ResizeError {}

#[derive(Message, Serialize, Deserialize)]
#[queue(
    "tasks:images",
    results = "1h",
    results_count = 1000,
    results_bytes = 1048576,
    completed = announced::TaskCompleted,
    failed = TaskFailed
)]
#[reply(Resized, error = ResizeError)]
pub struct ResizeImage {
    path: String,
}

mod announced {
    use super::*;

    #[derive(Message, Serialize, Deserialize)]
    #[channel("tasks:completed:<id>")]
    pub struct TaskCompleted {
        pub id: String,
        pub bytes: u64,
    }

    impl From<Ended<'_, ResizeImage>> for TaskCompleted {
        fn from(ended: Ended<'_, ResizeImage>) -> Self {
            let bytes = ended.result().map_or(0, |resized| resized.bytes);
            Self { id: ended.id().to_owned(), bytes }
        }
    }
}

/// Of two tasks.
#[derive(Message, Serialize, Deserialize)]
#[channel("tasks:failed:<id>")]
struct TaskFailed {
    id: String,
    path: String,
    why: String,
}

impl From<Ended<'_, ResizeImage>> for TaskFailed {
    fn from(ended: Ended<'_, ResizeImage>) -> Self {
        let why = match (ended.typed_error(), ended.reason(), ended.error()) {
            (Some(ResizeError::NoImage), ..) => "no image".to_owned(),
            (_, Some(reason), Some(error)) => format!("{reason:?} after {} attempts: {error}", ended.attempts()),
            _ => format!("{:?}", ended.state() == TaskState::Discarded),
        };
        Self { id: ended.id().to_owned(), path: ended.task().path.clone(), why }
    }
}

impl<'a> From<Ended<'a, View<'a>>> for TaskFailed {
    fn from(ended: Ended<'a, View<'a>>) -> Self {
        Self { id: ended.id().to_owned(), path: ended.into_task().path.to_owned(), why: String::new() }
    }
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:views", failed = TaskFailed, results = "1d")]
#[reply(())]
struct View<'a> {
    path: &'a str,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:mail", results = "500ms")]
#[reply(Vec<String>)]
struct SendMail {
    to: String,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:plain", completed = Worked)]
struct Plain {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("worked")]
#[message(format = "plain")]
struct Worked(u64);

impl From<Ended<'_, Plain>> for Worked {
    fn from(ended: Ended<'_, Plain>) -> Self {
        Self(ended.task().id)
    }
}

#[derive(Message, Serialize, Deserialize)]
#[channel("resized:<path>")]
struct Announced {
    path: String,
}

macro_rules! through_macros {
    ($name:ident, $queue:literal, $age:expr, $count:literal, $completed:path, $failed:ty, $reply:ty, $error:ty) => {
        #[derive(Message, Serialize, Deserialize)]
        #[queue($queue, results = $age, results_count = $count, completed = $completed, failed = $failed)]
        #[reply($reply, error = $error)]
        pub struct $name {
            pub id: u64,
        }

        impl From<Ended<'_, $name>> for Worked {
            fn from(ended: Ended<'_, $name>) -> Self {
                Self(ended.task().id)
            }
        }
    };
}
through_macros!(InMacro, "tasks:macro", "1h", 7, Worked, crate::Worked, Option<Resized>, crate::ResizeError);

fn resized() -> Resized {
    Resized { bytes: 1 }
}

fn mail() -> SendMail {
    SendMail { to: "a".to_owned() }
}

struct Alone;
struct WithError;
struct Outer;
struct Mails;

#[router]
impl Alone {
    #[handler(idempotent, timeout = "2m")]
    async fn resize(&self, _: ResizeImage) -> Resized {
        resized()
    }

    #[handler(idempotent, timeout = "2m")]
    async fn view(&self, _: View<'_>) {}

    #[handler(idempotent, timeout = "2m")]
    async fn mail(&self, task: SendMail) -> Vec<String> {
        vec![task.to]
    }

    #[handler(idempotent, timeout = "2m")]
    async fn plain(&self, _: Plain) {}

    #[handler(idempotent, timeout = "2m")]
    async fn in_macro(&self, _: InMacro) -> Result<Option<Resized>, ResizeError> {
        Ok(None)
    }
}

#[router]
impl WithError {
    #[handler(once, timeout = "2m")]
    async fn resize(&self, _: ResizeImage) -> Result<(Resized, Enqueue<SendMail>), ResizeError> {
        Ok((resized(), Enqueue::new(mail())))
    }

    #[handler(idempotent, timeout = "2m")]
    async fn view(&self, _: View<'_>) -> Result<(), &'static str> {
        Ok(())
    }

    #[handler(idempotent, timeout = "2m")]
    async fn mail(&self, task: SendMail) -> Result<(Vec<String>, Publish<Announced>), Box<dyn std::error::Error>> {
        Ok((vec![task.to], Publish::new(Announced { path: "a".to_owned() })))
    }
}

#[router]
impl Outer {
    #[handler(idempotent, timeout = "2m")]
    async fn resize(&self, _: ResizeImage) -> Result<Result<(Resized, Option<Enqueue<SendMail>>, Vec<Publish<Announced>>), ResizeError>, String> {
        Ok(Ok((resized(), None, Vec::new())))
    }

    #[handler(idempotent, timeout = "2m")]
    async fn view(&self, _: View<'_>, delivery: &Delivery) -> ((), Enqueue<SendMail>, Enqueue<SendMail>, Publish<Announced>) {
        let path = delivery.channel().to_owned();
        ((), Enqueue::new(mail()), Enqueue::new(mail()), Publish::new(Announced { path }))
    }

    #[handler(idempotent, timeout = "2m")]
    async fn mail(&self, _: SendMail) -> Result<Vec<String>, impl fmt::Display + use<>> {
        Err::<Vec<String>, _>("no mail")
    }
}

#[router]
impl Mails {
    #[handler(idempotent, timeout = "2m")]
    async fn resize(&self, _: ResizeImage) -> Result<Result<Resized, ResizeError>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Err(ResizeError::DiskFull))
    }
}

#[handler(idempotent, timeout = "2m")]
async fn mail_alone(_: SendMail) -> (Vec<String>, Enqueue<SendMail>) {
    (Vec::new(), Enqueue::new(mail()))
}

fn keeps<M: Results<Output = O, Error = E>, O, E>() -> Option<(u64, Duration, u64)> {
    let bounds = M::FACTS.queue()?.results?;
    Some((bounds.count, bounds.age, bounds.bytes))
}

fn main() {
    let bounds = keeps::<ResizeImage, Resized, ResizeError>();
    assert_eq!(bounds, Some((1000, Duration::from_secs(3600), 1_048_576)));
    assert_eq!(keeps::<SendMail, Vec<String>, NoError>(), Some((100_000, Duration::from_millis(500), 64 * 1024 * 1024)));
    assert_eq!(keeps::<View<'_>, (), NoError>().unwrap().1, Duration::from_secs(86_400));
    assert_eq!(keeps::<InMacro, Option<Resized>, ResizeError>().unwrap().0, 7);
    assert_eq!(Plain::FACTS.queue().unwrap().results, None);
    assert_eq!((Alone::ROUTES.len(), WithError::ROUTES.len(), Outer::ROUTES.len(), Mails::ROUTES.len()), (5, 3, 3, 1));
    let _ = (routes![mail_alone], routers![Mails, routes![mail_alone]]);
}
