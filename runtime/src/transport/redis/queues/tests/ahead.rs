//! A take that is left while another is under way: it is sent before that is answered, and both keep what they promise.

use std::pin::pin;

use futures_util::FutureExt;

use super::{
    only_new::{add, calls, one_part, reader, taken},
    *,
};
use crate::{
    error::QueueError,
    transport::durable::{contract::Keeper, task::Settled},
};

type Outcome = Result<Taken, QueueError>;

fn next(want: usize, settlements: Vec<Settlement>) -> Take {
    Take { want, order: vec![(0, want)], settlements, ..Take::default() }
}

/// Both are sent while the server stands still.
async fn both(server: &Server, reader: &mut RedisReader, first: Take, second: Take) -> (Outcome, Outcome) {
    let ahead = reader.ahead().unwrap();
    server.signal("STOP");
    let first = {
        let mut first = pin!(reader.take(first));
        assert!(first.as_mut().now_or_never().is_none());
        ahead.leave(second);
        assert!(first.as_mut().now_or_never().is_none());
        server.signal("CONT");
        first.await
    };
    (first, reader.next().await)
}

#[tokio::test]
async fn two_takes_are_sent_before_the_first_is_answered() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = reader(&redis).await;
    add(&redis, &["a", "b", "c", "d"]).await;
    let a = taken_one(&mut reader).await;
    calls(&server);
    let (first, second) = both(&server, &mut reader, next(1, vec![done(&a)]), next(2, vec![done(&a)])).await;
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!((ids(&first.entries), first.settled), (vec!["b"], vec![Settled::Counted]));
    assert_eq!((ids(&second.entries), second.settled), (vec!["c", "d"], vec![Settled::Stale]));
    let calls = calls(&server);
    assert_eq!((calls["xreadgroup"], calls["evalsha"]), (2, 2), "{calls:?}");
    assert_eq!(reader.connections(), 1);
    let rest = [&first.entries[..], &second.entries].concat();
    let last = taken(&mut reader, 1, rest.iter().map(done).collect()).await;
    assert_eq!(last.settled, [Settled::Counted; 3]);
}

async fn taken_one(reader: &mut RedisReader) -> Entry {
    taken(reader, 1, Vec::new()).await.entries.pop().unwrap()
}

#[tokio::test]
async fn what_the_first_has_to_ask_once_more_is_answered_behind_the_second() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = reader(&redis).await;
    add(&redis, &["a", "b", "c", "d", "e"]).await;
    let [a, b] = [taken_one(&mut reader).await, taken_one(&mut reader).await];
    // The short step does nothing while somebody watches, and both have to ask for the longer one.
    redis.watch(&name()).await.unwrap();
    let (first, second) = both(&server, &mut reader, next(1, vec![done(&a)]), next(1, vec![done(&b)])).await;
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!((ids(&first.entries), &first.settled[..]), (vec!["c"], &[Settled::Counted][..]));
    assert_eq!((ids(&second.entries), &second.settled[..]), (vec!["d"], &[Settled::Counted][..]));
    // Nor does the server know a script after its restart.
    server.run("SCRIPT FLUSH");
    let settled = |taken: &Taken| taken.entries.iter().map(done).collect();
    let (third, fourth) = both(&server, &mut reader, next(1, settled(&first)), next(1, settled(&second))).await;
    let (third, fourth) = (third.unwrap(), fourth.unwrap());
    assert_eq!((ids(&third.entries), third.settled), (vec!["e"], vec![Settled::Counted]));
    assert_eq!((ids(&fourth.entries), fourth.settled), (vec![], vec![Settled::Counted]));
    assert_eq!(reader.connections(), 1);
}

#[tokio::test]
async fn both_say_that_the_queue_is_paused() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = reader(&redis).await;
    add(&redis, &["a", "b", "c"]).await;
    let a = taken_one(&mut reader).await;
    redis.pause(&name(), true).await.unwrap();
    let (first, second) = both(&server, &mut reader, next(1, vec![done(&a)]), next(1, Vec::new())).await;
    let (first, second) = (first.unwrap(), second.unwrap());
    assert!(first.is_paused && second.is_paused);
    assert_eq!((ids(&first.entries), ids(&second.entries)), (vec!["b"], vec!["c"]));
    assert!(reader.ahead().is_none(), "what is paused is looked at again before more is asked for");
}

#[tokio::test]
async fn what_fails_takes_the_one_behind_it_along_and_both_are_found_again() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = reader(&redis).await;
    add(&redis, &["a", "b", "c", "d"]).await;
    let a = taken_one(&mut reader).await;
    server.run("ACL SETUSER default -evalsha");
    let (first, second) = both(&server, &mut reader, next(1, vec![done(&a)]), next(1, Vec::new())).await;
    assert!(matches!(first, Err(QueueError::Refused { .. })), "{first:?}");
    assert!(second.unwrap().entries.is_empty(), "nothing comes of it any more");
    server.run("ACL SETUSER default +evalsha");
    let settled = taken(&mut reader, 1, vec![done(&a)]).await;
    assert_eq!((ids(&settled.entries), settled.settled), (vec!["d"], vec![Settled::Counted]));
    assert_eq!(reader.connections(), 2, "what was given and not answered is looked for after a new connection");
    assert_eq!(ids(&redis.keeper().pending(&one_part(), "instance-1").await.unwrap()), ["b", "c", "d"]);
}

#[tokio::test]
async fn a_lost_connection_loses_both_and_nothing_else() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = reader(&redis).await;
    add(&redis, &["a", "b"]).await;
    let a = taken_one(&mut reader).await;
    let ahead = reader.ahead().unwrap();
    {
        server.signal("STOP");
        let mut first = pin!(reader.take(next(1, vec![done(&a)])));
        assert!(first.as_mut().now_or_never().is_none());
        ahead.leave(next(1, Vec::new()));
        assert!(first.as_mut().now_or_never().is_none());
    }
    // The future was dropped, and its connection with it.
    server.signal("CONT");
    let next = taken(&mut reader, 8, vec![done(&a)]).await;
    assert!(next.settled.len() == 1 && next.entries.len() <= 1);
    assert_eq!(reader.connections(), 2);
    // The server carries out what it has got, at the latest when it sees that the connection is gone.
    let mut counts = redis.counts(&one_part()).await.unwrap();
    while (counts.ended.completed, counts.running()) != (1, 1) {
        taken(&mut reader, 8, Vec::new()).await;
        counts = redis.counts(&one_part()).await.unwrap();
    }
}

#[tokio::test]
async fn what_has_follow_ups_for_elsewhere_waits_for_its_turn() {
    let server = Server::start();
    let redis = connected(&server).await;
    let mut reader = reader(&redis).await;
    add(&redis, &["a", "b", "c"]).await;
    let a = taken_one(&mut reader).await;
    let follow_up = settlement(&a, Verdict::Done { follow_ups: vec![task("d")] });
    let (first, second) = both(&server, &mut reader, next(1, Vec::new()), next(2, vec![follow_up])).await;
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(ids(&first.entries), ["b"]);
    assert_eq!((ids(&second.entries), second.settled), (vec!["c"], vec![Settled::Counted]));
    assert_eq!(ids(&taken(&mut reader, 2, Vec::new()).await.entries), ["d"]);
}
