//! Tasks on the connection that everything is published on: they are written with what others publish, and cost less than on that of queues.

use crate::{
    error::EnqueueError,
    transport::{
        durable::task::{Enqueued, NewTask},
        redis::{
            answer::{Response, Unasked},
            asking::Asked,
            commands::{Commands, SURELY_FITS},
            line::lock,
            queues::{
                connection::Context,
                enqueue::{Results, enqueue, is_plain, new, part, stream},
                failure::Failure,
                homes::Homes,
            },
        },
    },
};

/// Where tasks that follow each other go.
struct Destination {
    stream: String,
    version: String,
}

impl Destination {
    fn of(task: &NewTask) -> Self {
        Self { stream: stream(&task.queue.base(), &task.channel), version: task.version.to_string() }
    }
}

/// What became of one task.
enum Sent {
    /// It is there.
    Added,
    /// Its queue is gone, and has forgotten its part.
    Forgotten,
    Failed(Failure),
}

/// Adds tasks on that connection; a result for each, in order. `None` where something of one is to be checked, its queue has to be told of its part, or
/// nodes share the queues.
pub(super) async fn enqueue_with_others(homes: &Homes, commands: &Commands, tasks: &[NewTask]) -> Option<Results> {
    let surely_fits = |task: &NewTask| is_plain(task) && task.payload.len() <= SURELY_FITS;
    if homes.context.connector.cluster().is_some() || !tasks.iter().all(surely_fits) {
        return None;
    }
    match tasks {
        [task] => Some(vec![enqueue_one(homes, commands, task).await?]),
        // Its future is large, and whoever enqueues one task should not move it.
        several => Box::pin(enqueue_several(homes, commands, several)).await,
    }
}

async fn enqueue_one(homes: &Homes, commands: &Commands, task: &NewTask) -> Option<Result<Enqueued, EnqueueError>> {
    let destination = Destination::of(task);
    if !lock(&homes.parts).contains(&destination.stream) {
        return None;
    }
    match sent(&homes.context, commands.ask(words(task, &destination)).await) {
        Sent::Added => Some(Ok(new(task))),
        Sent::Forgotten => {
            lock(&homes.parts).remove(&destination.stream);
            None
        }
        Sent::Failed(failure) => Some(Err(failure.for_enqueue(task.queue.template, &homes.context.settings))),
    }
}

async fn enqueue_several(homes: &Homes, commands: &Commands, tasks: &[NewTask]) -> Option<Results> {
    let (destinations, each) = destinations(tasks);
    {
        let known = lock(&homes.parts);
        if !destinations.iter().all(|destination| known.contains(&destination.stream)) {
            return None;
        }
    }
    let failed =
        |task: &NewTask, failure: &Failure| Err(failure.for_enqueue(task.queue.template, &homes.context.settings));
    let (mut results, mut forgotten, mut behind) = (Vec::with_capacity(tasks.len()), Vec::new(), None);
    while results.len() < tasks.len() {
        let first = results.len();
        if let Some(failure) = &behind {
            results.extend(tasks[first..].iter().map(|task| failed(task, failure)));
            break;
        }
        let part = first..first + part(&tasks[first..]);
        let words = part.clone().map(|place| words(&tasks[place], &destinations[each[place]]));
        for (place, asked) in part.zip(commands.ask_all(words).await) {
            let task = &tasks[place];
            results.push(match sent(&homes.context, asked) {
                Sent::Added => Ok(new(task)),
                Sent::Forgotten => {
                    lock(&homes.parts).remove(&destinations[each[place]].stream);
                    forgotten.push(place);
                    Ok(new(task))
                }
                Sent::Failed(failure) => {
                    behind = behind.or_else(|| failure.behind());
                    failed(task, &failure)
                }
            });
        }
    }
    if !forgotten.is_empty() {
        let again = forgotten.iter().map(|&place| tasks[place].clone()).collect();
        for (place, result) in forgotten.into_iter().zip(enqueue(homes, again, false).await) {
            results[place] = result;
        }
    }
    Some(results)
}

/// Where tasks go, and for each of them which of these it is: those that follow each other mostly go to one.
fn destinations(tasks: &[NewTask]) -> (Vec<Destination>, Vec<usize>) {
    let (mut destinations, mut each) = (Vec::new(), Vec::with_capacity(tasks.len()));
    let is_same = |a: &NewTask, b: &NewTask| a.queue == b.queue && a.channel == b.channel && a.version == b.version;
    for group in tasks.chunk_by(is_same) {
        each.extend(std::iter::repeat_n(destinations.len(), group.len()));
        destinations.push(Destination::of(&group[0]));
    }
    (destinations, each)
}

/// <https://redis.io/docs/latest/commands/xadd/>. Where the stream is gone, the queue has forgotten its part too, and is to be told of it again.
fn words<'a>(task: &'a NewTask, Destination { stream, version }: &'a Destination) -> [&'a [u8]; 12] {
    [
        b"XADD",
        stream.as_bytes(),
        b"NOMKSTREAM",
        b"*",
        b"id",
        task.id.as_bytes(),
        b"name",
        task.name.as_bytes(),
        b"version",
        version.as_bytes(),
        b"payload",
        &task.payload,
    ]
}

fn sent(context: &Context, asked: Asked) -> Sent {
    Sent::Failed(match asked {
        Ok(Response::Texts(texts)) if is_entry(&texts) => return Sent::Added,
        Ok(Response::Texts(texts)) if texts.is_empty() => return Sent::Forgotten,
        Ok(Response::Error(reason)) => Failure::Server(reason),
        Ok(Response::Integer(_) | Response::Texts(_)) => Failure::Unreadable,
        Err(Unasked::NotSent(reason)) => match context.life.ended() {
            Some(reason) => Failure::Closed(reason.to_owned()),
            None => Failure::NotConnected(reason),
        },
        Err(Unasked::Lost(reason)) => Failure::Lost(reason),
        Err(Unasked::Late) => Failure::Late,
    })
}

/// Whether an answer is the id of an entry.
fn is_entry(texts: &[String]) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    matches!(texts, [id] if id.split_once('-').is_some_and(|(millis, count)| is_number(millis) && is_number(count)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_id_says_that_a_task_is_there() {
        for (texts, is) in [
            (&["1764271457123-0"][..], true),
            (&[], false),
            (&[""], false),
            (&["OK"], false),
            (&["17-"], false),
            (&["1-0", "2-0"], false),
            (&["SYNTAX invalid syntax"], false),
        ] {
            let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
            assert_eq!(is_entry(&texts), is, "{texts:?}");
        }
    }
}
