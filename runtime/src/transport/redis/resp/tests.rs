mod fuzz;

use proptest::prelude::*;

use crate::transport::{
    inbox::HEAD_KEPT,
    redis::{
        capabilities::Capabilities,
        resp::{
            parts::{BLOB_LIMIT, LINE_LIMIT, NAME_LIMIT, ProtocolError, Span},
            reply::{Reply, hello, reply},
            scanner::{self, NAME_KEPT, Scanned, Scanner},
        },
    },
    registry::standing::Verb,
    status::NameKind,
};

const LIMIT: usize = 1_000;

/// What a caller sees: without positions, and without what was skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Message(By, Vec<u8>, Vec<u8>),
    Oversized(Vec<u8>, usize),
    Confirmation(Verb, NameKind, Vec<u8>),
    Reply(Vec<u8>),
    Error(Vec<u8>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum By {
    Channel,
    ShardChannel,
    Pattern(Vec<u8>),
}

/// Feeds chunk after chunk as a reader does, and checks that memory stays bounded.
fn scan<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Seen>, ProtocolError> {
    let mut scanner = Scanner::new(LIMIT);
    let (mut buffer, mut seen) = (Vec::new(), Vec::new());
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        let mut at = 0;
        while let Some((scanned, end)) = scanner.next(&buffer, at)? {
            assert!(end >= at && end <= buffer.len());
            see(&buffer, scanned, &mut seen);
            at = end;
        }
        buffer.drain(..at);
        assert!(scanner.needed() <= NAME_LIMIT * 2 + LINE_LIMIT + LIMIT, "needs {}", scanner.needed());
    }
    Ok(seen)
}

fn see(buffer: &[u8], scanned: Scanned, seen: &mut Vec<Seen>) {
    let copy = |span: Span| buffer[span].to_vec();
    seen.push(match scanned {
        Scanned::Message { by, channel, payload } => {
            let by = match by {
                scanner::By::Channel => By::Channel,
                scanner::By::ShardChannel => By::ShardChannel,
                scanner::By::Pattern(pattern) => By::Pattern(copy(pattern)),
            };
            Seen::Message(by, copy(channel), copy(payload))
        }
        Scanned::Oversized { channel, size, .. } => Seen::Oversized(copy(channel), size),
        Scanned::Confirmation { verb, kind, name } => Seen::Confirmation(verb, kind, copy(name)),
        Scanned::Reply(text) => Seen::Reply(copy(text)),
        Scanned::Error(text) => Seen::Error(copy(text)),
        Scanned::Foreign | Scanned::Skipped => return,
    });
}

fn one(bytes: &[u8]) -> Result<Vec<Seen>, ProtocolError> {
    scan([bytes])
}

