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

pub(super) type Results = Vec<Result<Enqueued, EnqueueError>>;

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
        return whole.sent(home, &tasks).await.0;
    }
    let mut results = Vec::with_capacity(tasks.len());
    while !tasks.is_empty() {
        let rest = tasks.split_off(part(&tasks));
        let (sent, failure) = Part::of(&tasks).sent(home, &tasks).await;
        results.extend(sent);
        if let Some(failure) = failure.and_then(|failure| failure.behind()) {
            let settings = &home.homes.context.settings;
            results.extend(rest.iter().map(|task| Err(failure.for_enqueue(task.queue.template, settings))));
            break;
        }
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

pub(super) fn part(tasks: &[NewTask]) -> usize {
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

    /// A result for each task, and what went wrong with all of them, if anything did.
    async fn sent(self, home: Home<'_>, tasks: &[NewTask]) -> (Results, Option<Failure>) {
        let (mut pipeline, mut lengths) = (Pipeline::with_capacity(self.commands.len()), Vec::new());
        for (command, length) in self.commands {
            pipeline.add_command(command);
            lengths.push(length);
        }
        let settings = &home.homes.context.settings;
        let failed = |task: &NewTask, failure: &Failure| Err(failure.for_enqueue(task.queue.template, settings));
        let answers = match asked(home, pipeline, tasks).await {
            Ok(answers) => answers,
            Err(failure) => return (tasks.iter().map(|task| failed(task, &failure)).collect(), Some(failure)),
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
        (results, None)
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

pub(super) fn is_plain(task: &NewTask) -> bool {
    let is_due = match task.due {
        Due::Now => true,
        Due::In(time) => time.is_zero(),
        Due::At(_) => false,
    };
    is_due && task.expires_in.is_none() && task.unique.is_none() && task.max_length.is_none()
}

/// Where new tasks of a part are.
pub(super) fn stream(base: &str, channel: &str) -> String {
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

pub(super) fn new(task: &NewTask) -> Enqueued {
    Enqueued::new(task.id.clone(), None)
}
