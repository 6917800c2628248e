//! The Python program, and the virtual environment that it runs in.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
};

const PACKAGES: [&str; 4] = ["redis-toolkit==0.4.0", "cbor2==6.3.0", "cloudevents==2.2.0", "msgpack==1.2.4"];

/// A running program that listens. Dropping it kills it.
pub(crate) struct Peer(Child);

impl Peer {
    /// Starts a program of this folder and waits until it listens.
    pub(crate) fn start(program: &str, port: u16) -> Self {
        static PYTHON: OnceLock<PathBuf> = OnceLock::new();
        let python = PYTHON.get_or_init(install);
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("peer-{port}.log"));
        let mut child = Command::new(python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("interop").join(program))
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.map_while(Result::ok).any(|line| line == "ready");
        assert!(ready, "tests/interop/{program} ended before it was ready: {:?}; see {}", child.wait(), log.display());
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
    let (python, mark) = (folder.join("bin/python"), folder.join(PACKAGES.join(" ")));
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
        Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES),
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
