//! A redis-server of a test's own.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{
    AsyncConnectionConfig, Client, FromRedisValue, RedisResult,
    aio::{MultiplexedConnection, PubSub},
};

use crate::port;

/// A redis-server answers within some 10 ms; the rest is for a machine on which everything runs at once.
const START_DEADLINE: Duration = Duration::from_secs(20);
/// How often another port is tried when somebody else was given the port first.
const ATTEMPTS: usize = 20;
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

/// The user as which the harness itself talks to the server, so that a test may change or switch off the default user.
const CONTROL: &str = "harness";

/// A redis-server on a free port of 127.0.0.1, without persistence, in a folder of its own. Dropping it kills it.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    folder: PathBuf,
    settings: Vec<String>,
    process: Mutex<Option<Running>>,
}

impl RedisServer {
    /// Starts a server and waits until it answers.
    pub async fn start() -> Self {
        Self::with_settings(&[]).await
    }

    /// Starts a server with lines of `redis.conf` of the test's own, such as `user anna on >secret &orders:* +@all`. One with `sentinel monitor …` is a
    /// Sentinel.
    pub async fn with_settings(settings: &[&str]) -> Self {
        let settings: Vec<_> = settings.iter().map(ToString::to_string).collect();
        for _ in 0..ATTEMPTS {
            let server = Self {
                port: port::free(),
                folder: new_folder(),
                settings: settings.clone(),
                process: Mutex::new(None),
            };
            match server.launch().await {
                Ok(()) => return server,
                Err(PortTaken) => continue,
            }
        }
        panic!("{ATTEMPTS} ports that were free when asked were taken when redis-server came to bind them");
    }

    /// The address for `Bus::connect`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The port, the same one for the server's whole life, restarts included.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills the server at once, as `kill -9` does. It is gone when this returns; [`restart`](Self::restart) brings it back.
    pub fn kill(&self) {
        *self.process() = None;
    }

    /// What stands in its append-only files. What it has answered and not written yet is lost when it is killed.
    #[must_use]
    pub fn append_only_files(&self) -> Vec<u8> {
        let folder = fs::read_dir(self.folder.join("appendonlydir")).expect("it has append-only files");
        let files = folder.map(|file| file.expect("the folder can be read").path());
        files.flat_map(|file| fs::read(file).expect("the file can be read")).collect()
    }

    /// Starts the server again on the same port, killing it first if it still runs. Its data and its connections are gone.
    pub async fn restart(&self) {
        self.kill();
        for _ in 0..ATTEMPTS {
            match self.launch().await {
                Ok(()) => return,
                Err(PortTaken) => tokio::time::sleep(PAUSE).await,
            }
        }
        panic!("port {} was taken while the server was away", self.port);
    }

