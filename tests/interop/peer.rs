//! The Python program, and the virtual environment that it runs in.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
};

const PACKAGE: &str = "redis-toolkit==0.4.0";

/// A running `peer.py` that listens. Dropping it kills it.
pub(crate) struct Peer(Child);

impl Peer {
    /// Starts the program and waits until it listens.
    pub(crate) fn start(port: u16) -> Self {
        static PYTHON: OnceLock<PathBuf> = OnceLock::new();
        let python = PYTHON.get_or_init(install);
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("peer-{port}.log"));
        let mut child = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/interop/peer.py"))
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.map_while(Result::ok).any(|line| line == "ready");
        assert!(ready, "tests/interop/peer.py ended before it was ready: {:?}; see {}", child.wait(), log.display());
        Self(child)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Makes the virtual environment once for each target folder, and returns its Python. A mark says that it is complete.
fn install() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    let (python, mark) = (folder.join("bin/python"), folder.join(PACKAGE));
    if mark.exists() {
        return python;
    }
    let _ = fs::remove_dir_all(&folder);
    run(
        Command::new("python3").args(["-m", "venv"]).arg(&folder),
        "Python 3 with `venv` is needed: `apt-get install python3 python3-venv` on Debian and Ubuntu, `dnf install python3` on Fedora, \
         `brew install python` on macOS, `apk add python3 py3-pip` on Alpine, `pacman -S python` on Arch",
    );
    run(
        Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE]),
        "pip must be able to reach the Python package index, or a mirror that its own settings name",
    );
    fs::write(&mark, "").unwrap();
    python
}

fn run(command: &mut Command, advice: &str) {
    let problem = match command.output() {
        Ok(Output { status, .. }) if status.success() => return,
        Ok(Output { status, stdout, stderr }) => {
            format!("{status}\n{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
        }
        Err(error) => error.to_string(),
    };
    panic!("the interop test cannot run `{command:?}`: {problem}\n{advice}");
}
