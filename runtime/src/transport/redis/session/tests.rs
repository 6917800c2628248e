use std::{
    task::{Context, Waker},
    time::Duration,
};

use tokio::sync::oneshot::Receiver;

use crate::{
    config::{Bounds, Config, Reconnect},
    transport::{
        contract::Wanted,
        inbox::{Inbox, WhenFull},
        redis::resp::parts::owned,
        registry::attached::{Attached, Confirmation},
    },
};

use super::*;

/// A session, and the registry and inbox that it works for.
struct Bench {
    session: Session,
    registry: Registry,
    inbox: Arc<Inbox>,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let reconnect =
            Reconnect::default().first_pause(Duration::from_millis(1)).longest_pause(Duration::from_secs(1));
        let config = Config { namespace: Some("ns".into()), reconnect, payload_limit: 100, ..Config::default() };
        let bounds = Bounds { messages: 100, bytes: 10_000 };
        Self {
            session: Session::new(Arc::new(Settings::new(&config, "shop")), one_group),
            registry: Registry::new(Confirmation::ByServer),
            inbox: Arc::new(Inbox::new(bounds, WhenFull::DropOldest)),
            now: Instant::now(),
        }
    }

    fn attach(&mut self, names: &[&str]) -> Receiver<Attached> {
        let kind = |name: &str| if name.contains('*') { NameKind::Pattern } else { NameKind::Channel };
        let wanted =
            names.iter().map(|name| Wanted { name: Name { text: (*name).into(), kind: kind(name) }, token: 1 });
        self.registry.attach(Arc::clone(&self.inbox), wanted.collect()).1
    }

    fn attach_shards(&mut self, names: &[&str]) -> Receiver<Attached> {
        let wanted = names.iter().map(|name| Name { text: (*name).into(), kind: NameKind::ShardChannel });
        let wanted = wanted.map(|name| Wanted { name, token: 1 }).collect();
        self.registry.attach(Arc::clone(&self.inbox), wanted).1
    }

    /// The commands that are due, their words in short.
    fn asks(&mut self) -> String {
        let mut outgoing = BytesMut::new();
        self.session.ask(&mut self.registry, &mut outgoing);
        let text = owned(&outgoing);
        let words = text.split("\r\n").filter(|line| !line.starts_with(['*', '$']));
        words.collect::<Vec<_>>().join(" ").trim().to_owned()
    }

    fn receives(&mut self, bytes: &str) -> Result<(), GapCause> {
        let mut incoming = BytesMut::from(bytes);
        let (wishes, received) = self.session.receive(&mut incoming, &mut self.registry, self.now);
        assert!(wishes.read().is_empty());
        received
    }

    fn taken(&mut self) -> Vec<String> {
        let mut items = VecDeque::new();
        let _ = self.inbox.poll_take(&mut Context::from_waker(Waker::noop()), &mut items, 100);
        let describe = |item| match item {
            Item::Frame(frame) => format!("{} {}", owned(frame.channel()), owned(frame.payload())),
            Item::Gap(_) => "gap".to_owned(),
            Item::Oversized { channel, size, .. } => format!("{} of {size} bytes", owned(&channel)),
            other => format!("{other:?}"),
        };
        items.into_iter().map(describe).collect()
    }
}

fn confirmation(verb: &str, name: &str) -> String {
    format!(">3\r\n${}\r\n{verb}\r\n${}\r\n{name}\r\n:1\r\n", verb.len(), name.len())
}

fn message(channel: &str, payload: &str) -> String {
    format!(">3\r\n$7\r\nmessage\r\n${}\r\n{channel}\r\n${}\r\n{payload}\r\n", channel.len(), payload.len())
}

#[test]
fn messages_between_confirmations_and_pings_reach_their_inbox() {
    let mut bench = Bench::new();
    let mut attached = bench.attach(&["ns:a", "ns:b*"]);
    assert_eq!(bench.asks(), "SUBSCRIBE ns:a PSUBSCRIBE ns:b*");
    bench.session.ping(&mut BytesMut::new());
    bench.receives(&(confirmation("subscribe", "ns:a") + &message("ns:a", "1"))).unwrap();
    assert!(attached.try_recv().is_err());
    bench.receives(&(confirmation("psubscribe", "ns:b*") + "+PONG\r\n")).unwrap();
    assert!(matches!(attached.try_recv(), Ok(Ok(()))));
    assert!(bench.session.is_idle());
    bench.receives(">4\r\n$8\r\npmessage\r\n$5\r\nns:b*\r\n$5\r\nns:b7\r\n$1\r\n2\r\n").unwrap();
    bench.receives(&message("ns:a", &"x".repeat(101))).unwrap();
    assert_eq!(bench.taken(), ["a 1", "b7 2", "a of 101 bytes"]);
}

