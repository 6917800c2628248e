//! The scripts: each is one atomic step of the server.
//!
//! `KEYS[1]` is the base of the queue; all other keys are made of it within the script, and are in its slot. All of them but the one that
//! enqueues may run on a server that has no memory left: they free it, or write a little.

use std::{fmt::Write, sync::LazyLock};

use redis::{Arg, Cmd, Value, cmd};

/// A script, and what EVALSHA calls it.
pub(super) struct Script {
    text: &'static str,
    sha: LazyLock<String>,
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $flags:literal, $($room:literal),+;)+) => {
        static ALL: &[&Script] = &[$(&$name),+];
        $(
        $(#[$doc])*
        pub(super) static $name: Script = {
            const TEXT: &str = concat!("#!lua", $flags, "\n", $(include_str!(concat!("lua/", $room, ".lua"))),+);
            Script { text: TEXT, sha: LazyLock::new(|| sha1_hex(TEXT.as_bytes())) }
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
    SETTLE = " flags=allow-oom", "shared", "tasks", "course", "settling", "settle";
    BEGIN = " flags=allow-oom", "shared", "begin";
    KEEP = " flags=allow-oom", "shared", "held", "keep";
    OVERDUE = " flags=allow-oom", "shared", "overdue";
    PENDING = " flags=allow-oom", "shared", "pending";
    TIDY = " flags=allow-oom", "shared", "tasks", "course", "settling", "askers", "tidy";
    COUNTS = " flags=allow-oom", "shared", "counts";
    RUNNING = " flags=allow-oom", "shared", "held", "running";
    WORKERS = " flags=allow-oom", "shared", "workers";
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
    /// The command that runs it; its arguments follow.
    ///
    /// <https://redis.io/docs/latest/commands/evalsha/>
    pub(super) fn on(&self, base: &str) -> Cmd {
        self.on_all(&[base])
    }

    pub(super) fn on_all(&self, bases: &[&str]) -> Cmd {
        let mut command = cmd("EVALSHA");
        command.arg(self.sha.as_str()).arg(bases.len()).arg(bases);
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
    let script = ALL.iter().find(|script| script.sha.as_bytes() == sha)?;
    let mut command = cmd("EVAL");
    command.arg(script.text);
    words.for_each(|word| {
        command.arg(word);
    });
    Some(command)
}

/// SHA-1, as EVALSHA names scripts. Nothing else is named by it, so that it need not be quick or safe.
fn sha1_hex(text: &[u8]) -> String {
    let mut state: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    let mut padded = text.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend((text.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks_exact(64) {
        let mut words = [0_u32; 80];
        for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
            *word = bytes.iter().fold(0, |word, &byte| word << 8 | u32::from(byte));
        }
        for at in 16..80 {
            words[at] = (words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16]).rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (at, word) in words.iter().enumerate() {
            let (mixed, constant) = match at {
                0..20 => (b & c | !b & d, 0x5a82_7999),
                20..40 => (b ^ c ^ d, 0x6ed9_eba1),
                40..60 => (b & c | b & d | c & d, 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6_u32),
            };
            let next = a.rotate_left(5).wrapping_add(mixed).wrapping_add(e).wrapping_add(constant).wrapping_add(*word);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        }
        for (sum, value) in state.iter_mut().zip([a, b, c, d, e]) {
            *sum = sum.wrapping_add(value);
        }
    }
    state.iter().fold(String::with_capacity(40), |mut hex, word| {
        let _ = write!(hex, "{word:08x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_called_by_their_sha1() {
        assert_eq!(sha1_hex(b""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        assert_eq!(sha1_hex(b"abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(sha1_hex(&[b'a'; 119]), "ee971065aaa017e0632a8ca6c77bb3bf8b1dfc56");
        assert_eq!(sha1_hex(&[b'a'; 1_000_000]), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    }
}