fn script() -> (Vec<u8>, Vec<Seen>) {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    bytes.extend_from_slice(b">3\r\n$10\r\npsubscribe\r\n$2\r\na*\r\n:2\r\n+PONG\r\n");
    bytes.extend_from_slice(b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\n1\r\n2\n\r\n");
    bytes.extend_from_slice(b">4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$2\r\nab\r\n$0\r\n\r\n");
    bytes.extend_from_slice(b"-NOPERM not you\r\n!10\r\nERR x\r\ny z\r\n");
    // Two that are too large: a payload, and a name.
    bytes.extend_from_slice(b">4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$2\r\nac\r\n$2000\r\n");
    bytes.extend(std::iter::repeat_n(b'$', 2_000));
    bytes.extend_from_slice(b"\r\n>3\r\n$7\r\nmessage\r\n$70000\r\n");
    bytes.extend(std::iter::repeat_n(b'n', 70_000));
    bytes.extend_from_slice(b"\r\n$3\r\n123\r\n");
    // What concerns nobody: another push with every type in it, attributes, a null name.
    bytes.extend_from_slice(
        b">8\r\n$5\r\nother\r\n*2\r\n:1\r\n%1\r\n+k\r\n~1\r\n#t\r\n$-1\r\n_\r\n,1.5\r\n(99\r\n=7\r\ntxt:abc\r\n*0\r\n",
    );
    bytes.extend_from_slice(b"|1\r\n+ttl\r\n:3\r\n-inside\r\n!2\r\nno\r\n");
    bytes.extend_from_slice(b"|1\r\n+ttl\r\n:3\r\n>3\r\n$11\r\nunsubscribe\r\n_\r\n:0\r\n");
    bytes.extend_from_slice(
        b">3\r\n$12\r\npunsubscribe\r\n$2\r\na*\r\n:0\r\n>3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n",
    );
    let expected = vec![
        Seen::Confirmation(Verb::Subscribe, NameKind::Channel, b"a".to_vec()),
        Seen::Confirmation(Verb::Subscribe, NameKind::Pattern, b"a*".to_vec()),
        Seen::Reply(b"PONG".to_vec()),
        Seen::Message(By::Channel, b"a".to_vec(), b"1\r\n2\n".to_vec()),
        Seen::Message(By::Pattern(b"a*".to_vec()), b"ab".to_vec(), Vec::new()),
        Seen::Error(b"NOPERM not you".to_vec()),
        Seen::Error(b"ERR x\r\ny z".to_vec()),
        Seen::Oversized(b"ac".to_vec(), 2_000),
        Seen::Oversized(vec![b'n'; NAME_KEPT], 70_000),
        Seen::Error(b"inside".to_vec()),
        Seen::Error(b"no".to_vec()),
        Seen::Confirmation(Verb::Unsubscribe, NameKind::Pattern, b"a*".to_vec()),
        Seen::Confirmation(Verb::Unsubscribe, NameKind::Channel, b"a".to_vec()),
    ];
    (bytes, expected)
}

#[test]
fn understands_what_a_subscription_connection_receives() {
    let (bytes, expected) = script();
    assert_eq!(one(&bytes).unwrap(), expected);
}

#[test]
fn sees_the_same_however_the_bytes_are_cut() {
    let (bytes, expected) = script();
    for size in 1..40 {
        assert_eq!(scan(bytes.chunks(size)).unwrap(), expected, "chunks of {size}");
    }
    for at in (0..bytes.len()).filter(|at| *at < 400 || *at > bytes.len() - 500) {
        let (left, right) = bytes.split_at(at);
        assert_eq!(scan([left, right]).unwrap(), expected, "cut at {at}");
    }
}

#[test]
fn a_beginning_is_never_an_error_and_never_more_than_it_holds() {
    let (bytes, expected) = script();
    for end in (0..bytes.len()).filter(|end| *end < 2_600 || *end > bytes.len() - 500) {
        let seen = one(&bytes[..end]).unwrap();
        assert_eq!(seen, expected[..seen.len()], "up to {end}");
    }
}

#[test]
fn refuses_what_no_server_sends() {
    let cases: &[(&[u8], ProtocolError)] = &[
        (b"x", ProtocolError::UnknownType(b'x')),
        (b"\0", ProtocolError::UnknownType(0)),
        (b"$3\r\nfoo\r\n", ProtocolError::UnexpectedReply(b'$')),
        (b":1\r\n", ProtocolError::UnexpectedReply(b':')),
        (b">x\r\n", ProtocolError::Length),
        (b">\r\n", ProtocolError::Length),
        (b">-1\r\n", ProtocolError::Length),
        (b">3\r\n$7\r\nmessage\r\n$-1\r\n", ProtocolError::Length),
        (b">3\r\n$7\r\nmessage\r\n$99999999999", ProtocolError::Length),
        (b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$536870913\r\n", ProtocolError::Length),
        (b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$-5\r\n", ProtocolError::Length),
        (b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1 \r\n", ProtocolError::Length),
        (b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\rx", ProtocolError::Length),
        (b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n:1\r\n", ProtocolError::Length),
        (b">3\r\n$7\r\nmessage\r\n$1\r\nabc\r\n", ProtocolError::Terminator),
        (b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nabc", ProtocolError::Terminator),
        (b">4\r\n$8\r\npmessage\r\n$65537\r\n", ProtocolError::Name),
        (b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n+1\r\n", ProtocolError::Length),
        (b">3\r\n$9\r\nsubscribe\r\n$65537\r\n", ProtocolError::Name),
        (b">2\r\n$5\r\nother\r\n$-2\r\n", ProtocolError::Length),
        (b">2\r\n$5\r\nother\r\n*2000000\r\n", ProtocolError::Elements),
        (b"|2000000\r\n", ProtocolError::Elements),
        (b">1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n", ProtocolError::Depth),
        (b"+PONG\rx", ProtocolError::Line),
    ];
    for (bytes, expected) in cases {
        assert_eq!(one(bytes), Err(*expected), "{}", bytes.escape_ascii());
    }
    assert_eq!(one(&[b"-".as_slice(), &[b'e'; LINE_LIMIT]].concat()), Err(ProtocolError::Line));
    let mut oversized = b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1001\r\n".to_vec();
    oversized.extend([b'p'; 1_003]);
    assert_eq!(one(&oversized), Err(ProtocolError::Terminator), "a skipped payload ends where it says");
}

/// The limits in numbers, so that one that is changed is changed here too.
#[test]
fn what_is_as_large_as_a_limit_is_understood_and_what_is_larger_is_not() {
    let line = |head: &[u8], size: usize| [head, &vec![b'1'; size], b"\r\n"].concat();
    let string =
        |head: &str, size: usize| [format!("{head}{size}\r\n").as_bytes(), &vec![b'n'; size], b"\r\n"].concat();
    let subscribed = |size| [string(">3\r\n$9\r\nsubscribe\r\n$", size).as_slice(), b":1\r\n"].concat();
    let matched = |size| [string(">4\r\n$8\r\npmessage\r\n$", size).as_slice(), b"$1\r\na\r\n$0\r\n\r\n"].concat();
    let counted = |size| line(b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:", size);
    let foreign = |elements: usize| format!(">2\r\n$5\r\nother\r\n*{elements}\r\n").into_bytes();
    let attributes = |pairs: usize| format!("|{pairs}\r\n").into_bytes();
    for (at_most, above, error) in [
        (line(b"+", 16_383), line(b"+", 16_384), ProtocolError::Line),
        (line(b"-", 16_383), line(b"-", 16_384), ProtocolError::Line),
        (counted(16_383), counted(16_384), ProtocolError::Line),
        (string("!", 16_384), string("!", 16_385), ProtocolError::Line),
        (subscribed(65_536), subscribed(65_537), ProtocolError::Name),
        (matched(65_536), matched(65_537), ProtocolError::Name),
        (foreign(1_048_576), foreign(1_048_577), ProtocolError::Elements),
        (attributes(1_048_576), attributes(1_048_577), ProtocolError::Elements),
    ] {
        let head = at_most[..20.min(at_most.len())].escape_ascii();
        assert!(one(&at_most).is_ok(), "{head}");
        assert_eq!(one(&above), Err(error), "{head}");
    }
    let message = |size| [string(">3\r\n$7\r\nmessage\r\n$", size).as_slice(), b"$1\r\np\r\n"].concat();
    assert_eq!(one(&message(65_536)), Ok(vec![Seen::Message(By::Channel, vec![b'n'; 65_536], b"p".to_vec())]));
    assert_eq!(one(&message(65_537)), Ok(vec![Seen::Oversized(vec![b'n'; 256], 65_537)]));
}

#[test]
fn a_length_may_have_any_number_of_digits() {
    for size in [0, 7, 45, 345, 908] {
        let payload = vec![b'x'; size];
        let bytes = [b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n".to_vec(), bulk(&payload)].concat();
        assert_eq!(one(&bytes), Ok(vec![Seen::Message(By::Channel, b"a".to_vec(), payload)]));
    }
}

#[test]
fn numbers_may_have_leading_zeros() {
    let bytes =
        b">03\r\n$07\r\nmessage\r\n$01\r\na\r\n$2\r\npp\r\n>04\r\n$8\r\npmessage\r\n$2\r\na*\r\n$1\r\na\r\n$0\r\n\r\n";
    let expected = vec![
        Seen::Message(By::Channel, b"a".to_vec(), b"pp".to_vec()),
        Seen::Message(By::Pattern(b"a*".to_vec()), b"a".to_vec(), Vec::new()),
    ];
    assert_eq!(one(bytes), Ok(expected));
}

#[test]
fn what_is_cut_off_is_not_scanned_again_without_further_bytes() {
    let (bytes, _) = script();
    for end in (0..bytes.len()).filter(|end| *end < 2_600 || *end > bytes.len() - 500) {
        let mut scanner = Scanner::new(LIMIT);
        let mut at = 0;
        while let Some((_, next)) = scanner.next(&bytes[..end], at).unwrap() {
            assert!(next > at || next < end, "nothing is skipped for ever");
            at = next;
        }
        assert!(scanner.needed() > end - at, "up to {end}");
        assert!(
            at + scanner.needed() <= bytes.len() || at == bytes.len(),
            "it asks for more than there is, up to {end}"
        );
    }
}

#[test]
fn every_kind_of_name_has_pushes_of_its_own() {
    for (prefix, kind, by) in [("", NameKind::Channel, By::Channel), ("s", NameKind::ShardChannel, By::ShardChannel)] {
        for (verb, word) in [(Verb::Subscribe, "subscribe"), (Verb::Unsubscribe, "unsubscribe")] {
            let word = format!("{prefix}{word}");
            let bytes = [b">3\r\n".to_vec(), bulk(word.as_bytes()), b"$1\r\na\r\n:1\r\n".to_vec()].concat();
            assert_eq!(one(&bytes), Ok(vec![Seen::Confirmation(verb, kind, b"a".to_vec())]), "{word}");
        }
        let word = format!("{prefix}message");
        // As servers write it, and as they might.
        for head in [b">3\r\n".to_vec(), b">03\r\n".to_vec()] {
            let bytes = [head, bulk(word.as_bytes()), b"$1\r\na\r\n$2\r\nxy\r\n".to_vec()].concat();
            assert_eq!(one(&bytes), Ok(vec![Seen::Message(by.clone(), b"a".to_vec(), b"xy".to_vec())]), "{word}");
        }
    }
}

#[test]
fn of_pushes_only_those_of_an_unknown_kind_are_foreign() {
    for (kind, is_foreign) in [("invalidate", false), ("other", true), ("message", true)] {
        let bytes = [b">2\r\n".to_vec(), bulk(kind.as_bytes()), b"_\r\n".to_vec()].concat();
        let (scanned, end) = Scanner::new(LIMIT).next(&bytes, 0).unwrap().unwrap();
        assert_eq!((scanned == Scanned::Foreign, end), (is_foreign, 0), "{kind}");
    }
}

#[test]
fn a_value_that_is_skipped_waits_for_a_whole_header() {
    let mut scanner = Scanner::new(LIMIT);
    let bytes = b">2\r\n$5\r\nother\r\n*1";
    let mut at = 0;
    while let Some((_, next)) = scanner.next(bytes, at).unwrap() {
        // What is foreign is first shown, and then skipped.
        assert!(next > at || at == 0);
        at = next;
    }
    assert_eq!((at, scanner.needed()), (bytes.len() - 2, 3));
}

#[test]
fn a_length_of_512_megabytes_needs_no_memory() {
    let mut scanner = Scanner::new(usize::MAX);
    let mut limited = Scanner::new(LIMIT);
    let header = b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$536870912\r\n";
    assert_eq!(scanner.next(header, 0), Ok(None));
    assert_eq!(limited.next(header, 0), Ok(None));
    // The head of the payload is kept, and nothing else of it.
    let begun = [header.as_slice(), &[b'h'; HEAD_KEPT]].concat();
    assert_eq!((scanner.next(&begun, 0), limited.needed()), (Ok(None), begun.len()));
    let (scanned, end) = limited.next(&begun, 0).unwrap().unwrap();
    assert!(
        matches!(scanned, Scanned::Oversized { size: 536_870_912, head, .. } if head == (header.len()..begun.len()))
    );
    assert_eq!((end, limited.next(&begun, end)), (begun.len(), Ok(None)));
    let chunk = vec![0; 1024 * 1024];
    for _ in 0..511 {
        assert_eq!(limited.next(&chunk, 0), Ok(Some((Scanned::Skipped, chunk.len()))));
    }
    let rest = &chunk[HEAD_KEPT..];
    assert_eq!(limited.next(rest, 0), Ok(Some((Scanned::Skipped, rest.len()))));
    let tail = b"\r\n+PONG\r\n";
    assert_eq!(limited.next(tail, 0), Ok(Some((Scanned::Skipped, 2))));
    assert_eq!(limited.next(tail, 2), Ok(Some((Scanned::Reply(3..7), tail.len()))));
}

#[test]
fn a_large_payload_is_not_scanned_with_every_read() {
    let mut scanner = Scanner::new(BLOB_LIMIT);
    let header = b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1000000\r\n";
    assert_eq!(scanner.next(header, 0), Ok(None));
    assert_eq!(scanner.needed(), header.len() + 1_000_002);
}

#[test]
fn empty_attributes_delay_nothing() {
    assert_eq!(one(b"|0\r\n+PONG\r\n"), Ok(vec![Seen::Reply(b"PONG".to_vec())]));
}

#[test]
fn reads_the_answer_to_hello() {
    let map = b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:3\r\n\
        $4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*1\r\n%1\r\n+name\r\n+json\r\n";
    for end in 0..map.len() {
        assert_eq!(hello(&map[..end]), Ok(None));
    }
    let expected = Capabilities { role: "master".into(), mode: "standalone".into(), version: "7.0.15".into() };
    assert_eq!(hello(map), Ok(Some((Ok(expected), map.len()))));
    assert_eq!(hello(b"-NOAUTH no\r\n"), Ok(Some((Err("NOAUTH no".into()), 12))));
    assert_eq!(hello(b"HTTP/1.1 400\r\n"), Err(ProtocolError::UnexpectedReply(b'H')));
    assert_eq!(hello(b"%1\r\n$600000000\r\n"), Err(ProtocolError::Length));
    assert_eq!(hello(b"%1\r\n$500000000\r\n"), Err(ProtocolError::Line), "not waited for");
}

#[test]
fn a_greeting_of_simple_strings_is_read_too() {
    let map = b"%3\r\n+mode\r\n+cluster\r\n+role\r\n!7\r\nreplica\r\n=4\r\nproto\r\n";
    assert_eq!(hello(map), Err(ProtocolError::Terminator));
    let map = b"%3\r\n+mode\r\n+cluster\r\n=4\r\nrole\r\n!7\r\nreplica\r\n+version\r\n,7.5\r\n";
    let expected = Capabilities { role: "replica".into(), mode: "cluster".into(), version: "7.5".into() };
    assert_eq!(hello(map), Ok(Some((Ok(expected), map.len()))));
}

#[test]
fn a_greeting_is_waited_for_up_to_a_limit() {
    let line = [b"%1\r\n+a\r\n+".as_slice(), &[b'x'; LINE_LIMIT]].concat();
    let header = format!("%2\r\n+a\r\n${}\r\n", LINE_LIMIT - 18);
    let header = [header.as_bytes(), &vec![b'x'; LINE_LIMIT - 18], b"\r\n+a"].concat();
    let nested = [b"%1\r\n+a\r\n*1\r\n+".as_slice(), &[b'x'; LINE_LIMIT]].concat();
    for greeting in [line, header, nested] {
        assert_eq!(hello(&greeting[..LINE_LIMIT - 1]), Ok(None), "one byte may come");
        assert_eq!(hello(&greeting[..LINE_LIMIT]), Err(ProtocolError::Line));
    }
}

#[test]
fn reads_the_answers_to_commands_wherever_they_begin() {
    let bytes = b":12\r\n-ERR no\r\n:0\r\n";
    let answers = [(0, Reply::Integer(12), 5), (5, Reply::Error(6..12), 14), (14, Reply::Integer(0), 18)];
    for (start, answer, end) in answers {
        for cut in start..end {
            assert_eq!(reply(&bytes[..cut], start), Ok(None), "{cut}");
        }
        assert_eq!(reply(bytes, start), Ok(Some((answer, end))));
    }
    let texts = |texts: &[&str]| Reply::Texts(texts.iter().map(|&text| text.to_owned()).collect());
    let nested = b":1\r\n*4\r\n+OK\r\n$3\r\nfoo\r\n%1\r\n:7\r\n_\r\n=5\r\ntxt:a\r\n+next\r\n";
    assert_eq!(reply(nested, 4), Ok(Some((texts(&["OK", "foo", "7", "txt:a"]), nested.len() - 7))));
    assert_eq!(reply(&nested[..nested.len() - 8], 4), Ok(None));
    assert_eq!(reply(b":1\r\n>1\r\n+OK\r\n", 4), Err(ProtocolError::UnexpectedReply(b'>')));
    let blob = b":1\r\n!6\r\nERR no\r\n:2\r\n";
    assert_eq!(reply(blob, 4), Ok(Some((Reply::Error(8..14), 16))));
    assert_eq!(reply(&blob[..15], 4), Ok(None));
    assert_eq!(reply(b"!16385\r\n", 0), Err(ProtocolError::Line));
    // What is said of an answer is no answer.
    let said = b":1\r\n|1\r\n+ttl\r\n%1\r\n$1\r\na\r\n,0.1\r\n|1\r\n+a\r\n+b\r\n:7\r\n";
    for cut in 4..said.len() {
        assert_eq!(reply(&said[..cut], 4), Ok(None), "{cut}");
    }
    assert_eq!(reply(said, 4), Ok(Some((Reply::Integer(7), said.len()))));
    assert_eq!(reply(b":x\r\n", 0), Err(ProtocolError::Length));
    assert_eq!(reply(&[b"-".as_slice(), &[b'e'; LINE_LIMIT]].concat(), 0), Err(ProtocolError::Line));
    let long = [b":1\r\n*2\r\n$99999\r\n".as_slice(), &[b'x'; LINE_LIMIT]].concat();
    assert_eq!(reply(&long[..4 + 16_384], 4), Ok(None), "no answer is longer than 16 KiB");
    assert_eq!(reply(&long[..4 + 16_385], 4), Err(ProtocolError::Line));
}

/// A stream of numbers that is the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize
    }
}

#[test]
fn flipped_bits_never_panic_and_never_hold_more_than_the_limits() {
    let (bytes, _) = script();
    // Without the long runs, so that most flips hit something.
    let bytes: Vec<u8> = bytes[..300].iter().chain(&bytes[bytes.len() - 300..]).copied().collect();
    let mut numbers = Numbers(0x7469_6469_6e67_7321);
    for _ in 0..200_000 {
        let mut flipped = bytes.clone();
        for _ in 0..1 + numbers.next() % 3 {
            let at = numbers.next() % flipped.len();
            flipped[at] ^= 1 << (numbers.next() % 8);
        }
        let _ = scan(flipped.chunks(1 + numbers.next() % 64));
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 1..50_usize) {
        let _ = scan(bytes.chunks(size));
        let _ = hello(&bytes);
    }

    #[test]
    fn random_protocol_never_panics(
        pieces in prop::collection::vec(prop::sample::select(vec![
            ">3\r\n", ">4\r\n", "$7\r\nmessage\r\n", "$8\r\npmessage\r\n", "$1\r\na\r\n", "$", "\r\n", "*9\r\n", "%2\r\n", "-1",
            "$9\r\nsubscribe\r\n", ":1\r\n", "|1\r\n", "_\r\n", "+x\r\n", "!3\r\nerr\r\n", "$2000\r\n", "$70000\r\n", "~1\r\n", "1",
        ]), 0..30),
        size in 1..50_usize,
    ) {
        let bytes = pieces.concat().into_bytes();
        let whole = one(&bytes);
        let cut = scan(bytes.chunks(size));
        prop_assert_eq!(whole, cut);
    }

    #[test]
    fn agrees_with_the_parser_of_the_redis_crate(values in prop::collection::vec(push(), 1..8), size in 1..80_usize) {
        let bytes: Vec<u8> = values.concat();
        let mut expected = Vec::new();
        for value in &values {
            expected.extend(seen_by_redis(value));
        }
        prop_assert_eq!(scan(bytes.chunks(size)), Ok(expected));
    }
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// A value as it is on the wire.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let text = "[ -~]{0,20}";
    let leaf = prop_oneof![
        text.prop_map(|text| format!("+{text}\r\n").into_bytes()),
        any::<i64>().prop_map(|number| format!(":{number}\r\n").into_bytes()),
        any::<bool>().prop_map(|truth| format!("#{}\r\n", if truth { 't' } else { 'f' }).into_bytes()),
        Just(b"_\r\n".to_vec()),
        Just(b"$-1\r\n".to_vec()),
        (-1e6..1e6_f64).prop_map(|number| format!(",{number}\r\n").into_bytes()),
        text.prop_map(|text| format!("=3\r\n{:.3}\r\n", format!("{text}abc")).into_bytes()),
        prop::collection::vec(any::<u8>(), 0..60).prop_map(|bytes| bulk(&bytes)),
    ];
    // The verbatim strings of the redis crate need a format; plain ones do here.
    let leaf = leaf.prop_map(|bytes| if bytes[0] == b'=' { b"=7\r\ntxt:abc\r\n".to_vec() } else { bytes });
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            (prop::sample::select(vec!['*', '~']), prop::collection::vec(inner.clone(), 0..4))
                .prop_map(|(kind, items)| [format!("{kind}{}\r\n", items.len()).into_bytes(), items.concat()].concat()),
            prop::collection::vec((inner.clone(), inner), 0..3).prop_map(|pairs| {
                let items: Vec<u8> =
                    pairs.iter().flat_map(|(key, value)| [key.clone(), value.clone()].concat()).collect();
                [format!("%{}\r\n", pairs.len()).into_bytes(), items].concat()
            }),
        ]
    })
}

fn push() -> impl Strategy<Value = Vec<u8>> {
    let name = || prop::collection::vec(any::<u8>(), 0..30);
    let verbs = vec!["subscribe", "ssubscribe", "psubscribe", "unsubscribe", "sunsubscribe", "punsubscribe"];
    let exact = prop::sample::select(vec!["message", "smessage"]);
    prop_oneof![
        (exact, name(), prop::collection::vec(any::<u8>(), 0..200)).prop_map(|(kind, channel, payload)| {
            [b">3\r\n".to_vec(), bulk(kind.as_bytes()), bulk(&channel), bulk(&payload)].concat()
        }),
        (name(), name(), prop::collection::vec(any::<u8>(), 0..200)).prop_map(|(pattern, channel, payload)| {
            [b">4\r\n".to_vec(), bulk(b"pmessage"), bulk(&pattern), bulk(&channel), bulk(&payload)].concat()
        }),
        (prop::sample::select(verbs), name(), 0..9_i64).prop_map(|(verb, name, count)| {
            [b">3\r\n".to_vec(), bulk(verb.as_bytes()), bulk(&name), format!(":{count}\r\n").into_bytes()].concat()
        }),
        prop::collection::vec(value(), 0..4).prop_map(|items| {
            [format!(">{}\r\n", items.len() + 1).into_bytes(), bulk(b"invalidate"), items.concat()].concat()
        }),
        "[A-Z]{1,8}".prop_map(|text| format!("+{text}\r\n").into_bytes()),
        "[A-Z]{1,8} [ -~]{0,30}".prop_map(|text| format!("-{text}\r\n").into_bytes()),
    ]
}

fn seen_by_redis(bytes: &[u8]) -> Option<Seen> {
    use redis::{PushKind, Value};

    let data = |value: &Value| match value {
        Value::BulkString(bytes) => bytes.clone(),
        other => panic!("{other:?} is no string"),
    };
    match redis::parse_redis_value(bytes).unwrap() {
        Value::Okay => Some(Seen::Reply(b"OK".to_vec())),
        Value::SimpleString(text) => Some(Seen::Reply(text.into_bytes())),
        Value::ServerError(_) => Some(Seen::Error(bytes[1..bytes.len() - 2].to_vec())),
        Value::Push { kind, data: items } => {
            let confirmation = |verb, kind| Some(Seen::Confirmation(verb, kind, data(&items[0])));
            match kind {
                PushKind::Message => Some(Seen::Message(By::Channel, data(&items[0]), data(&items[1]))),
                PushKind::SMessage => Some(Seen::Message(By::ShardChannel, data(&items[0]), data(&items[1]))),
                PushKind::PMessage => {
                    Some(Seen::Message(By::Pattern(data(&items[0])), data(&items[1]), data(&items[2])))
                }
                PushKind::Subscribe => confirmation(Verb::Subscribe, NameKind::Channel),
                PushKind::PSubscribe => confirmation(Verb::Subscribe, NameKind::Pattern),
                PushKind::SSubscribe => confirmation(Verb::Subscribe, NameKind::ShardChannel),
                PushKind::SUnsubscribe => confirmation(Verb::Unsubscribe, NameKind::ShardChannel),
                PushKind::Unsubscribe => confirmation(Verb::Unsubscribe, NameKind::Channel),
                PushKind::PUnsubscribe => confirmation(Verb::Unsubscribe, NameKind::Pattern),
                _ => None,
            }
        }
        other => panic!("{other:?} was not generated"),
    }
}
