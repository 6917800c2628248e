//! Every example does what it says, in memory and through a redis-server of its own.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{
    env,
    path::PathBuf,
    process::Stdio,
    sync::OnceLock,
    time::{Duration, Instant},
};

use tidings_tests::{Cluster, RedisServer, Sentinels, eventually};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// Long enough to compile an example on a loaded machine; a built one takes less than a second.
const DEADLINE: Duration = Duration::from_secs(300);

/// An example as a reader starts it: built by the same command, with the same features as the rest of the suite, once for all of them.
fn example(name: &str, arguments: &[&str], url: Option<&str>) -> Child {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let examples = BUILT.get_or_init(|| {
        let mut cargo = std::process::Command::new(env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
        cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let status = cargo.args(["build", "--quiet", "--all-features", "--examples"]).status().unwrap();
        assert!(status.success(), "the examples do not build");
        // Beside the folder of this test.
        env::current_exe().unwrap().parent().unwrap().with_file_name("examples")
    });
    let mut command = Command::new(examples.join(name));
    command.args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).env_remove("REDIS_URL");
    if let Some(url) = url {
        command.env("REDIS_URL", url);
    }
    command.spawn().unwrap()
}

async fn run(name: &str, url: Option<&str>) -> String {
    let output = tokio::time::timeout(DEADLINE, example(name, &[], url).wait_with_output());
    let output = output.await.unwrap_or_else(|_| panic!("{name} does not end")).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{name} fails: {}\n{text}", output.status);
    assert!(!text.contains("unexpected"), "{name}:\n{text}");
    text
}

/// Runs it on both transports. The order of lines is not checked where handlers run beside each other.
async fn prints(name: &str, lines: &[&str]) {
    let server = RedisServer::start().await;
    for url in [None, Some(server.url())] {
        let text = run(name, url.as_deref()).await;
        for line in lines {
            assert!(text.lines().any(|printed| printed.starts_with(line)), "{name} on {url:?} lacks `{line}`:\n{text}");
        }
    }
}

fn stdout(child: &mut Child) -> Lines<BufReader<ChildStdout>> {
    BufReader::new(child.stdout.take().unwrap()).lines()
}

/// Reads until a line starts so.
async fn until(lines: &mut Lines<BufReader<ChildStdout>>, start: &str) -> String {
    let reading = tokio::time::timeout(DEADLINE, async {
        loop {
            match lines.next_line().await.unwrap() {
                Some(line) if line.starts_with(start) => return line,
                Some(_) => {}
                None => panic!("the output ended before `{start}`"),
            }
        }
    });
    reading.await.unwrap_or_else(|_| panic!("no line `{start}`"))
}

#[tokio::test]
async fn request_reply() {
    prints("request_reply", &["nobody quotes prices yet", "two engines cost 250000 cents", "there is no loom"]).await;
}

#[tokio::test]
async fn acknowledged() {
    let lines = ["no shelf is there yet", "2 shelves have the new price", "refused: 125000 cents is less than engine"];
    prints("acknowledged", &lines).await;
}

#[tokio::test]
async fn layers() {
    let lines =
        ["thumbnail 7", "no thumbnail 13: the handler ran past its timeout", "no thumbnail 7: the handler failed"];
    prints("layers", &lines).await;
}

#[tokio::test]
async fn notifications() {
    let lines = [
        "for Ada      │ parcel 101 is on its way",
        "for everybody│ the shop closes at 20",
        "at the desk  │ to user 8: parcel 100",
        "at the desk  │ to user 7: parcel 101",
        "at the desk  │ to everybody: the shop",
    ];
    prints("notifications", &lines).await;
}

#[tokio::test]
async fn filtering() {
    let lines = [
        "woken up by user 7: the disk is full",
        "woken up by user 1: the kitchen burns",
        "in Europe   │ user 7: the disk is half full",
        "in Europe   │ user 3: I am bored",
        "left out by the filter: 2",
    ];
    prints("filtering", &lines).await;
}

