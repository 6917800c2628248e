//! This test program once more, in a process of its own: to be ended by a signal, or to have its tasks and files counted.

use std::{
    env, fs,
    process::{Command, ExitStatus, Stdio},
};

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::ChildStdout,
};

use crate::{ledger::SOON, seed::seed};

const ARGUMENT: &str = "TIDINGS_CHILD";

/// What the parent said, in a process that a test has started.
pub(crate) fn argument() -> Option<String> {
    env::var(ARGUMENT).ok()
}

/// A process that runs one test of this program. Dropping it kills it.
pub(crate) struct Child {
    process: tokio::process::Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Runs the test of that name, such as `shutdown::a_signal_ends_it`. It finds the argument with [`argument`].
    pub(crate) fn start(test: &str, argument: &str) -> Self {
        let mut process = tokio::process::Command::from(Command::new(env::current_exe().unwrap()))
            .args([test, "--exact", "--nocapture"])
            .env(ARGUMENT, argument)
            .env("TIDINGS_SEED", seed().to_string())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    /// Waits for a line that has the word in it, and returns what follows the word.
    pub(crate) async fn says(&mut self, word: &str) -> String {
        loop {
            let line = tokio::time::timeout(4 * SOON, self.lines.next_line()).await.unwrap().unwrap();
            let line = line.unwrap_or_else(|| panic!("the process ended before it said `{word}`; seed {}", seed()));
            if let Some((_, rest)) = line.split_once(word) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.id().unwrap().to_string();
        assert!(Command::new("kill").args([format!("-{name}"), id]).status().unwrap().success());
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(SOON, self.process.wait()).await.unwrap().unwrap()
    }
}

/// Open files of this process, sockets included, where the system tells.
pub(crate) fn open_files() -> Option<usize> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count())
}

/// Tasks of this runtime that have not ended.
pub(crate) fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}
