//! Tasks on their way to their queues.

use std::collections::HashSet;

use futures_util::future::join_all;
use redis::{Cmd, Pipeline, Value, cmd};

use crate::{
    error::{BatchError, EnqueueError, PublishError},
    transport::{
        contract::Parcel,
        durable::{
            contract::{Together, whole},
            task::{Due, Enqueued, NewTask, QueueName, Settlement},
        },
        redis::{
            access::rule_in_script,
            answer::{Response, Unasked},
            commands::{Commands, SURELY_FITS},
            line::lock,
            queues::{
                entry::state_of,
                failure::{Failure, UNREADABLE},
                homes::{Home, Homes},
                packed::Packed,
                scripts::ENQUEUE,
                settling::write_task,
            },
            words,
        },
    },
};

/// Tasks that are sent before their answers are awaited, and bytes of their payloads.
const PART: (usize, usize) = (10_000, 16 * 1024 * 1024);
/// Tasks that one script adds: it holds up everybody else for a few milliseconds.
const SCRIPT: usize = 500;

/// How the script's answer begins where the access rules let a message not be published; the server's words follow.
const UNPUBLISHABLE: &str = "UNPUBLISHABLE";

type Results = Vec<Result<Enqueued, EnqueueError>>;

/// Adds tasks; a result for each, in order.
pub(super) async fn enqueue(homes: &Homes, tasks: Vec<NewTask>, atomic: bool) -> Results {
    let count = tasks.len();
    let templates: Vec<&'static str> = tasks.iter().map(|task| task.queue.template).collect();
    let mut apart = homes.apart(tasks);
    if let [(home, _, tasks)] = apart.as_mut_slice() {
        return enqueue_on(*home, std::mem::take(tasks), atomic).await;
    }
    if atomic {
        return templates.into_iter().map(|queue| Err(EnqueueError::SeveralSlots { queue })).collect();
    }
    let sent =
        apart.into_iter().map(|(home, places, tasks)| async move { (places, enqueue_on(home, tasks, false).await) });
    let mut results: Vec<_> = (0..count).map(|_| None).collect();
    for (places, each) in join_all(sent).await {
        for (place, result) in places.into_iter().zip(each) {
            results[place] = Some(result);
        }
    }
    let unanswered = |queue| Err(EnqueueError::Undecided { queue, reason: UNREADABLE.to_owned() });
    results.into_iter().zip(templates).map(|(result, queue)| result.unwrap_or_else(|| unanswered(queue))).collect()
}

/// Adds a task on the connection that everything is published on: it is written with what others publish, and costs less than on that of queues. `None`
/// where something of the task is to be checked, its queue has to be told of its part, or nodes share the queues.
pub(super) async fn enqueue_with_others(
    homes: &Homes,
    commands: &Commands,
    task: &NewTask,
) -> Option<Result<Enqueued, EnqueueError>> {
    let context = &homes.context;
    if context.connector.cluster().is_some() || !is_plain(task) || task.payload.len() > SURELY_FITS {
        return None;
    }
    let stream = stream(&task.queue.base(), &task.channel);
    if !lock(&homes.parts).contains(&stream) {
        return None;
    }
    let mut version = itoa::Buffer::new();
    // Where the stream is gone, the queue has forgotten its part too, and is to be told of it again.
    let words: [&[u8]; 12] = [
        b"XADD",
        stream.as_bytes(),
        b"NOMKSTREAM",
        b"*",
        b"id",
        task.id.as_bytes(),
        b"name",
        task.name.as_bytes(),
        b"version",
        version.format(task.version).as_bytes(),
        b"payload",
        &task.payload,
    ];
    let failure = match commands.ask(words).await {
        Ok(Response::Texts(texts)) if is_entry(&texts) => return Some(Ok(new(task))),
        Ok(Response::Texts(texts)) if texts.is_empty() => {
            lock(&homes.parts).remove(&stream);
            return None;
        }
        Ok(Response::Error(reason)) => Failure::Server(reason),
        Ok(Response::Integer(_) | Response::Texts(_)) => Failure::Unreadable,
        Err(Unasked::NotSent(reason)) => match context.life.ended() {
            Some(reason) => Failure::Closed(reason.to_owned()),
            None => Failure::NotConnected(reason),
        },
        Err(Unasked::Lost(reason)) => Failure::Lost(reason),
        Err(Unasked::Late) => Failure::Late,
    };
    Some(Err(failure.for_enqueue(task.queue.template, &context.settings)))
}

/// Whether an answer is the id of an entry.
fn is_entry(texts: &[String]) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    matches!(texts, [id] if id.split_once('-').is_some_and(|(millis, count)| is_number(millis) && is_number(count)))
}

/// Adds the follow-ups that the step which settles cannot add: right before it. A step that is tried again after that adds them again.
pub(super) async fn follow_up(homes: &Homes, queue: &QueueName, settlements: &mut [Settlement]) -> Result<(), Failure> {
    let elsewhere = homes.elsewhere(queue, settlements);
    if elsewhere.is_empty() {
        return Ok(());
    }
    let failed = enqueue(homes, elsewhere, false).await.into_iter().find_map(Result::err);
    failed.map_or(Ok(()), |error| Err(Failure::NotConnected(format!("a follow-up is not in its queue: {error}"))))
}

