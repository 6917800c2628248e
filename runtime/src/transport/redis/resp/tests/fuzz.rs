//! Millions of streams that are nearly RESP3. No panic, no wait for more than the limits allow, the same result however the bytes are cut,
//! and the same values that the parser of the `redis` crate finds.
//!
//! It takes five seconds, and a minute with `TIDINGS_FAULTS=long`. `TIDINGS_SEED` repeats a run.

use std::{
    env,
    hash::{DefaultHasher, Hash, Hasher},
    time::{Duration, Instant},
};

use crate::transport::redis::resp::reply::reply;

use super::*;

/// What servers send, and what attackers and broken networks might.
const TOKENS: &[&[u8]] = &[
    b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n",
    b">4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$2\r\nab\r\n$3\r\n{}\n\r\n",
    b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
    b">3\r\n$12\r\npunsubscribe\r\n$2\r\na*\r\n:0\r\n",
    b">3\r\n$11\r\nunsubscribe\r\n_\r\n:0\r\n",
    b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n",
    b"+PONG\r\n",
    b"-NOPERM no\r\n",
    b"!7\r\nERR a b\r\n",
    b":12\r\n",
    b"|1\r\n+ttl\r\n:3\r\n",
    b">3\r\n$7\r\nmessage\r\n",
    b">3\r\n$8\r\nsmessage\r\n",
    b">4\r\n$8\r\npmessage\r\n",
    b"%1\r\n+k\r\n~2\r\n#t\r\n,1.5\r\n",
    b"*1\r\n*1\r\n*1\r\n*1\r\n",
    b"=7\r\ntxt:abc\r\n",
    b"$-1\r\n",
    b"_\r\n",
    b"(99\r\n",
    b"$?\r\n",
    b"\r\n",
    b"\r",
    b"\n",
    b"$",
    b">",
    b"|",
    b"-",
    b"\0",
    b"\xff",
];

/// Lengths at which something changes.
const LENGTHS: &[u64] = &[
    0,
    1,
    2,
    3,
    7,
    8,
    16,
    17,
    255,
    256,
    257,
    999,
    1_000,
    1_001,
    16_383,
    16_384,
    65_536,
    65_537,
    1_048_576,
    1_048_577,
    2_097_152,
    2_097_153,
    536_870_912,
    536_870_913,
    4_294_967_295,
    4_294_967_296,
    9_999_999_999,
    18_446_744_073_709_551_615,
];

/// Most streams are short, so that a mutation hits something.
const LONGEST: usize = 400;
/// How much of a stream the scanner may ask to hold.
const HELD: usize = NAME_LIMIT * 2 + LINE_LIMIT + LIMIT;

fn settings() -> (u64, Duration) {
    let now = || std::process::id().into();
    let seed = env::var("TIDINGS_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(now);
    let is_long = env::var("TIDINGS_FAULTS").is_ok_and(|form| form == "long");
    (seed, Duration::from_secs(if is_long { 60 } else { 5 }))
}

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.next() % limit
    }

    fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }

    /// A header with a length at some limit.
    fn header(&mut self) -> Vec<u8> {
        let kind = b"$!=*~>%|"[self.below(8)];
        let length = LENGTHS[self.below(LENGTHS.len())];
        format!("{}{length}\r\n", char::from(kind)).into_bytes()
    }

    /// A stream from tokens, and mutations of it.
    fn stream(&mut self, stream: &mut Vec<u8>, last: &[u8]) {
        stream.clear();
        for _ in 0..1 + self.below(5) {
            stream.extend_from_slice(self.pick(TOKENS));
        }
        for _ in 0..self.below(4) {
            self.mutate(stream, last);
        }
        stream.truncate(LONGEST);
    }

    fn mutate(&mut self, stream: &mut Vec<u8>, last: &[u8]) {
        let at = self.below(stream.len() + 1);
        let to = (at + self.below(12)).min(stream.len());
        match self.below(8) {
            0 if at < stream.len() => stream[at] ^= 1 << self.below(8),
            1 if at < stream.len() => stream[at] = b"0123456789\r\n$>*%-+:!|_~=#,(amps"[self.below(31)],
            2 => drop(stream.drain(at..to)),
            3 => {
                let piece = stream[at..to].to_vec();
                stream.splice(at..at, piece);
            }
            4 => drop(stream.splice(at..to, self.header())),
            5 => drop(stream.splice(at..at, self.pick(TOKENS).iter().copied())),
            6 => drop(stream.splice(at..to, last[self.below(last.len() + 1)..].iter().copied().take(40))),
            _ => stream.truncate(at),
        }
    }
}

