//! The memory transport matches patterns exactly as Redis does.

use proptest::{
    collection::vec, prelude::Strategy, prop_oneof, sample::select, strategy::ValueTree, test_runner::TestRunner,
};
use redis::aio::MultiplexedConnection;
use tidings::testing::glob_matches;
use tidings_tests::RedisServer;

const PATTERNS: usize = 20_000;
const TEXTS: usize = 120;
const BATCH: usize = 200;

/// Few letters, so that patterns match often, and everything that is special, so that their borders are met.
fn bytes(special: &'static [u8], longest: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![2 => select(b"ab:".to_vec()), 1 => select(special.to_vec())], 0..=longest)
}

fn some<T>(count: usize, strategy: impl Strategy<Value = T>) -> Vec<T> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

fn shown(texts: &[Vec<u8>]) -> Vec<String> {
    texts.iter().map(|text| text.escape_ascii().to_string()).collect()
}

async fn connect(server: &RedisServer) -> MultiplexedConnection {
    let client = redis::Client::open(server.url()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

/// KEYS matches with the function that PUBLISH matches patterns with, `stringmatchlen`; it only takes a short cut for `*`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_glob_of_the_memory_transport_is_a_glob_of_redis() {
    let server = RedisServer::start().await;
    let mut connection = connect(&server).await;
    let mut texts = some(TEXTS, bytes(b"*?[]^-\\c\xff\0", 6));
    texts.push(Vec::new());
    texts.sort();
    texts.dedup();
    for text in &texts {
        let _: () = redis::cmd("SET").arg(text).arg("").query_async(&mut connection).await.unwrap();
    }
    let patterns = some(PATTERNS, bytes(b"**??[[]]^--\\\\cz", 9));
    let mut matches = 0;
    for batch in patterns.chunks(BATCH) {
        let mut pipeline = redis::pipe();
        for pattern in batch.iter().filter(|pattern| *pattern != b"*") {
            pipeline.cmd("KEYS").arg(pattern);
        }
        let answers: Vec<Vec<Vec<u8>>> = pipeline.query_async(&mut connection).await.unwrap();
        for (pattern, mut theirs) in batch.iter().filter(|pattern| *pattern != b"*").zip(answers) {
            let ours: Vec<_> = texts.iter().filter(|text| glob_matches(pattern, text)).cloned().collect();
            theirs.sort();
            assert_eq!(shown(&ours), shown(&theirs), "texts that match \"{}\"", pattern.escape_ascii());
            matches += ours.len();
        }
    }
    assert!(matches > 1_000, "only {matches} matches: the patterns test nothing");
}

/// The short cut aside, a subscription to `*` hears every channel but the empty one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_star_is_a_glob_of_redis_too() {
    let server = RedisServer::start().await;
    let mut subscriber = redis::Client::open(server.url()).unwrap().get_async_pubsub().await.unwrap();
    subscriber.psubscribe("*").await.unwrap();
    for channel in ["", "a", "a:b", "*", "\n"] {
        let theirs = server.publish(channel, b"").await == 1;
        assert_eq!(glob_matches(b"*", channel.as_bytes()), theirs, "{channel:?}");
    }
}
