//! A redis-server for one test, on a free port, gone when the test ends.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use redis::Value;

/// Long enough for a loaded machine; a test that needs it has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    child: Option<Child>,
    pub(crate) port: u16,
    directory: PathBuf,
    options: Vec<String>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(options: &[&str]) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("tidings-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let mut server = Self { child: None, port: free_port(), directory, options };
        // Another process may take the port between the look and the start.
        for _ in 0..5 {
            if server.try_restart() {
                return server;
            }
            server.port = free_port();
        }
        panic!("redis-server does not start");
    }

    pub(crate) fn restart(&mut self) {
        assert!(self.try_restart(), "redis-server does not start again");
    }

    fn try_restart(&mut self) -> bool {
        self.kill();
        let mut command = Command::new("redis-server");
        command.arg("--port").arg(self.port.to_string()).args([
            "--save",
            "",
            "--appendonly",
            "no",
            "--bind",
            "127.0.0.1",
        ]);
        command.arg("--dir").arg(&self.directory).args(&self.options).stdout(Stdio::null());
        self.child = Some(command.spawn().expect("redis-server is installed"));
        let until = Instant::now() + DEADLINE;
        while Instant::now() < until {
            if self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_some()) {
                return false;
            }
            if let Ok(mut connection) = self.client().get_connection()
                && redis::cmd("PING").exec(&mut connection).is_ok()
            {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops or continues the process: `STOP` or `CONT`.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap().success());
    }

    /// Adds an encrypted port, with a certificate and key in PEM form, and returns it.
    #[cfg(feature = "tls")]
    pub(crate) fn encrypt(&self, certificate: &str, key: &str, authority: &str, clients: &str) -> u16 {
        let files = [("tls-cert-file", certificate), ("tls-key-file", key), ("tls-ca-cert-file", authority)];
        let mut words = vec!["CONFIG SET".to_owned(), format!("tls-auth-clients {clients}")];
        for (option, content) in files {
            let path = self.directory.join(option);
            std::fs::write(&path, content).unwrap();
            words.push(format!("{option} {}", path.display()));
        }
        let port = free_port();
        words.push(format!("tls-port {port}"));
        self.run(&words.join(" "));
        port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn run(&self, words: &str) -> Value {
        let mut connection = self.client().get_connection().unwrap();
        let mut words = words.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            command.arg(word);
        });
        command.query(&mut connection).unwrap()
    }

    pub(crate) fn text(&self, words: &str) -> String {
        redis::from_redis_value(self.run(words)).unwrap()
    }

    /// How many subscribers a channel has.
    pub(crate) fn subscribers(&self, channel: &str) -> i64 {
        let (_, count): (String, i64) = redis::from_redis_value(self.run(&format!("PUBSUB NUMSUB {channel}"))).unwrap();
        count
    }

    pub(crate) fn patterns(&self) -> i64 {
        redis::from_redis_value(self.run("PUBSUB NUMPAT")).unwrap()
    }

    pub(crate) fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits for a condition, and fails after the deadline.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < until, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