/// What a stream comes to, in short: a hash of all that is seen, how many values that is, and how it ends.
fn digest(stream: &[u8], mut cut: impl FnMut() -> usize, buffer: &mut Vec<u8>) -> (u64, Option<ProtocolError>) {
    let mut scanner = Scanner::new(LIMIT);
    let mut hasher = DefaultHasher::new();
    buffer.clear();
    let mut rest = stream;
    while !rest.is_empty() {
        let (chunk, next) = rest.split_at(cut().clamp(1, rest.len()));
        buffer.extend_from_slice(chunk);
        rest = next;
        let mut at = 0;
        loop {
            match scanner.next(buffer, at) {
                Ok(Some((scanned, end))) => {
                    assert!(end >= at && end <= buffer.len());
                    note(buffer, &scanned, &mut hasher);
                    at = end;
                }
                Ok(None) => break,
                Err(error) => return (hasher.finish(), Some(error)),
            }
        }
        buffer.drain(..at);
        assert!(scanner.needed() <= HELD, "needs {}: {}", scanner.needed(), stream.escape_ascii());
    }
    (hasher.finish(), None)
}

fn note(buffer: &[u8], scanned: &Scanned, hasher: &mut DefaultHasher) {
    match scanned {
        Scanned::Message { by, channel, payload } => {
            let (kind, name) = by.clone().name(channel);
            (0, kind, &buffer[name]).hash(hasher);
            (&buffer[channel.clone()], &buffer[payload.clone()]).hash(hasher);
        }
        Scanned::Oversized { by, channel, head, size } => {
            let (kind, name) = by.clone().name(channel);
            (1, kind, &buffer[name], &buffer[channel.clone()], size).hash(hasher);
            buffer[head.clone()].hash(hasher);
        }
        Scanned::Confirmation { verb, kind, name } => {
            (2, *verb as u8, *kind, &buffer[name.clone()]).hash(hasher);
        }
        Scanned::Reply(text) => (3, &buffer[text.clone()]).hash(hasher),
        Scanned::Error(text) => (4, &buffer[text.clone()]).hash(hasher),
        Scanned::Foreign => 5.hash(hasher),
        // As many parts as there are chunks.
        Scanned::Skipped => {}
    }
}

/// Compares each whole value with what the `redis` crate makes of its bytes, where it takes them; returns how many it took.
fn compare(stream: &[u8]) -> u64 {
    let mut scanner = Scanner::new(LIMIT);
    let (mut at, mut start, mut seen, mut compared) = (0, 0, Vec::new(), 0);
    while let Ok(Some((scanned, end))) = scanner.next(stream, at) {
        see(stream, scanned, &mut seen);
        at = end;
        if scanner.skip.is_none() {
            let bytes = &stream[start..end];
            let ours = std::mem::take(&mut seen);
            start = end;
            // Attributes, and verbatim strings without a format, are no values there.
            if let Ok(value) = redis::parse_redis_value(bytes) {
                assert!(agrees(&ours, &value), "{}: {ours:?}, and redis has {value:?}", bytes.escape_ascii());
                compared += 1;
            }
        }
    }
    compared
}

