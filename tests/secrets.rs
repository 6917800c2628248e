//! What a server quotes of a command is in no error and no log line: neither payloads nor passwords.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{
    error::Error,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, NoError, Reconnect, router};
use tidings_tests::{LogLines, eventually};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

const SOON: Duration = Duration::from_secs(20);
const PAYLOAD: &str = "swordfish";
const PASSWORD: &str = "hunter2";

/// How a server quotes the words of a command that it refuses.
const QUOTATIONS: [fn(&[String]) -> String; 7] = [
    |words| format!("ERR unknown command '{}', with args beginning with: '{}'", words[0], words[1..].join("' '")),
    |words| format!("ERR unknown command {}", words.join(" ")),
    |words| format!("ERR bad {}", words[1..].join(" ")),
    |words| words[2..].join(" "),
    |words| format!("NOPERM User {} has no permissions to run {}", words.last().unwrap(), words.join(" ")),
    |words| format!("WRONGPASS {}", words.join(" ")),
    |words| format!("OOM \"{}\"", words.join("\",\"")),
];

/// A server that lets clients in or does not, and quotes every other command.
struct Quoting {
    port: u16,
    plan: Arc<Mutex<Plan>>,
    _tasks: JoinSet<()>,
}

#[derive(Clone, Copy)]
struct Plan {
    quotation: fn(&[String]) -> String,
    lets_in: bool,
    /// Commands that are answered as they should be.
    obeys: &'static [&'static str],
}

impl Quoting {
    async fn start(plan: Plan) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (plan, mut tasks) = (Arc::new(Mutex::new(plan)), JoinSet::new());
        let shared = Arc::clone(&plan);
        tasks.spawn(async move {
            let mut clients = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                clients.spawn(converse(client, Arc::clone(&shared)));
            }
        });
        Self { port, plan, _tasks: tasks }
    }

    async fn connect(&self) -> Result<Bus, tidings::ConnectError> {
        let pause = Duration::from_millis(5);
        Bus::builder(format!("redis://anna:{PASSWORD}@127.0.0.1:{}", self.port))
            .reconnect(Reconnect::default().first_pause(pause).longest_pause(pause))
            .command_timeout(Duration::from_millis(200))
            .connect()
            .await
    }
}

async fn converse(client: TcpStream, plan: Arc<Mutex<Plan>>) {
    let mut client = BufReader::new(client);
    while let Some(words) = command(&mut client).await {
        let plan = *plan.lock().unwrap();
        if !plan.lets_in && words[0] != "HELLO" {
            return;
        }
        let answer = match words[0].as_str() {
            "HELLO" if plan.lets_in => "%1\r\n$4\r\nrole\r\n$6\r\nmaster\r\n".to_owned(),
            word @ ("MULTI" | "CLIENT") if plan.obeys.contains(&word) => "+OK\r\n".to_owned(),
            "PUBLISH" if plan.obeys.contains(&"PUBLISH") => "+QUEUED\r\n".to_owned(),
            "PING" => "+PONG\r\n".to_owned(),
            _ => format!("-{}\r\n", (plan.quotation)(&words)),
        };
        if client.write_all(answer.as_bytes()).await.is_err() || (words[0] == "HELLO" && !plan.lets_in) {
            return;
        }
    }
}

/// The words of the next command.
async fn command(client: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let count = number(client).await?;
    let mut words = Vec::new();
    for _ in 0..count {
        let mut bytes = vec![0; number(client).await? + 2];
        client.read_exact(&mut bytes).await.ok()?;
        words.push(String::from_utf8_lossy(&bytes[..bytes.len() - 2]).into_owned());
    }
    // Enough of them that each quotation has something to quote.
    while words.len() < 3 {
        words.push(PASSWORD.to_owned());
    }
    Some(words)
}

async fn number(client: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut line = String::new();
    client.read_line(&mut line).await.ok()?;
    line.trim_end().get(1..)?.parse().ok()
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("vaults:<vault>")]
struct Opened {
    vault: u64,
    code: String,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("codes")]
#[reply(String)]
struct Code {
    code: String,
}

struct Guard;

#[router]
impl Guard {
    #[handler]
    async fn code(&self, code: Code) -> Result<String, NoError> {
        Ok(code.code)
    }
}

/// An error in every form in which it may be shown, with its causes.
fn shown(error: &(dyn Error + 'static)) -> String {
    let cause = error.source().map(shown).unwrap_or_default();
    format!("{error} {error:?} {cause}\n")
}

/// Everything that a bus may be asked for, and how it failed.
async fn failures(bus: &Bus) -> String {
    let opened = Opened { vault: 1, code: PAYLOAD.to_owned() };
    let code = Code { code: PAYLOAD.to_owned() };
    let patience = Duration::from_millis(100);
    let (published, batch, atomic, any, one, served, asked, acknowledged, health) = tokio::join!(
        async { shown(&opened.publish(bus).await.unwrap_err()) },
        async {
            bus.publish_all([&opened, &opened])
                .await
                .into_iter()
                .map(|result| shown(&result.unwrap_err()))
                .collect::<String>()
        },
        async { shown(&bus.batch().push(&opened).atomic().await.unwrap_err()) },
        async { shown(&bus.subscribe(Opened::any()).await.unwrap_err()) },
        async { shown(&bus.subscribe(Opened::channel(1)).await.unwrap_err()) },
        async { shown(&bus.serve(Guard).await.unwrap_err()) },
        async { shown(&code.request(bus).await.unwrap_err()) },
        async { shown(&opened.publish(bus).acknowledged_within(patience).await.unwrap_err()) },
        async {
            match bus.health().await {
                Ok(health) => {
                    format!("{health:?} {}", health.warnings.iter().map(ToString::to_string).collect::<String>())
                }
                Err(error) => shown(&error),
            }
        },
    );
    [published, batch, atomic, any, one, served, asked, acknowledged, health].concat()
}

fn assert_no_secret(what: &str, text: &str) {
    assert!(!text.contains(PAYLOAD) && !text.contains(PASSWORD), "{what}: {text}");
}

/// One test, because the subscriber is the whole process's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_quotes_is_in_no_error_and_in_no_log_line() {
    let lines = LogLines::of_this_process(true);
    for quotation in QUOTATIONS {
        for obeys in [&[][..], &["MULTI", "CLIENT"], &["MULTI", "CLIENT", "PUBLISH"]] {
            let server = Quoting::start(Plan { quotation, lets_in: true, obeys }).await;
            let bus = server.connect().await.unwrap();
            if obeys.contains(&"PUBLISH") {
                let opened = Opened { vault: 1, code: PAYLOAD.to_owned() };
                let error = bus.batch().push(&opened).atomic().await.unwrap_err();
                assert_no_secret("EXEC", &shown(&error));
                continue;
            }
            assert_no_secret("an error", &failures(&bus).await);
        }
        let server = Quoting::start(Plan { quotation, lets_in: true, obeys: &[] }).await;
        let bus = server.connect().await.unwrap();
        server.plan.lock().unwrap().lets_in = false;
        assert_no_secret("a refused greeting", &shown(&server.connect().await.unwrap_err()));
        // The first command ends each connection, and no other one can be made.
        assert_no_secret("a failed reconnection", &failures(&bus).await);
    }
    eventually(SOON, async || !lines.all().is_empty()).await;
    assert_no_secret("the log", &lines.all().join("\n"));
}