#[test]
fn a_server_that_is_not_ready_is_asked_again_later() {
    let mut bench = Bench::new();
    let mut attached = bench.attach(&["ns:a", "ns:b"]);
    for _ in 0..3 {
        assert_eq!(bench.asks(), "SUBSCRIBE ns:a ns:b");
        bench.receives("-BUSY a script is running\r\n").unwrap();
        assert!(bench.session.is_idle());
        bench.now += Duration::from_secs(1);
        bench.registry.rested(bench.now);
    }
    assert_eq!(bench.asks(), "SUBSCRIBE ns:a ns:b");
    assert!(attached.try_recv().is_err());
}

#[test]
fn a_refused_pattern_names_the_rule() {
    for (words, rule) in [
        (
            "NOPERM this user has no permissions to run the 'psubscribe' command",
            "ACL SETUSER shop +psubscribe +punsubscribe",
        ),
        ("NOPERM this user has no permissions to access one of the channels", "ACL SETUSER shop &ns:b*"),
    ] {
        let mut bench = Bench::new();
        let mut attached = bench.attach(&["ns:b*"]);
        bench.asks();
        bench.receives(&format!("-{words}\r\n")).unwrap();
        let refused = attached.try_recv();
        assert!(
            matches!(&refused, Ok(Err(SubscribeError::Refused { rule: found, .. })) if found == rule),
            "{refused:?}"
        );
    }
}

/// Refusals come one by one: whoever follows the advice of the first may ask again before the next has come.
#[test]
fn what_the_server_refused_before_somebody_asked_is_asked_anew() {
    const REFUSAL: &str = "-NOPERM this user has no permissions to access one of the channels\r\n";
    let mut bench = Bench::new();
    let mut first = bench.attach(&["ns:a", "ns:b"]);
    assert_eq!(bench.asks(), "SUBSCRIBE ns:a ns:b");
    bench.receives(REFUSAL).unwrap();
    assert_eq!(bench.asks(), "SUBSCRIBE ns:a SUBSCRIBE ns:b");
    bench.receives(REFUSAL).unwrap();
    assert!(matches!(first.try_recv(), Ok(Err(SubscribeError::Refused { .. }))));
    bench.registry.detach(0);
    let mut next = bench.attach(&["ns:a", "ns:b"]);
    assert_eq!(bench.asks(), "SUBSCRIBE ns:a");
    bench.receives(REFUSAL).unwrap();
    assert_eq!(bench.asks(), "SUBSCRIBE ns:b");
    bench.receives(&(confirmation("subscribe", "ns:a") + &confirmation("subscribe", "ns:b"))).unwrap();
    assert!(matches!(next.try_recv(), Ok(Ok(()))));
    assert!(bench.session.is_idle());
}

#[test]
fn a_subscription_that_the_server_ends_is_a_gap_and_is_made_anew() {
    let mut bench = Bench::new();
    let _attached = bench.attach(&["ns:a"]);
    bench.asks();
    bench.receives(&confirmation("subscribe", "ns:a")).unwrap();
    bench.receives(&(confirmation("unsubscribe", "ns:a") + &confirmation("unsubscribe", "ns:unknown"))).unwrap();
    assert_eq!(bench.asks(), "SUBSCRIBE ns:a");
    bench.receives(&(confirmation("subscribe", "ns:a") + &message("ns:a", "1"))).unwrap();
    assert_eq!(bench.taken(), ["gap", "a 1"]);
}

#[test]
fn an_unsubscribe_that_nobody_asked_for_changes_only_what_is_subscribed() {
    for unasked in ["unsubscribe", "punsubscribe", "sunsubscribe"] {
        let mut bench = Bench::new();
        let mut attached = bench.attach(&["ns:a", "ns:b"]);
        assert_eq!(bench.asks(), "SUBSCRIBE ns:a ns:b");
        // While the command is on its way, and between its answers.
        let noise = confirmation(unasked, "ns:a") + &confirmation(unasked, "ns:b") + &confirmation(unasked, "ns:z");
        bench.receives(&noise).unwrap();
        assert_eq!(bench.asks(), "");
        bench.receives(&(confirmation("subscribe", "ns:a") + &confirmation(unasked, "ns:b"))).unwrap();
        assert_eq!(bench.asks(), "");
        assert!(attached.try_recv().is_err(), "ns:b is not confirmed");
        bench.receives(&confirmation("subscribe", "ns:b")).unwrap();
        assert!(matches!(attached.try_recv(), Ok(Ok(()))));
        assert!(bench.session.is_idle());
        bench.receives(&(message("ns:a", "1") + &message("ns:b", "2"))).unwrap();
        assert_eq!(bench.taken(), ["a 1", "b 2"]);
    }
}