/// Adds tasks and publishes messages in one script. Whoever publishes in it reaches all nodes of a cluster, so the messages go where the tasks do.
pub(super) async fn enqueue_and_publish(
    homes: &Homes,
    tasks: Vec<NewTask>,
    parcels: &[Parcel],
) -> Result<Together, BatchError> {
    let Some(queue) = tasks.first().map(|task| task.queue.template) else { return Ok(Together::default()) };
    let apart = homes.apart(tasks);
    let [(home, _, tasks)] = apart.as_slice() else { return Err(EnqueueError::SeveralSlots { queue }.into()) };
    let settings = &home.homes.context.settings;
    let failed = |failure: Failure| match failure {
        Failure::Server(reason) if words::code(&reason) == UNPUBLISHABLE => {
            let reason = reason[UNPUBLISHABLE.len()..].trim_start().to_owned();
            let channels: Vec<&String> = parcels.iter().map(|parcel| &parcel.channel).collect();
            let channel = channels.first().map_or_else(String::new, |&channel| channel.clone());
            let rule = rule_in_script(settings, &reason, &channels);
            BatchError::from(PublishError::Refused { channel, reason, rule })
        }
        failure => failure.for_enqueue(queue, settings).into(),
    };
    let mut pipeline = Pipeline::with_capacity(1);
    pipeline.add_command(scripted("atomic", tasks, parcels));
    let mut answers = asked(*home, pipeline, tasks).await.map_err(failed)?;
    answers.truncate(1);
    let counts_receivers = home.homes.context.connector.cluster().is_none();
    let (enqueued, receivers) = read_together(answers.pop().unwrap_or_default(), tasks, parcels.len(), failed)?;
    Ok((enqueued, receivers.into_iter().map(|number| counts_receivers.then_some(number)).collect()))
}

/// What the answer to a script says of each task, and how many received each message behind that. Where a task was refused there are no messages.
fn read_together(
    answer: Value,
    tasks: &[NewTask],
    messages: usize,
    failed: impl Fn(Failure) -> BatchError,
) -> Result<(Vec<Enqueued>, Vec<u64>), BatchError> {
    let unreadable = || failed(Failure::Unreadable);
    let Value::BulkString(answer) = Failure::check(answer).map_err(&failed)? else { return Err(unreadable()) };
    let mut packed = Packed::new(answer);
    let length = packed.array().ok_or_else(unreadable)?;
    if length < tasks.len() {
        return Err(unreadable());
    }
    let results: Option<Vec<_>> = tasks.iter().map(|task| read_one(&mut packed, task)).collect();
    let enqueued = whole(results.ok_or_else(unreadable)?)?;
    if length != tasks.len() + messages {
        return Err(unreadable());
    }
    let receivers: Option<Vec<u64>> = (0..messages).map(|_| u64::try_from(packed.number()?).ok()).collect();
    Ok((enqueued, receivers.ok_or_else(unreadable)?))
}

async fn enqueue_on(home: Home<'_>, mut tasks: Vec<NewTask>, atomic: bool) -> Results {
    if atomic {
        let whole = Part { commands: vec![(scripted("atomic", &tasks, &[]), tasks.len())] };
        return whole.sent(home, &tasks).await;
    }
    let mut results = Vec::with_capacity(tasks.len());
    while !tasks.is_empty() {
        let rest = tasks.split_off(part(&tasks));
        results.extend(Part::of(&tasks).sent(home, &tasks).await);
        tasks = rest;
    }
    results
}

/// The parts of queues that tasks are enqueued in, by base and channel.
fn parts(tasks: &[NewTask]) -> Vec<(String, &str)> {
    let (mut parts, mut seen) = (Vec::new(), HashSet::new());
    for task in tasks {
        if seen.insert((&task.queue, task.channel.as_str())) {
            parts.push((task.queue.base(), task.channel.as_str()));
        }
    }
    parts
}

fn part(tasks: &[NewTask]) -> usize {
    let mut bytes = 0;
    let within = |task: &&NewTask| {
        bytes += task.payload.len();
        bytes <= PART.1
    };
    tasks.iter().take(PART.0).take_while(within).count().max(1)
}

/// Commands, and how many tasks each of them adds.
struct Part {
    commands: Vec<(Cmd, usize)>,
}

impl Part {
    /// Tasks of which nothing is to be checked take no script. Otherwise all of them do, so that they keep their order where the server does not
    /// know the script: those of one queue that follow each other share one.
    fn of(tasks: &[NewTask]) -> Self {
        if tasks.iter().all(is_plain) {
            return Self { commands: tasks.iter().map(|task| (added(task), 1)).collect() };
        }
        let mut commands = Vec::new();
        let mut rest = tasks;
        while let [first, ..] = rest {
            let length = rest.iter().take(SCRIPT).take_while(|task| task.queue == first.queue).count();
            commands.push((scripted("each", &rest[..length], &[]), length));
            rest = &rest[length..];
        }
        Self { commands }
    }