    /// Stops the process with `SIGSTOP`: connections stay open, and nothing is answered.
    pub fn pause(&self) {
        self.signal("STOP");
        // The signal has been sent, not yet taken: a command that follows at once could still be answered.
        #[cfg(target_os = "linux")]
        {
            let start = Instant::now();
            while !self.is_stopped() {
                assert!(start.elapsed() < START_DEADLINE, "redis-server did not stop");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Lets a paused server go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Sends a command and returns the reply.
    ///
    /// # Panics
    ///
    /// When the server does not answer within five seconds, or with an error.
    pub async fn command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        match self.try_command(words).await {
            Ok(reply) => reply,
            Err(error) => panic!("{} on port {}: {error}", words.join(" "), self.port),
        }
    }

    /// Sends a command.
    ///
    /// # Errors
    ///
    /// Those of the server, and that it does not answer within five seconds.
    pub async fn try_command<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word);
        }
        command.query_async(&mut self.connection().await?).await
    }

    /// Publishes bytes as they are and returns the number of receivers.
    pub async fn publish(&self, channel: &str, payload: &[u8]) -> u64 {
        let mut connection = self.connection().await.expect("the server answers");
        redis::cmd("PUBLISH").arg(channel).arg(payload).query_async(&mut connection).await.expect("PUBLISH succeeds")
    }

    /// A connection that is subscribed to a channel.
    pub(crate) async fn listen(&self, channel: &str) -> PubSub {
        let mut listening = self.client().expect("an address").get_async_pubsub().await.expect("the server answers");
        listening.subscribe(channel).await.expect("SUBSCRIBE succeeds");
        listening
    }

    /// Closes every connection that has subscriptions (`CLIENT KILL TYPE pubsub`) and returns how many there were.
    pub async fn kill_subscribers(&self) -> u64 {
        self.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await
    }

    /// The number of connections that have subscriptions (`CLIENT LIST TYPE pubsub`).
    pub async fn subscriber_connections(&self) -> u64 {
        let list: String = self.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).await;
        list.lines().filter(|line| !line.is_empty()).count() as u64
    }

    /// The number of subscriptions of a channel, patterns not counted (`PUBSUB NUMSUB`).
    pub async fn numsub(&self, channel: &str) -> u64 {
        let (_, count): (String, u64) = self.command(&["PUBSUB", "NUMSUB", channel]).await;
        count
    }

    /// The number of different patterns that are subscribed to (`PUBSUB NUMPAT`).
    pub async fn numpat(&self) -> u64 {
        self.command(&["PUBSUB", "NUMPAT"]).await
    }

    async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(COMMAND_TIMEOUT))
            .set_response_timeout(Some(COMMAND_TIMEOUT));
        self.client()?.get_multiplexed_async_connection_with_config(&config).await
    }

    fn client(&self) -> RedisResult<Client> {
        Client::open(format!("redis://{CONTROL}:{CONTROL}@127.0.0.1:{}", self.port))
    }

    async fn launch(&self) -> Result<(), PortTaken> {
        let is_sentinel = self.settings.iter().any(|line| line.starts_with("sentinel monitor "));
        let running = Running::start(&self.folder, &self.configuration(), is_sentinel);
        let id = running.server.id();
        *self.process() = Some(running);
        let start = Instant::now();
        while !self.answers_as(id).await {
            if self.has_ended() {
                return self.why_it_ended();
            }
            assert!(start.elapsed() < START_DEADLINE, "redis-server does not answer:\n{}", self.log());
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    fn configuration(&self) -> String {
        let mut text = format!(
            "port {}\nbind 127.0.0.1\nsave \"\"\nappendonly no\nuser {CONTROL} on >{CONTROL} ~* &* +@all\n",
            self.port
        );
        for line in &self.settings {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// Whether *our* process answers: the port may belong to somebody else's server while ours fails to bind it.
    async fn answers_as(&self, id: u32) -> bool {
        let Ok(pong) = self.try_command::<String>(&["PING"]).await else { return false };
        let Ok(info) = self.try_command::<String>(&["INFO", "server"]).await else { return false };
        pong == "PONG" && info.lines().any(|line| line.strip_prefix("process_id:") == Some(&id.to_string()))
    }

    fn has_ended(&self) -> bool {
        let mut process = self.process();
        let running = process.as_mut().expect("launched just now");
        running.server.try_wait().expect("the process can be asked").is_some()
    }

    fn why_it_ended(&self) -> Result<(), PortTaken> {
        self.kill();
        let log = self.log();
        if log.contains("Address already in use") || log.contains("Failed listening on port") {
            return Err(PortTaken);
        }
        panic!("redis-server ended before it answered:\n{log}");
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join(LOG)).unwrap_or_default()
    }

    fn signal(&self, name: &str) {
        let process = self.process();
        let running = process.as_ref().expect("the server runs");
        signal(name, running.server.id());
    }

    #[cfg(target_os = "linux")]
    fn is_stopped(&self) -> bool {
        let process = self.process();
        let id = process.as_ref().expect("the server runs").server.id();
        // The state is the first word after the name, which is in parentheses.
        let status = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        status.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    }

    fn process(&self) -> MutexGuard<'_, Option<Running>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        // What is left in the folder for temporary files is no failure of the test.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

const LOG: &str = "redis.log";

struct PortTaken;

/// The server's process, and a shell that ends it and removes its folder should this process end before it can.
#[derive(Debug)]
struct Running {
    server: Child,
    guard: Child,
}

impl Running {
    fn start(folder: &Path, configuration: &str, is_sentinel: bool) -> Self {
        fs::write(folder.join("redis.conf"), configuration).expect("the folder can be written to");
        let log = File::create(folder.join(LOG)).expect("the folder can be written to");
        // Its standard input ends when we do, however that happens. It is there first, so that it misses no server.
        let mut guard = Command::new("sh")
            .args(["-c", "read -r server || exit; read -r _; kill -KILL \"$server\"; rm -rf \"$0\""])
            .arg(folder)
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell can be started");
        let server = Command::new("redis-server")
            .arg("redis.conf")
            .args(is_sentinel.then_some("--sentinel"))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("a file can be shared"))
            .stdout(log)
            .spawn()
            .unwrap_or_else(|error| not_started(&error));
        let input = guard.stdin.as_mut().expect("it is piped");
        writeln!(input, "{}", server.id()).expect("the shell reads");
        Self { server, guard }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The guard first: it must not send its signal once the server's process id is free for somebody else.
        for child in [&mut self.guard, &mut self.server] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn not_started(error: &io::Error) -> ! {
    if error.kind() == io::ErrorKind::NotFound {
        panic!("redis-server is not installed: run ./tests/run, which installs it where it can");
    }
    panic!("redis-server cannot be started: {error}");
}

fn signal(name: &str, id: u32) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(id.to_string()).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill -{name} {id} failed");
}

fn new_folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("tidings-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let folder = std::env::temp_dir().join(name);
    // A process with the same id may have been killed before it could clean up.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder for the server can be made");
    folder
}

#[cfg(test)]
mod tests;