#[tokio::test]
async fn state_and_extractors() {
    let lines =
        ["till 1: Ada sells bread", "till 2: somebody sells cake", "Monday: 1570 cents in all, asked for on `reports`"];
    prints("state_and_extractors", &lines).await;
}

#[tokio::test]
async fn task_queue() {
    let lines = [
        "5 are pending",
        "taken back: Cancelled(Waiting)",
        "result: 800x600/logo.png by the ",
        "result: 800x600/poster.png",
        "no result of notes.txt: notes.txt is no image",
        "result: 800x600/holiday.png",
        "tasks:completed │ logo.png",
        "tasks:completed │ poster.png",
        "tasks:completed │ holiday.png",
        "tasks:failed    │ notes.txt: notes.txt is no image",
        "seen on the way: ",
        "3 completed, 1 failed, 1 cancelled",
    ];
    prints("task_queue", &lines).await;
}

#[tokio::test]
async fn testing_your_service() {
    let lines = ["ok: warns when little is left", "ok: refuses what is not there", "3 checks in "];
    prints("testing_your_service", &lines).await;
}

#[tokio::test]
async fn testing_redelivery() {
    let lines = [
        "careless fails:",
        "  something else comes of the task after a crash when the handler waited for the 2nd time",
        "careful passes, with a crash at each of 2 awaits:",
        "  the same after a crash before the handler began",
        "  the same after a second delivery of the task, which was done",
        "two deliveries of order 7 have charged 1250 cents",
    ];
    prints("testing_redelivery", &lines).await;
}

#[tokio::test]
async fn axum_server() {
    let lines = [
        r#"POST /quotes/engine: 200 {"cents":125000}"#,
        "POST /quotes/loom: 404",
        "POST /orders/7: 202",
        r#"event of /parcels: data: {"order":7}"#,
        "the stream has ended",
        "the server has stopped",
    ];
    prints("axum_server", &lines).await;
}

#[tokio::test]
async fn queue() {
    let lines = [
        "5 tasks wait",
        "first: logo.png, High, attempt 1",
        "first: panorama.png takes long",
        "the first instance is gone",
        "second: panorama.png, Low, attempt 2",
        "dead: notes.txt is no image",
        "1 tasks are replayed",
        "second: notes.txt, Low, attempt 1",
        "5 tasks are done",
    ];
    prints("queue", &lines).await;
}

#[tokio::test]
async fn dynamic_subscriptions() {
    let lines = [
        "watched acme at 1000",
        "watched globex at 2000",
        r#"watching ["acme"]"#,
        "audited globex at 2100",
        "the auditor has gone",
        "watched acme at 1100",
    ];
    prints("dynamic_subscriptions", &lines).await;
}

#[tokio::test]
async fn quickstart() {
    let text = run("quickstart", None).await;
    assert!(text.contains("invoice for 42 received"), "{text}");
}

