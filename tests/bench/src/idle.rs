//! What instances cost the servers that do nothing but wait: connections, names, memory, and the commands and bytes with which they stay alive.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, handler, routes};

use crate::{
    child::{self, Mode},
    measure::Report,
    order::Order,
    pair::until_told,
    server::{Place, Places, Usage},
    work::Work,
};

/// What an instance serves, and how the table calls it.
const PROGRAMS: [(&str, &str); 3] = [
    ("broadcasts", "one pattern of broadcasts"),
    ("requests", "and one kind of requests, which it also asks"),
    ("queues", "and two queues"),
];
/// Instances, each with a bus of its own.
const INSTANCES: u64 = 10;

#[derive(Message, Serialize, Deserialize)]
#[channel("idle:double:<n>")]
#[reply(u64)]
struct Double {
    n: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("idle:mails")]
struct Mail {
    to: String,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("idle:images")]
struct Image {
    path: String,
}

#[handler]
async fn placed(_order: Order) {}

#[handler]
async fn double(double: Double) -> u64 {
    2 * double.n
}

#[handler(idempotent, timeout = "30s")]
async fn mail(_mail: Mail) {}

#[handler(idempotent, timeout = "30s")]
async fn image(_image: Image) {}

/// So many instances, until the input ends.
pub async fn run(program: &str, url: &str, instances: u64) -> Report {
    let (mut buses, mut services) = (Vec::new(), Vec::new());
    for _ in 0..instances {
        let bus = Bus::connect(url).await.expect("a connection");
        let serving = match program {
            "broadcasts" => bus.serve(routes![placed]).await,
            "requests" => bus.serve(routes![placed, double]).await,
            "queues" => bus.serve(routes![placed, double, mail, image]).await,
            other => panic!("no such program: {other}"),
        };
        services.push(serving.expect("a service"));
        buses.push(bus);
    }
    for bus in buses.iter().filter(|_| program != "broadcasts") {
        assert_eq!(Double { n: 4 }.request(bus).await.expect("an answer"), 8);
    }
    let report = until_told().await;
    for service in services {
        service.shutdown().await.expect("nothing waits");
    }
    report
}

/// Prints what an instance costs all nodes together.
pub fn table(places: &Places, watched: Duration) {
    println!(
        "\n### Costs of an idle instance ({INSTANCES} of them, watched for {} s, and as long once more for the commands)\n",
        watched.as_secs()
    );
    println!(
        "| serves | on | connections | channels | patterns | shard channels | memory, KB | commands a second | bytes a second to it | from it |"
    );
    println!("|--|--|--|--|--|--|--|--|--|--|");
    for (place, on) in [(Place::Server, "one server"), (Place::Cluster, "a cluster of three")] {
        let redis = places.of(place);
        for (program, serves) in PROGRAMS {
            redis.flush();
            let before = redis.usage();
            let work = Work::idle(program, place);
            let running =
                child::Process::start(&work, child::Kind::Idle, &work.programs[0], INSTANCES, redis, Mode::Timed);
            let running = running.ready();
            let (begun, ended) = redis.usage_during(watched);
            let commands = redis.commands_during(watched);
            running.stop();
            println!("| {serves} | {on} | {} |", cells(&before, &begun, &ended, commands, watched));
        }
    }
    broadcasts(places.of(Place::Cluster));
}

fn cells(before: &Usage, begun: &Usage, ended: &Usage, commands: u64, watched: Duration) -> String {
    let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / INSTANCES as f64;
    let a_second = |after: u64, before: u64| each(after, before) / watched.as_secs_f64();
    [
        format!("{:.1}", each(begun.connections, before.connections)),
        format!("{:.1}", each(begun.channels, before.channels)),
        format!("{:.1}", each(begun.patterns, before.patterns)),
        format!("{:.1}", each(begun.shard_channels, before.shard_channels)),
        format!("{:.0}", each(begun.memory, before.memory) / 1e3),
        format!("{:.2}", a_second(commands, 0)),
        format!("{:.0}", a_second(ended.sent, begun.sent)),
        format!("{:.0}", a_second(ended.received, begun.received)),
    ]
    .join(" | ")
}

/// What a broadcast costs the node that takes it, and every other one.
fn broadcasts(cluster: &crate::server::Redis) {
    const MESSAGES: u64 = 20_000;
    let (own, others) = cluster.cost_of_broadcasts(MESSAGES);
    println!("\n| a broadcast of 189 bytes on a cluster of three, to which nobody subscribes | CPU, µs |\n|--|--|");
    println!("| the node that takes it | {own:.2} |\n| each other node | {others:.2} |");
}