#[test]
fn a_name_that_the_server_ends_before_its_attach_is_whole_is_waited_for_again() {
    let mut bench = Bench::new();
    let mut attached = bench.attach(&["ns:a", "ns:b"]);
    bench.asks();
    bench.receives(&(confirmation("subscribe", "ns:a") + &confirmation("unsubscribe", "ns:a"))).unwrap();
    bench.receives(&confirmation("subscribe", "ns:b")).unwrap();
    assert!(attached.try_recv().is_err());
    assert_eq!(bench.asks(), "SUBSCRIBE ns:a");
    bench.receives(&confirmation("subscribe", "ns:a")).unwrap();
    assert!(matches!(attached.try_recv(), Ok(Ok(()))));
    assert_eq!(bench.taken(), [""; 0]);
}

#[test]
fn an_unasked_unsubscribe_may_meet_one_that_was_asked_for() {
    let mut bench = Bench::new();
    let _attached = bench.attach(&["ns:a"]);
    bench.asks();
    bench.receives(&confirmation("subscribe", "ns:a")).unwrap();
    bench.registry.detach(0);
    assert_eq!(bench.asks(), "UNSUBSCRIBE ns:a");
    bench.receives(&confirmation("unsubscribe", "ns:a")).unwrap();
    let mut attached = bench.attach(&["ns:a"]);
    assert_eq!(bench.asks(), "SUBSCRIBE ns:a");
    bench.receives(&(confirmation("unsubscribe", "ns:a") + &confirmation("subscribe", "ns:a"))).unwrap();
    assert!(matches!(attached.try_recv(), Ok(Ok(()))));
    assert_eq!(bench.asks(), "");
}

#[test]
fn what_the_server_would_not_unsubscribe_is_ignored() {
    for (name, words) in [("ns:a", "unsubscribe"), ("ns:b*", "punsubscribe")] {
        let mut bench = Bench::new();
        let _attached = bench.attach(&[name]);
        bench.asks();
        let subscribe = words.replace("un", "");
        bench.receives(&confirmation(&subscribe, name)).unwrap();
        bench.registry.detach(0);
        bench.asks();
        bench.receives(&format!("-NOPERM no permissions to run the '{words}' command\r\n")).unwrap();
        let unwanted = if name == "ns:a" {
            message("ns:a", "1")
        } else {
            ">4\r\n$8\r\npmessage\r\n$5\r\nns:b*\r\n$5\r\nns:b7\r\n$1\r\n2\r\n".to_owned()
        };
        bench.receives(&unwanted).unwrap();
        // Wanted again it is asked for again, and there once.
        bench.inbox = Arc::new(Inbox::new(Bounds { messages: 100, bytes: 10_000 }, WhenFull::DropOldest));
        let mut attached = bench.attach(&[name]);
        bench.receives(&unwanted).unwrap();
        bench.asks();
        bench.receives(&(confirmation(&subscribe, name) + &unwanted)).unwrap();
        assert!(matches!(attached.try_recv(), Ok(Ok(()))));
        let taken = bench.taken();
        assert!(!taken.is_empty() && taken.iter().all(|taken| taken == "a 1" || taken == "b7 2"), "{taken:?}");
    }
}

#[test]
fn what_does_not_fit_ends_the_connection_after_what_came_before() {
    for trouble in [
        "+PONG\r\n",
        "-ERR unasked\r\n",
        "-NOAUTH no\r\n",
        ">x\r\n",
        ":1\r\n",
        ">3\r\n$7\r\nmersage\r\n$4\r\nns:a\r\n$1\r\n2\r\n",
        &confirmation("subscribe", "ns:z"),
        &message("ns:z", "2"),
    ] {
        let mut bench = Bench::new();
        let _attached = bench.attach(&["ns:a"]);
        bench.asks();
        bench.receives(&confirmation("subscribe", "ns:a")).unwrap();
        bench.receives(&(message("ns:a", "1") + trouble)).unwrap_err();
        assert_eq!(bench.taken(), ["a 1"], "{trouble}");
    }
}