/// With a server the quickstart listens on, to what other programs say.
#[tokio::test]
async fn quickstart_hears_another_program() {
    let server = RedisServer::start().await;
    let mut child = example("quickstart", &[], Some(&server.url()));
    let mut lines = stdout(&mut child);
    until(&mut lines, "listening").await;
    assert_eq!(server.publish("orders:7", br#"{"id": 7, "customer": "Grace", "cents": 1999}"#).await, 1);
    until(&mut lines, "orders   │ Grace orders number 7").await;
}

/// With Sentinels it listens on when the master is killed, and says that there was a gap.
#[tokio::test]
async fn quickstart_outlives_its_master() {
    let sentinels = Sentinels::start().await;
    let mut child = example("quickstart", &[], Some(&sentinels.url()));
    let mut lines = stdout(&mut child);
    until(&mut lines, "listening").await;
    let old = &sentinels.servers()[0];
    old.kill();
    until(&mut lines, "bus      │ a gap").await;
    sentinels.another_than(old.port()).await;
    let master = sentinels.master().await;
    // While the Sentinels come to agree, the connection may be made once more.
    let order = br#"{"id": 7, "customer": "Grace", "cents": 1999}"#;
    eventually(DEADLINE, async || master.publish("orders:7", order).await == 1).await;
    until(&mut lines, "orders   │ Grace orders number 7").await;
}

/// On a cluster it listens on when a master is killed, says that there was a gap if it was there, and hears what another program says to any node.
#[tokio::test]
async fn quickstart_outlives_a_master_of_its_cluster() {
    let cluster = Cluster::start().await;
    let mut child = example("quickstart", &[], Some(&cluster.url()));
    let mut lines = stdout(&mut child);
    until(&mut lines, "listening").await;
    let listens_at = async || {
        for node in cluster.nodes() {
            if node.try_command::<u64>(&["PUBSUB", "NUMPAT"]).await.is_ok_and(|patterns| patterns > 0) {
                return Some(node);
            }
        }
        None
    };
    let old = listens_at().await.expect("it listens somewhere");
    old.kill();
    until(&mut lines, "bus      │ a gap").await;
    eventually(DEADLINE, async || listens_at().await.is_some()).await;
    let new = listens_at().await.expect("it listens somewhere else").port();
    let other = cluster.nodes().iter().find(|node| ![old.port(), new].contains(&node.port())).expect("there are six");
    assert_eq!(
        other.publish("orders:7", br#"{"id": 7, "customer": "Grace", "cents": 1999}"#).await,
        0,
        "it counts its own"
    );
    until(&mut lines, "orders   │ Grace orders number 7").await;
}

/// The lines of each room come in their order, and nobody hears another room.
#[tokio::test]
async fn chat() {
    let kitchen = ["Ada joins", "Bob joins", "Bob: Is there tea?", "Bob leaves", "Ada: There was.", "Ada: Still here."];
    let garden = ["Eve joins", "Eve: It rains.", "nobody is there"];
    let server = RedisServer::start().await;
    for url in [None, Some(server.url())] {
        let text = run("chat", url.as_deref()).await;
        let room = |name| text.lines().filter_map(move |line| line.strip_prefix(name)).collect::<Vec<_>>();
        assert_eq!(room("kitchen │ "), kitchen, "{text}");
        assert_eq!(room("garden  │ "), garden, "{text}");
    }
    eventually(DEADLINE, async || server.subscriber_connections().await == 0).await;
}

#[tokio::test]
async fn two_terminals_chat() {
    let server = RedisServer::start().await;
    let mut ada = example("chat", &["--interactive", "Ada", "kitchen"], Some(&server.url()));
    let mut heard = stdout(&mut ada);
    until(&mut heard, "Ada joins").await;
    let mut bob = example("chat", &["--interactive", "Bob", "kitchen"], Some(&server.url()));
    until(&mut heard, "Bob joins").await;
    let mut typed = bob.stdin.take().unwrap();
    typed.write_all("Is there tea?\n".as_bytes()).await.unwrap();
    until(&mut heard, "Bob: Is there tea?").await;
    drop(typed);
    until(&mut heard, "Bob leaves").await;
    assert!(tokio::time::timeout(DEADLINE, bob.wait()).await.unwrap().unwrap().success());
}

#[tokio::test]
async fn reconnect_in_memory() {
    let text = run("reconnect", None).await;
    let after = text.split_once("a gap of ").unwrap_or_else(|| panic!("no gap:\n{text}")).1;
    assert!(text.contains("beat 3 was not published"), "{text}");
    assert!(after.contains("back again: 1 gap"), "{text}");
}

#[tokio::test]
async fn reconnect_survives_a_restart_of_redis() {
    let server = RedisServer::start().await;
    let start = Instant::now();
    let mut child = example("reconnect", &[], Some(&server.url()));
    let mut lines = stdout(&mut child);
    until(&mut lines, "now restart your Redis").await;
    until(&mut lines, "beat 1").await;
    server.kill();
    until(&mut lines, "beat ").await;
    server.restart().await;
    until(&mut lines, "a gap of ").await;
    until(&mut lines, "back again: ").await;
    assert!(tokio::time::timeout(DEADLINE, child.wait()).await.unwrap().unwrap().success(), "{:?}", start.elapsed());
}
