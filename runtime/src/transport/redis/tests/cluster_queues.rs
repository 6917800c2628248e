//! Queues on a cluster: which connections they have, and what happens to tasks while their slot is under way.

use crate::{
    error::EnqueueError,
    transport::{
        durable::{
            contract::{Durable, Keeper, QueueSpec},
            look::DeadLetterBounds,
            task::{Due, NewTask, QueueName, Unique},
        },
        redis::cluster::slot,
    },
};

use super::{cluster::Cluster, *};

const TEMPLATES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

fn task(template: &'static str, id: &str) -> NewTask {
    NewTask {
        queue: QueueName { template, namespace: "shop:".into() },
        channel: template.to_owned(),
        name: "Task",
        version: 1,
        id: id.into(),
        payload: b"payload".to_vec(),
        due: Due::Now,
        expires_in: None,
        unique: None,
        max_length: None,
    }
}

/// One that is enqueued by a script.
fn scripted(template: &'static str, id: &str) -> NewTask {
    NewTask { unique: Some(Unique { key: id.into(), window: DEADLINE }), ..task(template, id) }
}

async fn enqueued(redis: &Redis, task: NewTask) -> Result<String, EnqueueError> {
    redis.enqueue(vec![task], false).await.pop().unwrap().map(|enqueued| enqueued.id)
}

/// So many connections of a name each node has.
fn connections(cluster: &Cluster, name: &str) -> Vec<usize> {
    let name = format!(" name={name} ");
    let count = |list: String| list.lines().filter(|line| line.contains(&name)).count();
    cluster.nodes.iter().map(|node| count(node.text("CLIENT LIST"))).collect()
}

fn shared_connections(cluster: &Cluster) -> Vec<usize> {
    connections(cluster, "tidings-queue")
}

fn spec(template: &'static str) -> QueueSpec {
    QueueSpec {
        name: QueueName { template, namespace: "shop:".into() },
        parts: vec![template.into()],
        lease: DEADLINE,
        at_most_once: false,
        dead: DeadLetterBounds::DEFAULT,
        results: None,
    }
}

/// The ids of what waits there.
fn waiting(cluster: &Cluster, node: usize, template: &str) -> Vec<String> {
    let range = cluster.nodes[node].run(&format!("XRANGE shop:tidings:queues:{{{template}}}:new:{template} - +"));
    let entries: Vec<(String, Vec<String>)> = redis::from_redis_value(range).unwrap();
    let id = |fields: Vec<String>| fields[fields.iter().position(|field| field == "id").unwrap() + 1].clone();
    entries.into_iter().map(|(_, fields)| id(fields)).collect()
}

#[tokio::test]
async fn queues_share_one_connection_to_each_node() {
    let cluster = Cluster::start(2, &[]).await;
    let redis = cluster.bus_with(Config { command_timeout: DEADLINE, ..config() }).await;
    let owners: Vec<usize> = TEMPLATES.iter().map(|template| cluster.owner(template)).collect();
    assert!(owners.contains(&0) && owners.contains(&1), "{owners:?}");
    let all = || TEMPLATES.map(|template| task(template, "1")).to_vec();
    assert!(redis.enqueue(all(), false).await.iter().all(Result::is_ok));
    for template in TEMPLATES {
        enqueued(&redis, scripted(template, "2")).await.unwrap();
    }
    assert_eq!(shared_connections(&cluster), [1, 1]);
    let (template, from) = (TEMPLATES[0], owners[0]);
    cluster.moves(slot(template.as_bytes()), from, 1 - from);
    enqueued(&redis, task(template, "3")).await.unwrap();
    assert_eq!(waiting(&cluster, 1 - from, template), ["1", "2", "3"]);
    // Whoever has a slot no more has others.
    assert!(redis.enqueue(all(), false).await.iter().all(Result::is_ok));
    assert_eq!(shared_connections(&cluster), [1, 1]);
}

#[tokio::test]
async fn a_keeper_has_one_connection_to_each_node_and_tells_each_queue_of_another_one() {
    let cluster = Cluster::start(2, &[]).await;
    let redis = cluster.bus_with(Config { command_timeout: DEADLINE, ..config() }).await;
    let specs = TEMPLATES.map(spec);
    for spec in &specs {
        redis.declare(spec).await.unwrap();
    }
    let mut keeper = redis.keeper();
    let mut anew = async || {
        let mut anew = Vec::new();
        for spec in &specs {
            // A slot that has just moved is found with the next heartbeat.
            let until = Instant::now() + DEADLINE;
            let heartbeat = loop {
                match keeper.keep(&spec.name, "instance-1", "{}", &[]).await {
                    Ok(heartbeat) => break heartbeat,
                    Err(error) => assert!(Instant::now() < until, "{error}"),
                }
            };
            if heartbeat.is_anew {
                anew.push(spec.name.template);
            }
            keeper.overdue(spec, Duration::MAX, 1).await.unwrap();
        }
        anew
    };
    for _ in 0..2 {
        assert_eq!(anew().await, [""; 0]);
        assert_eq!(connections(&cluster, "tidings-keeper"), [1, 1]);
    }
    let (moved, from) = (TEMPLATES[0], cluster.owner(TEMPLATES[0]));
    cluster.moves(slot(moved.as_bytes()), from, 1 - from);
    assert_eq!(anew().await, [moved], "the others have the connection that they had");
    assert_eq!(anew().await, [""; 0]);
    assert_eq!(connections(&cluster, "tidings-keeper"), [1, 1]);
    let of_node: Vec<&str> = TEMPLATES.into_iter().filter(|template| cluster.owner(template) == from).collect();
    cluster.nodes[from].run("CLIENT KILL TYPE normal SKIPME yes");
    assert_eq!(anew().await, of_node);
    assert!(format!("{keeper:?}").contains("places: 2"), "{keeper:?}");
}

#[tokio::test]
async fn a_task_follows_its_stream_and_a_script_waits_until_the_whole_slot_has_moved() {
    let cluster = Cluster::start(2, &[]).await;
    let patient = cluster.bus_with(Config { command_timeout: DEADLINE, ..config() }).await;
    let hasty = cluster.bus_with(Config { command_timeout: Duration::from_millis(300), ..config() }).await;
    let template = TEMPLATES[0];
    let (slot, from) = (slot(template.as_bytes()), cluster.owner(template));
    let to = 1 - from;
    enqueued(&hasty, scripted(template, "1")).await.unwrap();
    cluster.begin_to_move(slot, from, to);
    // The stream is where it was, and has room for what needs no more.
    enqueued(&hasty, task(template, "2")).await.unwrap();
    let stream = format!("shop:tidings:queues:{{{template}}}:new:{template}");
    cluster.nodes[from].run(&format!("MIGRATE 127.0.0.1 {} {stream} 0 5000", cluster.nodes[to].port));
    enqueued(&hasty, task(template, "3")).await.unwrap();
    let refused = enqueued(&hasty, scripted(template, "4")).await;
    assert!(matches!(refused, Err(EnqueueError::NotConnected { .. })), "{refused:?}");
    let waits = enqueued(&patient, scripted(template, "5"));
    let moves = async {
        enqueued(&hasty, task(template, "6")).await.unwrap();
        cluster.end_to_move(slot, from, to);
    };
    let (waited, ()) = tokio::join!(waits, moves);
    assert_eq!(waited.unwrap(), "5");
    assert_eq!(waiting(&cluster, to, template), ["1", "2", "3", "6", "5"], "the one that was refused was not added");
}
