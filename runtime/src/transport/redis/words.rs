//! A server's errors, without what they may quote.
//!
//! Servers and proxies quote what they do not understand, and payloads and passwords are among it. So an error keeps its code, and of its
//! text only as much as consists of words that Redis itself uses in errors: the first other word ends it.

use redis::RedisError;

/// The longest text that is kept, in bytes.
const LONGEST: usize = 200;

/// Words of the errors of Redis and its relatives, and names of commands that are sent here.
const KNOWN: &str = "a ability able accepted access acl active after again against all allow allow-oom allowed already an and are argument arguments as at auth \
    authenticate authenticated authentication avoid be because been before being below bind blocking bulk busy but by call called can can't cannot \
    change changed channel channels check client clients client|id client|unblock closed cluster cluster|info cluster|nodes cluster|slots command commands \
    compiling config configuration configured config|get connect connected connecting connection connections consumer context could count currently \
    data dataset db default del denied detected directive disable disabled discard discarded disk do does doesn't down due during enabled enough error \
    errors eval evalsha evicted exceeded exec execute executed executing execution exists expected external failed failing failover failure feature \
    file flag for force from full get given good greater group has have hdel hello hget hincrby hint hlen hmget hscan hset hsetnx hstrlen if in \
    incorrect info instance interface internal into invalid is isn't it it's its key keys keyspace kill killed large least length license limit \
    limited lindex link loading logs long longer lot lpop lset made manual many master max maxclients maximum maxmemory memory mentioned message mget \
    mode more multi multibulk must name nested no node nosave nosub not number of off offset on once one only operation option or out over oversized \
    own pair parameter parameters partial password password-protected paused perform permission permissions persist ping pipeline possible previous \
    primary protected proto protocol psubscribe public publish pubsub punsubscribe quit quorum range rdb reached read read-only ready redis refused \
    replica replica-serve-stale-data replicas required reset resp restart role rpush run running sadd save script scripts select selected send sent \
    sentinel server set setname setting shutdown shutting size slave slot slots small smembers snapshot snapshots some spublish ssubscribe started \
    state still stop stopped stream subcommand subscribe such sunsubscribe supported syntax terminated than that the their them then there this time \
    timed timeout to too transaction transactions try type unable unavailable unbalanced unblock unblocked unknown unlink unsubscribe unsupported \
    until up use used user username username-password using valid valkey value version wait was watch when which while will with without write writes \
    wrong xack xadd xclaim xdel xgroup xinfo xlen xpending xrange xreadgroup xrevrange you your zadd zcard zrange zrangebyscore zrem zscore";

/// A server's error: its code, and of its text what is known to be no quotation.
pub(super) fn cleaned(error: &[u8]) -> String {
    let text = String::from_utf8_lossy(&error[..error.len().min(4 * LONGEST)]);
    let mut words = text.split_ascii_whitespace().peekable();
    let mut clean = String::new();
    if let Some(code) = words.next_if(|word| is_code(word)) {
        clean.push_str(code);
    }
    // Redis names whom it refuses: `NOPERM User anna has no permissions …`.
    if clean == "NOPERM" && words.next_if_eq(&"User").is_some() {
        words.next();
        clean.push_str(" this user");
    }
    for word in words {
        if !is_known(word) || clean.len() + word.len() >= LONGEST {
            clean.push_str(if clean.is_empty() { "…" } else { " …" });
            break;
        }
        if !clean.is_empty() {
            clean.push(' ');
        }
        clean.push_str(word);
    }
    clean
}

/// What the `redis` crate says of a failure, cleaned where the words are the server's.
pub(super) fn of(error: &RedisError) -> String {
    match error.code() {
        Some(code) => cleaned(format!("{code} {}", error.detail().unwrap_or_default()).as_bytes()),
        None if error.is_connection_dropped() => "the server closed the connection".to_owned(),
        None if error.is_io_error() => "the connection was lost".to_owned(),
        None => format!("an answer that cannot be read ({:?})", error.kind()),
    }
}

/// The first word of a server's error, such as `NOPERM`.
pub(super) fn code(words: &str) -> &str {
    words.split(' ').next().unwrap_or_default()
}

fn is_code(word: &str) -> bool {
    (2..=16).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_uppercase())
}

fn is_known(word: &str) -> bool {
    let bare = word.trim_matches(|character: char| character.is_ascii_punctuation()).to_ascii_lowercase();
    bare.is_empty() && word.len() == 1 || KNOWN.split_ascii_whitespace().any(|known| known == bare)
}

/// Whether the code of an error says that a node of a cluster has done nothing, because the slot is not its own, or not any more, or is not served
/// for now.
pub(super) fn is_elsewhere(code: &str) -> bool {
    matches!(code, "MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_says_is_kept() {
        for words in [
            "NOPERM this user has no permissions to run the 'publish' command",
            "NOPERM this user has no permissions to access one of the channels used as arguments",
            "WRONGPASS invalid username-password pair or user is disabled.",
            "NOAUTH Authentication required.",
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
            "LOADING Redis is loading the dataset in memory",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "READONLY You can't write against a read only replica.",
            "NOREPLICAS Not enough good replicas to write.",
            "EXECABORT Transaction discarded because of previous errors.",
            "CLUSTERDOWN The cluster is down",
            "ERR Protocol error: invalid bulk length",
            "ERR max number of clients reached",
            "NOPROTO unsupported protocol version",
        ] {
            assert_eq!(cleaned(words.as_bytes()), words);
        }
        let named = cleaned(b"NOPERM User anna has no permissions to run the 'publish' command");
        assert_eq!(named, "NOPERM this user has no permissions to run the 'publish' command");
    }

    #[test]
    fn what_a_server_quotes_is_cut_off() {
        for (words, expected) in [
            (
                "ERR unknown command 'PUBLISH', with args beginning with: 'a' 'swordfish'",
                "ERR unknown command 'PUBLISH', with …",
            ),
            ("ERR unknown command HELLO 3 AUTH default hunter2 SETNAME a", "ERR unknown command HELLO …"),
            ("swordfish", "…"),
            ("SWORDFISH9 is the", "…"),
            ("ERR swordfish", "ERR …"),
            ("NOPERM User anna wrote swordfish", "NOPERM this user …"),
            ("NOPERM User swordfish", "NOPERM this user"),
            ("", ""),
        ] {
            assert_eq!(cleaned(words.as_bytes()), expected);
        }
        assert!(cleaned("ERR ".repeat(10_000).as_bytes()).len() < 2 * LONGEST);
        assert_eq!(cleaned(b"ERR \xff\xfe"), "ERR …");
    }
}