/// A session on a node of a cluster.
fn on_a_node() -> Bench {
    let mut bench = Bench::new();
    let settings = Arc::clone(&bench.session.settings);
    bench.session = Session::new(settings, group);
    bench
}

/// Of `a` and `{a}b`.
const SLOT: u16 = 15_495;

#[test]
fn shard_channels_of_several_slots_are_asked_for_apart() {
    let mut bench = on_a_node();
    let mut attached = bench.attach_shards(&["a", "{a}b", "c", "{a}d"]);
    assert_eq!(bench.asks(), "SSUBSCRIBE a {a}b SSUBSCRIBE c SSUBSCRIBE {a}d");
    for name in ["a", "{a}b", "c", "{a}d"] {
        bench.receives(&confirmation("ssubscribe", name)).unwrap();
    }
    assert!(matches!(attached.try_recv(), Ok(Ok(()))));
    bench.registry.detach(0);
    assert_eq!(bench.asks(), "SUNSUBSCRIBE a {a}b SUNSUBSCRIBE c SUNSUBSCRIBE {a}d");
}

#[test]
fn a_server_that_turns_out_to_be_a_node_is_asked_for_one_shard_channel_at_a_time() {
    let mut bench = Bench::new();
    let _attached = bench.attach_shards(&["a", "c"]);
    assert_eq!(bench.asks(), "SSUBSCRIBE a c");
    bench.receives("-CROSSSLOT Keys in request don't hash to the same slot\r\n").unwrap();
    assert_eq!(bench.asks(), "SSUBSCRIBE a SSUBSCRIBE c");
}

#[test]
fn a_slot_that_the_node_does_not_have_is_no_refusal() {
    let mut bench = on_a_node();
    let mut attached = bench.attach_shards(&["a", "c"]);
    bench.asks();
    bench.receives(&format!("-MOVED {SLOT} h:1\r\n{}", confirmation("ssubscribe", "c"))).unwrap();
    assert!(bench.session.has_moved() && !bench.session.has_moved());
    assert!(attached.try_recv().is_err() && bench.session.is_idle());
    // Tried again in case that the slot comes back.
    bench.now += ELSEWHERE;
    bench.registry.rested(bench.now);
    assert_eq!(bench.asks(), "SSUBSCRIBE a");
}

#[test]
fn what_the_node_unsubscribes_by_itself_may_meet_the_question_to_do_so() {
    let mut bench = on_a_node();
    let _attached = bench.attach_shards(&["a", "c"]);
    bench.asks();
    bench.receives(&(confirmation("ssubscribe", "a") + &confirmation("ssubscribe", "c"))).unwrap();
    bench.registry.detach(0);
    let mut attached = bench.attach_shards(&["d"]);
    assert_eq!(bench.asks(), "SUNSUBSCRIBE a SUNSUBSCRIBE c SSUBSCRIBE d");
    // Unasked, then the answers: of `a` it is the refusal, which belongs to nothing any more.
    bench.receives(&confirmation("sunsubscribe", "a")).unwrap();
    bench.receives(&format!("-MOVED {SLOT} h:1\r\n")).unwrap();
    bench.receives(&(confirmation("sunsubscribe", "c") + &confirmation("ssubscribe", "d"))).unwrap();
    assert!(matches!(attached.try_recv(), Ok(Ok(()))));
    assert!(bench.session.is_idle() && bench.session.has_moved());
    // Or only the refusal.
    let _attached = bench.attach_shards(&["a"]);
    bench.asks();
    bench.receives(&confirmation("ssubscribe", "a")).unwrap();
    bench.registry.detach(1);
    assert_eq!(bench.asks(), "SUNSUBSCRIBE a");
    bench.receives(&format!("-MOVED {SLOT} h:1\r\n")).unwrap();
    assert!(bench.session.is_idle() && bench.asks().is_empty());
}

#[test]
fn a_shard_channel_that_the_node_ends_is_a_gap_of_a_moved_slot() {
    let mut bench = on_a_node();
    let _attached = bench.attach_shards(&["a"]);
    bench.asks();
    bench.receives(&(confirmation("ssubscribe", "a") + &confirmation("sunsubscribe", "a"))).unwrap();
    assert!(bench.session.has_moved());
    assert_eq!(bench.asks(), "SSUBSCRIBE a");
    bench.receives(&confirmation("ssubscribe", "a")).unwrap();
    let mut items = VecDeque::new();
    let _ = bench.inbox.poll_take(&mut Context::from_waker(Waker::noop()), &mut items, 100);
    assert!(matches!(&items[0], Item::Gap(gap) if gap.cause == GapCause::SlotMoved), "{items:?}");
}