/// Whether one value means the same to both.
fn agrees(ours: &[Seen], theirs: &redis::Value) -> bool {
    use redis::{PushKind, Value};
    let is = |value: &Value, bytes: &[u8]| matches!(value, Value::BulkString(theirs) if theirs == bytes);
    match (ours, theirs) {
        ([Seen::Reply(text)], Value::Okay) => text == b"OK",
        ([Seen::Reply(text)], Value::SimpleString(theirs)) => text == theirs.as_bytes(),
        ([Seen::Error(_)], Value::ServerError(_)) => true,
        ([Seen::Message(By::Channel, channel, payload)], Value::Push { kind: PushKind::Message, data })
        | ([Seen::Message(By::ShardChannel, channel, payload)], Value::Push { kind: PushKind::SMessage, data }) => {
            data.len() == 2 && is(&data[0], channel) && is(&data[1], payload)
        }
        ([Seen::Message(By::Pattern(pattern), channel, payload)], Value::Push { kind: PushKind::PMessage, data }) => {
            data.len() == 3 && is(&data[0], pattern) && is(&data[1], channel) && is(&data[2], payload)
        }
        (
            [Seen::Oversized(..)],
            Value::Push { kind: PushKind::Message | PushKind::SMessage | PushKind::PMessage, .. },
        ) => true,
        ([Seen::Confirmation(verb, kind, name)], Value::Push { kind: theirs, data }) => {
            let expected = match (verb, kind) {
                (Verb::Subscribe, NameKind::Channel) => PushKind::Subscribe,
                (Verb::Subscribe, NameKind::ShardChannel) => PushKind::SSubscribe,
                (Verb::Subscribe, NameKind::Pattern) => PushKind::PSubscribe,
                (Verb::Unsubscribe, NameKind::Channel) => PushKind::Unsubscribe,
                (Verb::Unsubscribe, NameKind::ShardChannel) => PushKind::SUnsubscribe,
                (Verb::Unsubscribe, NameKind::Pattern) => PushKind::PUnsubscribe,
            };
            *theirs == expected && data.first().is_some_and(|theirs| is(theirs, name))
        }
        // Passed over: a push of another kind or shape. A message must not be.
        ([], Value::Push { kind: PushKind::Message | PushKind::SMessage, data }) => data.len() != 2,
        ([], Value::Push { kind: PushKind::PMessage, data }) => data.len() != 3,
        ([], _) => true,
        _ => false,
    }
}

#[test]
fn mutated_streams_are_read_the_same_however_they_are_cut_and_as_others_read_them() {
    let (seed, time) = settings();
    let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (mut stream, mut last, mut buffer) = (Vec::new(), Vec::new(), Vec::new());
    let (mut executions, mut streams, mut refused, mut compared) = (0_u64, 0_u64, 0_u64, 0_u64);
    let start = Instant::now();
    // So many at least, however little of the processor there is.
    while start.elapsed() < time || streams < 100_000 {
        // The clock is asked once in a while.
        for _ in 0..64 {
            numbers.stream(&mut stream, &last);
            let whole = digest(&stream, || usize::MAX, &mut buffer);
            for _ in 0..3 {
                let longest = 1 + numbers.below(40);
                let cut = digest(&stream, || 1 + numbers.below(longest), &mut buffer);
                assert_eq!(whole, cut, "seed {seed}: {}", stream.escape_ascii());
            }
            let bytewise = digest(&stream, || 1, &mut buffer);
            assert_eq!(whole, bytewise, "seed {seed}: {}", stream.escape_ascii());
            let _ = (hello(&stream), reply(&stream, 0));
            (executions, streams, refused) = (executions + 7, streams + 1, refused + u64::from(whole.1.is_some()));
            if streams.is_multiple_of(8) {
                compared += compare(&stream);
            }
            std::mem::swap(&mut stream, &mut last);
        }
    }
    println!("report-fuzz seed={seed} executions={executions} streams={streams} refused={refused} compared={compared}");
    assert!(compared > 1_000 && refused < streams, "{compared} compared, {refused} of {streams} refused");
}
