//! The scripts: each is one atomic step of the server.
//!
//! `KEYS[1]` is the base of the queue; all other keys are made of it within the script, and are in its slot. All of them but the one that
//! enqueues may run on a server that has no memory left: they free it, or write a little.

use redis::{Arg, Cmd, Value, cmd};

use crate::transport::redis::script::{Script, sha1_hex};

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $flags:literal, $($room:literal),+;)+) => {
        static ALL: &[&Script] = &[$(&$name),+];
        $(
        $(#[$doc])*
        pub(super) static $name: Script = {
            const TEXT: &str = concat!("#!lua", $flags, "\n", $(include_str!(concat!("lua/", $room, ".lua"))),+);
            Script::new(TEXT, || sha1_hex(TEXT.as_bytes()))
        };
    )+};
}

scripts! {
    /// Adds tasks. It is the only one that a full server refuses.
    ENQUEUE = "", "shared", "tasks", "enqueue";
    TAKE = " flags=allow-oom", "shared", "tasks", "course", "settling", "due", "take";
    /// Behind a command that takes: settles, and says what that one could not know.
    STEP = " flags=allow-oom", "shared", "tasks", "course", "settling", "due", "step";
    /// The same as `STEP` where there is little to do, and nothing elsewhere.
    QUICK = " flags=allow-oom", "shared", "quick";
    SETTLE = " flags=allow-oom", "shared", "leases", "tasks", "course", "settling", "settle";
    BEGIN = " flags=allow-oom", "shared", "begin";
    KEEP = " flags=allow-oom", "shared", "held", "keep";
    OVERDUE = " flags=allow-oom", "shared", "leases", "held", "overdue";
    PENDING = " flags=allow-oom", "shared", "pending";
    TIDY = " flags=allow-oom", "shared", "leases", "tasks", "course", "settling", "askers", "tidy";
    // A server that writes nothing, for want of replicas or of room on its disk, still tells these.
    COUNTS = " flags=no-writes", "shared", "counts";
    RUNNING = " flags=no-writes", "shared", "held", "running";
    WORKERS = " flags=no-writes", "shared", "workers";
    MEND = " flags=allow-oom", "shared", "course", "mend";
    UNPARK = " flags=allow-oom", "shared", "tasks", "unpark";
    DECLARE = " flags=allow-oom", "shared", "declare";
    NOTE = " flags=allow-oom", "shared", "course", "note";
    TOLD = " flags=allow-oom", "shared", "course", "told";
    ASK = " flags=allow-oom", "shared", "course", "index", "askers", "ask";
    FORGET = " flags=allow-oom", "shared", "course", "askers", "forget";
    FIND = " flags=allow-oom", "shared", "course", "index", "find";
    LIST = " flags=allow-oom", "shared", "course", "index", "list";
    CANCEL = " flags=allow-oom", "shared", "tasks", "course", "index", "cancel";
    PAUSE = " flags=allow-oom", "shared", "pause";
}

impl Script {
    /// The command that runs it for the queue with this base; its arguments follow.
    ///
    /// <https://redis.io/docs/latest/commands/evalsha/>
    pub(super) fn on(&self, base: &str) -> Cmd {
        self.on_all(&[base])
    }

    pub(super) fn on_all(&self, bases: &[&str]) -> Cmd {
        let mut command = cmd("EVALSHA");
        command.arg(self.sha()).arg(bases.len()).arg(bases);
        command
    }
}

/// Whether the server does not know a script, or not any more.
pub(super) fn is_unknown(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.code() == "NOSCRIPT")
}

/// Whether a command runs a script.
pub(super) fn is_script(command: &Cmd) -> bool {
    let name = command.args_iter().next();
    matches!(name, Some(Arg::Simple(name)) if name.starts_with(b"EVAL"))
}

/// The same command with the script's text. `None` where it runs no script of ours.
pub(super) fn with_text(command: &Cmd) -> Option<Cmd> {
    let mut words = command.args_iter().filter_map(|word| match word {
        Arg::Simple(word) => Some(word),
        _ => None,
    });
    let sha = words.nth(1)?;
    let script = ALL.iter().find(|script| script.sha().as_bytes() == sha)?;
    let mut command = cmd("EVAL");
    command.arg(script.text());
    words.for_each(|word| {
        command.arg(word);
    });
    Some(command)
}