    async fn sent(self, home: Home<'_>, tasks: &[NewTask]) -> Results {
        let (mut pipeline, mut lengths) = (Pipeline::with_capacity(self.commands.len()), Vec::new());
        for (command, length) in self.commands {
            pipeline.add_command(command);
            lengths.push(length);
        }
        let settings = &home.homes.context.settings;
        let failed = |task: &NewTask, failure: &Failure| Err(failure.for_enqueue(task.queue.template, settings));
        let answers = match asked(home, pipeline, tasks).await {
            Ok(answers) => answers,
            Err(failure) => return tasks.iter().map(|task| failed(task, &failure)).collect(),
        };
        let (mut results, mut rest) = (Vec::with_capacity(tasks.len()), tasks);
        for (answer, length) in answers.into_iter().zip(lengths) {
            let (these, others) = rest.split_at(length);
            rest = others;
            match read(answer, these) {
                Ok(read) => results.extend(read),
                Err(failure) => results.extend(these.iter().map(|task| failed(task, &failure))),
            }
        }
        results
    }
}

/// Asks for these tasks to be added; the answers to the commands come first. Whoever looks for a task has to know their parts, also where nobody has
/// served the queue yet, and each time: the server may have lost its keys. What goes wrong with that shows with the tasks.
async fn asked(home: Home<'_>, mut pipeline: Pipeline, tasks: &[NewTask]) -> Result<Vec<Value>, Failure> {
    let parts = parts(tasks);
    for (base, channel) in &parts {
        pipeline.cmd("SADD").arg(format!("{base}parts")).arg(*channel);
    }
    let answers = home.ask_all(pipeline).await?;
    if answers.last().is_some_and(|last| Failure::of(last).is_none()) {
        lock(&home.homes.parts).extend(parts.iter().map(|(base, channel)| stream(base, channel)));
    }
    Ok(answers)
}

fn is_plain(task: &NewTask) -> bool {
    let is_due = match task.due {
        Due::Now => true,
        Due::In(time) => time.is_zero(),
        Due::At(_) => false,
    };
    is_due && task.expires_in.is_none() && task.unique.is_none() && task.max_length.is_none()
}

/// Where new tasks of a part are.
fn stream(base: &str, channel: &str) -> String {
    format!("{base}new:{channel}")
}

/// <https://redis.io/docs/latest/commands/xadd/>
fn added(task: &NewTask) -> Cmd {
    let mut command = cmd("XADD");
    command.arg(stream(&task.queue.base(), &task.channel)).arg("*");
    command.arg("id").arg(&task.id).arg("name").arg(task.name).arg("version").arg(task.version);
    command.arg("payload").arg(task.payload.as_slice());
    command
}

fn scripted(mode: &str, tasks: &[NewTask], parcels: &[Parcel]) -> Cmd {
    let mut bases: Vec<String> = Vec::new();
    let numbers: Vec<usize> = tasks
        .iter()
        .map(|task| {
            let base = task.queue.base();
            bases.iter().position(|known| *known == base).unwrap_or_else(|| {
                bases.push(base);
                bases.len() - 1
            })
        })
        .collect();
    let bases: Vec<&str> = bases.iter().map(String::as_str).collect();
    let mut command = ENQUEUE.on_all(&bases);
    command.arg(mode).arg(parcels.len());
    for Parcel { channel, payload, .. } in parcels {
        command.arg(channel).arg(payload.as_slice());
    }
    for (task, number) in tasks.iter().zip(numbers) {
        command.arg(number + 1);
        write_task(&mut command, task);
    }
    command
}

/// The results of one command, of as many tasks as it was to add.
fn read(answer: Value, tasks: &[NewTask]) -> Result<Results, Failure> {
    let Value::BulkString(answer) = Failure::check(answer)? else { return Err(Failure::Unreadable) };
    // XADD answers with the entry's id, and a script with what is no text.
    if let [task] = tasks
        && answer.first().is_some_and(u8::is_ascii_digit)
    {
        return Ok(vec![Ok(new(task))]);
    }
    let mut packed = Packed::new(answer);
    if packed.array() != Some(tasks.len()) {
        return Err(Failure::Unreadable);
    }
    tasks.iter().map(|task| read_one(&mut packed, task).ok_or(Failure::Unreadable)).collect()
}

fn read_one(packed: &mut Packed, task: &NewTask) -> Option<Result<Enqueued, EnqueueError>> {
    let queue = task.queue.template;
    if !packed.is_number() {
        return (packed.array()? == 2).then(|| {
            let (id, state) = (packed.string()?, state_of(packed.str()?)?);
            Some(Ok(Enqueued::new(id, Some(state))))
        })?;
    }
    Some(match packed.number()? {
        0 => Ok(new(task)),
        1 => Err(EnqueueError::QueueFull { queue, max_length: task.max_length.unwrap_or_default() }),
        _ => Err(EnqueueError::Aborted { queue }),
    })
}

fn new(task: &NewTask) -> Enqueued {
    Enqueued::new(task.id.clone(), None)
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
