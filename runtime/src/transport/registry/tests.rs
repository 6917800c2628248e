use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::FutureExt;

use crate::{
    config::Bounds,
    error::SubscribeError,
    transport::{
        contract::{Name, Reach, Wanted},
        events::{BusEvent, BusEvents, Events},
        frame::{Frame, Origin},
        inbox::{Inbox, Item, WhenFull},
        registry::{
            attached::{Confirmation, Registry},
            standing::{Command, CommandBounds, Verb, one_group},
        },
        status::{GapCause, NameKind, SubscriptionState},
    },
};

pub(super) const BOUNDS: CommandBounds = CommandBounds { names: 3, bytes: 1_000, group: one_group };

pub(super) fn inbox() -> Arc<Inbox> {
    Arc::new(Inbox::new(Bounds { messages: 100, bytes: 10_000 }, WhenFull::DropOldest))
}

pub(super) fn channel(text: &str, token: u32) -> Wanted {
    Wanted { name: Name { text: text.into(), kind: NameKind::Channel }, token }
}

fn pattern(text: &str, token: u32) -> Wanted {
    Wanted { name: Name { text: text.into(), kind: NameKind::Pattern }, token }
}

pub(super) fn frame(token: u32) -> Item {
    Item::Frame(Frame::new(Bytes::from_static(b"ab"), 0..1, 1..2, Origin::Broadcast { token }, Instant::now()))
}

pub(super) fn refusal(name: &Name) -> SubscribeError {
    SubscribeError::Refused { channel: name.text.clone(), reason: "no".into(), rule: "rule".into() }
}

pub(super) fn cause() -> GapCause {
    GapCause::Disconnected("test".into())
}

/// What the inbox holds, in short.
pub(super) fn taken(inbox: &Inbox) -> Vec<String> {
    let mut items = VecDeque::new();
    let _ = inbox.poll_take(&mut Context::from_waker(Waker::noop()), &mut items, 1_000);
    let describe = |item| match item {
        Item::Frame(frame) => {
            let Origin::Broadcast { token } = frame.origin() else { panic!("it came to an inbox") };
            format!("frame {token}")
        }
        Item::Gap(gap) => format!("gap {}", gap.lasted.as_secs()),
        Item::Refused(SubscribeError::Refused { channel, .. }) => format!("refused {channel}"),
        other => format!("{other:?}"),
    };
    items.into_iter().map(describe).collect()
}

/// Sends every command that is due, as `SUBSCRIBE a b`, without answering.
fn sent(registry: &mut Registry) -> Vec<(Command, String)> {
    let mut sent = Vec::new();
    while let Some(command) = registry.next_command(BOUNDS) {
        let names: Vec<_> = command.names.iter().map(|&id| registry.name(id).unwrap().text.clone()).collect();
        let text = format!("{:?} {}", command.verb, names.join(" "));
        sent.push((command, text));
    }
    sent
}

/// Sends and confirms everything.
pub(super) fn settle(registry: &mut Registry, now: Instant) -> Vec<String> {
    let mut texts = Vec::new();
    loop {
        let commands = sent(registry);
        if commands.is_empty() {
            return texts;
        }
        for (command, text) in commands {
            texts.push(text);
            command.names.iter().for_each(|&id| registry.confirmed(command.verb, id, now));
        }
    }
}

#[test]
fn subscribes_a_name_once_however_many_inboxes_want_it() {
    let mut registry = Registry::new(Confirmation::ByServer);
    let now = Instant::now();
    let (one, two) = (inbox(), inbox());
    let (first, mut attached) =
        registry.attach(Arc::clone(&one), vec![channel("a", 1), channel("b", 2), channel("a", 3)]);
    assert!(attached.try_recv().is_err());
    assert_eq!(settle(&mut registry, now), ["Subscribe a b"]);
    assert!(matches!(attached.try_recv(), Ok(Ok(()))));

    let (second, mut attached) = registry.attach(Arc::clone(&two), vec![channel("a", 7)]);
    assert!(matches!(attached.try_recv(), Ok(Ok(()))), "confirmed already");
    assert_eq!(settle(&mut registry, now), [""; 0]);

    assert!(registry.deliver(NameKind::Channel, b"a", frame));
    assert!(registry.deliver(NameKind::Channel, b"b", frame));
    assert!(!registry.deliver(NameKind::Pattern, b"a", frame));
    assert!(registry.flush().read().is_empty());
    assert_eq!(taken(&one), ["frame 1", "frame 2"]);
    assert_eq!(taken(&two), ["frame 7"]);

    registry.detach(first);
    registry.detach(first);
    assert_eq!(settle(&mut registry, now), ["Unsubscribe b"]);
    registry.detach(second);
    assert_eq!(settle(&mut registry, now), ["Unsubscribe a"]);
    assert_eq!(format!("{registry:?}"), "Registry { channels: 0, patterns: 0, listeners: 0, closed: None, .. }");
}

#[test]
fn needs_no_confirmation_in_memory() {
    let mut registry = Registry::new(Confirmation::Immediate);
    let inbox = inbox();
    let (id, mut attached) =
        registry.attach(Arc::clone(&inbox), vec![channel("a", 1), pattern("a*", 2), pattern("b*", 3)]);
    assert!(matches!(attached.try_recv(), Ok(Ok(()))));
    assert!(registry.deliver(NameKind::Channel, b"a", frame));
    assert_eq!(registry.deliver_matching(|pattern| pattern.starts_with('a'), frame), 1);
    let _ = registry.flush();
    assert_eq!(taken(&inbox), ["frame 1", "frame 2"]);
    registry.detach(id);
    assert!(!registry.deliver(NameKind::Channel, b"a", frame));
    assert!(registry.names.indices().is_empty());
}

#[test]
fn commands_are_bounded_and_hold_one_kind() {
    let mut registry = Registry::new(Confirmation::ByServer);
    let names = ["a", "b", "c", "d"].map(|name| channel(name, 0)).into_iter().chain([pattern("p", 0)]).collect();
    let (_, _attached) = registry.attach(inbox(), names);
    let texts: Vec<_> = sent(&mut registry).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["Subscribe a b c", "Subscribe d", "Subscribe p"]);
}

#[test]
fn a_name_wanted_again_during_its_unsubscribe_is_subscribed_after_it() {
    let mut registry = Registry::new(Confirmation::ByServer);
    let now = Instant::now();
    let (id, _attached) = registry.attach(inbox(), vec![channel("a", 1)]);
    settle(&mut registry, now);
    registry.detach(id);
    let (leaving, _) = sent(&mut registry).pop().unwrap();
    let (_, mut attached) = registry.attach(inbox(), vec![channel("a", 2)]);
    assert!(sent(&mut registry).is_empty());
    registry.confirmed(Verb::Unsubscribe, leaving.names[0], now);
    assert!(attached.try_recv().is_err());
    assert_eq!(settle(&mut registry, now), ["Subscribe a"]);
    assert!(matches!(attached.try_recv(), Ok(Ok(()))));
}

#[test]
fn a_name_dropped_and_wanted_again_at_once_costs_no_command() {
    let mut registry = Registry::new(Confirmation::ByServer);
    let (id, _attached) = registry.attach(inbox(), vec![channel("a", 1)]);
    settle(&mut registry, Instant::now());
    registry.detach(id);
    let (_, mut attached) = registry.attach(inbox(), vec![channel("a", 2)]);
    assert!(matches!(attached.try_recv(), Ok(Ok(()))));
    assert!(sent(&mut registry).is_empty());
}

#[test]
fn a_name_dropped_while_it_is_subscribed_is_unsubscribed_after_it() {
    let mut registry = Registry::new(Confirmation::ByServer);
    let (id, _attached) = registry.attach(inbox(), vec![channel("a", 1)]);
    let (asked, _) = sent(&mut registry).pop().unwrap();
    registry.detach(id);
    assert!(sent(&mut registry).is_empty());
    registry.confirmed(Verb::Subscribe, asked.names[0], Instant::now());
    assert_eq!(settle(&mut registry, Instant::now()), ["Unsubscribe a"]);
    assert!(registry.names.indices().is_empty());
}

#[test]
fn one_refused_name_fails_its_attach_and_leaves_the_others_alone() {
    let mut registry = Registry::new(Confirmation::ByServer);
    let now = Instant::now();
    let (good, bad) = (inbox(), inbox());
    let (_, mut good_attached) = registry.attach(good, vec![channel("a", 1)]);
    let (bad_id, mut bad_attached) = registry.attach(bad, vec![channel("b", 1), channel("secret", 2)]);
    let (command, text) = sent(&mut registry).pop().unwrap();
    assert_eq!(text, "Subscribe a b secret");
    registry.separate(&command.names);
    let alone = sent(&mut registry);
    assert_eq!(alone.len(), 3);
    for (command, text) in alone {
        match text.as_str() {
            "Subscribe secret" => registry.refused(command.names[0], refusal, now + Duration::from_secs(5)),
            _ => registry.confirmed(Verb::Subscribe, command.names[0], now),
        }
    }
    assert!(matches!(good_attached.try_recv(), Ok(Ok(()))));
    let refused = bad_attached.try_recv();
    assert!(matches!(refused, Ok(Err(SubscribeError::Refused { channel, .. })) if channel == "secret"));
    assert_eq!(settle(&mut registry, now), ["Unsubscribe b"], "the rest of the attach is rolled back");
    assert_eq!(registry.listeners.len(), 2, "the id is not used again before it is detached");
    registry.detach(bad_id);
    assert_eq!(registry.listeners.len(), 1);
    assert_eq!(registry.names.indices().len(), 1);
    assert_eq!(registry.rested(now), None);
}

#[test]
fn a_loss_is_told_once_it_is_over_and_counted_once() {
    let mut registry = Registry::new(Confirmation::ByServer);
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let early = inbox();
    let (_, _attached) = registry.attach(Arc::clone(&early), vec![channel("a", 1), channel("b", 2)]);
    settle(&mut registry, start);
    registry.connection_lost(&cause(), at(10));
    let late = inbox();
    let (_, mut attached) = registry.attach(Arc::clone(&late), vec![channel("a", 3)]);
    assert!(attached.try_recv().is_err(), "not before it is confirmed anew");

    let (command, _) = sent(&mut registry).pop().unwrap();
    registry.confirmed(Verb::Subscribe, command.names[0], at(15));
    registry.deliver(NameKind::Channel, b"a", frame);
    let _ = registry.flush();
    registry.confirmed(Verb::Subscribe, command.names[1], at(17));
    let _ = registry.flush();
    assert_eq!(taken(&early), ["gap 5", "frame 1", "gap 2"]);
    assert_eq!(taken(&late), ["frame 3"], "it was promised nothing before");
    assert!(matches!(attached.try_recv(), Ok(Ok(()))));
}

#[test]
fn a_name_refused_after_a_loss_is_reported_once_and_tried_again() {
    let mut registry = Registry::new(Confirmation::ByServer);
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let inbox = inbox();
    let (_, _attached) = registry.attach(Arc::clone(&inbox), vec![channel("a", 1)]);
    settle(&mut registry, start);
    registry.connection_lost(&cause(), at(1));
    for second in [2, 4] {
        let (command, _) = sent(&mut registry).pop().unwrap();
        registry.refused(command.names[0], refusal, at(second + 2));
        assert_eq!(registry.rested(at(second)), Some(at(second + 2)));
        assert!(sent(&mut registry).is_empty());
        assert_eq!(registry.rested(at(second + 2)), None);
    }
    let _ = registry.flush();
    assert_eq!(taken(&inbox), ["refused a"]);
    assert_eq!(settle(&mut registry, at(9)), ["Subscribe a"]);
    let _ = registry.flush();
    assert_eq!(taken(&inbox), ["gap 8"]);
}

#[test]
fn a_subscription_that_the_server_ends_is_made_anew() {
    let mut registry = Registry::new(Confirmation::ByServer);
    let now = Instant::now();
    let inbox = inbox();
    let (_, _attached) = registry.attach(Arc::clone(&inbox), vec![channel("a", 1)]);
    settle(&mut registry, now);
    let id = registry.find(NameKind::Channel, b"a").unwrap();
    registry.name_lost(id, &cause(), now);
    assert_eq!(settle(&mut registry, now + Duration::from_secs(3)), ["Subscribe a"]);
    let _ = registry.flush();
    assert_eq!(taken(&inbox), ["gap 3"]);
}

#[test]
fn a_connection_lost_during_an_attach_asks_for_every_name_again() {
    let mut registry = Registry::new(Confirmation::ByServer);
    let now = Instant::now();
    let (id, mut attached) = registry.attach(inbox(), vec![channel("a", 1), channel("b", 2)]);
    let (command, _) = sent(&mut registry).pop().unwrap();
    registry.confirmed(Verb::Subscribe, command.names[0], now);
    assert_eq!(registry.first_unconfirmed(id), Some(("b".to_owned(), None)));
    registry.put_off("LOADING".to_owned());
    assert_eq!(registry.first_unconfirmed(id), Some(("b".to_owned(), Some("LOADING".to_owned()))));
    registry.connection_lost(&cause(), now);
    assert_eq!(registry.first_unconfirmed(id), Some(("a".to_owned(), None)), "the next server may say something else");
    let (command, _) = sent(&mut registry).pop().unwrap();
    assert_eq!(command.names.len(), 2);
    registry.confirmed(Verb::Subscribe, command.names[0], now);
    assert!(attached.try_recv().is_err());
    registry.confirmed(Verb::Subscribe, command.names[1], now);
    assert!(matches!(attached.try_recv(), Ok(Ok(()))));
}

#[test]
fn closing_ends_inboxes_and_attaches() {
    let mut registry = Registry::new(Confirmation::ByServer);
    let inbox = inbox();
    let (_, mut attached) = registry.attach(Arc::clone(&inbox), vec![channel("a", 1)]);
    registry.close_all("gave up");
    assert!(matches!(attached.try_recv(), Ok(Err(SubscribeError::Closed { .. }))));
    let mut items = VecDeque::new();
    for open in [true, false] {
        let taken = inbox.poll_take(&mut Context::from_waker(Waker::noop()), &mut items, 1);
        assert!(matches!(taken, std::task::Poll::Ready(more) if more == open));
    }
    assert!(matches!(items.pop_back(), Some(Item::Ended(reason)) if reason == "gave up"));
    let (_, mut attached) = registry.attach(inbox, vec![channel("a", 1)]);
    assert!(matches!(attached.try_recv(), Ok(Err(SubscribeError::Closed { .. }))));
}

/// What has been told since the last question.
fn told(events: &mut BusEvents) -> Vec<BusEvent> {
    std::iter::from_fn(|| events.next().now_or_never().flatten()).collect()
}

#[test]
fn commands_are_bounded_in_bytes() {
    let mut registry = Registry::new(Confirmation::ByServer);
    let name = |letter: &str| channel(&letter.repeat(400), 0);
    let (_, _attached) = registry.attach(inbox(), ["a", "b", "c"].map(name).into());
    let lengths: Vec<_> = sent(&mut registry).into_iter().map(|(command, _)| command.names.len()).collect();
    assert_eq!(lengths, [2, 1]);
}

#[test]
fn detaching_takes_nothing_from_others() {
    let mut registry = Registry::new(Confirmation::Immediate);
    let (leaving, staying) = (inbox(), inbox());
    let (id, _attached) = registry.attach(Arc::clone(&leaving), vec![channel("a", 1)]);
    let (_, _attached) = registry.attach(Arc::clone(&staying), vec![channel("a", 2)]);
    assert!(registry.deliver(NameKind::Channel, b"a", frame));
    registry.detach(id);
    let _ = registry.flush();
    assert_eq!((taken(&leaving).len(), taken(&staying)), (0, vec!["frame 2".to_owned()]));
}

#[test]
fn names_are_known_as_long_as_they_are_wanted() {
    let mut registry = Registry::new(Confirmation::ByServer);
    assert!(registry.is_empty());
    let (id, _attached) = registry.attach(inbox(), vec![channel("a", 1), pattern("b*", 2)]);
    assert!(!registry.is_empty());
    assert_eq!(registry.find(NameKind::Channel, b"b*"), None);
    let name = registry.find(NameKind::Pattern, b"b*").unwrap();
    settle(&mut registry, Instant::now());
    assert!(registry.is_wanted(name));
    let shown = format!("{registry:?}");
    assert_eq!(shown, "Registry { channels: 1, patterns: 1, listeners: 1, closed: None, .. }");
    registry.detach(id);
    assert!(!registry.is_wanted(name), "the server still has it");
    settle(&mut registry, Instant::now());
    assert!(registry.is_empty() && registry.find(NameKind::Pattern, b"b*").is_none());
}

#[test]
fn a_full_inbox_that_drops_nothing_blocks_the_channels_that_it_wants() {
    let mut registry = Registry::new(Confirmation::Immediate);
    let bounds = Bounds { messages: 0, bytes: 0 };
    let full = |when_full| {
        let inbox = Arc::new(Inbox::new(bounds, when_full));
        inbox.push(&mut vec![frame(0)]);
        inbox
    };
    let matches = |channel: &'static str| move |pattern: &str| pattern.starts_with(&channel[..1]);
    let blocked = |registry: &Registry, channel| registry.blocked(Reach::Channel, channel, matches(channel)).is_some();
    let (_, _attached) = registry.attach(full(WhenFull::DropOldest), vec![channel("a", 0)]);
    let (_, _attached) = registry.attach(Arc::new(Inbox::new(bounds, WhenFull::Block)), vec![channel("a", 0)]);
    assert!(!blocked(&registry, "a"));
    let (_, _attached) = registry.attach(full(WhenFull::Block), vec![channel("a", 0), pattern("b*", 0)]);
    let asked = ["a", "ab", "b", "bc", "c"].map(|channel| blocked(&registry, channel));
    assert_eq!(asked, [true, false, true, true, false]);
}

#[test]
fn what_is_attached_is_shown_with_its_names_and_their_states() {
    let mut registry = Registry::new(Confirmation::ByServer);
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let shown = Inbox::new(Bounds { messages: 1, bytes: 100 }, WhenFull::DropOldest).with_templates(vec!["a", "<b>"]);
    let (_, _attached) = registry.attach(Arc::new(shown), vec![channel("a", 0), pattern("*", 1), channel("c", 7)]);
    settle(&mut registry, start);
    assert_eq!(registry.active(), 3);
    registry.connection_lost(&cause(), start);
    assert_eq!((registry.active(), sent(&mut registry).len()), (0, 3));
    registry.confirmed(Verb::Subscribe, registry.find(NameKind::Channel, b"a").unwrap(), start);
    registry.refused(registry.find(NameKind::Channel, b"c").unwrap(), refusal, at(60));
    for _ in 0..3 {
        registry.deliver(NameKind::Channel, b"a", frame);
    }
    let _ = registry.flush();
    let (_, _attached) = registry.attach(inbox(), vec![channel("a", 0)]);
    assert_eq!(registry.active(), 1);
    let [snapshot, other] = registry.snapshots(at(60)).try_into().unwrap();
    let names: Vec<_> = snapshot.names.iter().map(|name| (name.name.as_str(), name.template, name.state)).collect();
    let expected = [
        ("a", Some("a"), SubscriptionState::Active),
        ("c", None, SubscriptionState::Refused),
        ("*", Some("<b>"), SubscriptionState::Pending),
    ];
    for name in expected {
        assert!(names.contains(&name), "{names:?}");
    }
    assert_eq!((snapshot.messages, snapshot.bytes, snapshot.dropped, snapshot.waiting), (3, 6, 2, 1));
    assert!(snapshot.last_activity.is_some_and(|ago| ago <= Duration::from_secs(60)) && other.last_activity.is_none());
    assert_eq!((other.names.len(), other.names[0].template, other.messages), (1, None, 0));
}

#[test]
fn refusals_and_losses_are_told_once_each() {
    let events = Events::new(Instant::now());
    let mut heard = events.subscribe();
    let mut registry = Registry::new(Confirmation::ByServer).telling(events);
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let refused = BusEvent::Refused { channel: "a".into(), reason: refusal_text() };
    let first = inbox();
    let (_, _attached) = registry.attach(Arc::clone(&first), vec![channel("a", 1)]);
    settle(&mut registry, start);
    registry.connection_lost(&cause(), start);
    for (second, events, items) in [(1, vec![refused.clone()], vec!["refused a"]), (2, vec![], vec![])] {
        let (command, _) = sent(&mut registry).pop().unwrap();
        registry.refused(command.names[0], refusal, at(second));
        registry.rested(at(second));
        let _ = registry.flush();
        assert_eq!(told(&mut heard), events);
        assert_eq!(taken(&first), items);
    }
    let (_, mut attached) = registry.attach(inbox(), vec![channel("a", 1)]);
    let (command, _) = sent(&mut registry).pop().unwrap();
    registry.refused(command.names[0], refusal, at(3));
    assert!(matches!(attached.try_recv(), Ok(Err(SubscribeError::Refused { .. }))));
    assert_eq!(told(&mut heard), [refused], "an attach that fails is news");

    let small = Arc::new(Inbox::new(Bounds { messages: 1, bytes: 100 }, WhenFull::DropOldest));
    let (_, _attached) = registry.attach(Arc::clone(&small), vec![channel("b", 1)]);
    for _ in 0..4 {
        registry.deliver(NameKind::Channel, b"b", frame);
        let _ = registry.flush();
    }
    assert_eq!(told(&mut heard), [BusEvent::Lagging { channel: "b".into() }]);
}

fn refusal_text() -> String {
    refusal(&Name { text: "a".into(), kind: NameKind::Channel }).to_string()
}

#[test]
fn each_pattern_that_matches_delivers() {
    let mut registry = Registry::new(Confirmation::Immediate);
    let inbox = inbox();
    let (_, _attached) = registry.attach(Arc::clone(&inbox), vec![pattern("a*", 1), pattern("*b", 2), pattern("c", 3)]);
    assert_eq!(registry.deliver_matching(|pattern| pattern.contains('*'), frame), 2);
    let _ = registry.flush();
    let mut frames = taken(&inbox);
    frames.sort();
    assert_eq!(frames, ["frame 1", "frame 2"]);
}

/// Whether nothing more comes for an inbox that leaves.
fn has_left(left: &mut tokio::sync::oneshot::Receiver<()>) -> bool {
    left.now_or_never().is_some()
}

#[test]
fn who_leaves_gets_what_comes_until_the_server_has_confirmed_it() {
    let mut registry = Registry::new(Confirmation::ByServer);
    let now = Instant::now();
    let (one, other) = (inbox(), inbox());
    let (id, _) = registry.attach(Arc::clone(&one), vec![channel("own", 1), channel("both", 2)]);
    registry.attach(Arc::clone(&other), vec![channel("both", 3)]);
    settle(&mut registry, now);
    let mut left = registry.leave(id);
    assert!(!has_left(&mut left));
    let commands = sent(&mut registry);
    assert_eq!(commands.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["Unsubscribe own"]);
    registry.deliver(NameKind::Channel, b"own", frame);
    // What others want too is left at once, as the server confirms nothing.
    registry.deliver(NameKind::Channel, b"both", frame);
    let _ = registry.flush();
    assert_eq!((taken(&one), taken(&other)), (vec!["frame 1".to_owned()], vec!["frame 3".to_owned()]));
    for (command, _) in commands {
        command.names.iter().for_each(|&name| registry.confirmed(command.verb, name, now));
    }
    assert!(has_left(&mut left));
    registry.deliver(NameKind::Channel, b"own", frame);
    let _ = registry.flush();
    assert!(taken(&one).is_empty());
    registry.detach(id);
    assert!(sent(&mut registry).is_empty());
}

#[test]
fn whoever_wants_a_name_that_somebody_leaves_gets_it_again() {
    let mut registry = Registry::new(Confirmation::ByServer);
    let now = Instant::now();
    let (id, _) = registry.attach(inbox(), vec![channel("own", 1)]);
    settle(&mut registry, now);
    let mut left = registry.leave(id);
    let commands = sent(&mut registry);
    let next = inbox();
    let (_, mut attached) = registry.attach(Arc::clone(&next), vec![channel("own", 2)]);
    for (command, _) in commands {
        command.names.iter().for_each(|&name| registry.confirmed(command.verb, name, now));
    }
    assert!(has_left(&mut left) && attached.try_recv().is_err());
    assert_eq!(settle(&mut registry, now), ["Subscribe own"]);
    assert!(matches!(attached.try_recv(), Ok(Ok(()))));
    registry.deliver(NameKind::Channel, b"own", frame);
    let _ = registry.flush();
    assert_eq!(taken(&next), ["frame 2"]);
}

#[test]
fn who_leaves_is_not_kept_waiting_by_a_connection_that_is_gone() {
    let mut registry = Registry::new(Confirmation::ByServer);
    let now = Instant::now();
    let (id, _) = registry.attach(inbox(), vec![channel("own", 1)]);
    settle(&mut registry, now);
    let mut left = registry.leave(id);
    assert_eq!(sent(&mut registry).len(), 1);
    registry.connection_lost(&cause(), now);
    assert!(has_left(&mut left));
    assert!(sent(&mut registry).is_empty());
    // And not at all where there is none.
    let (id, _) = registry.attach(inbox(), vec![channel("own", 1)]);
    assert!(has_left(&mut registry.leave(id)));
    let (id, _) = registry.attach(inbox(), vec![channel("other", 1)]);
    settle(&mut registry, now);
    let mut left = registry.leave(id);
    registry.close_all("over");
    assert!(has_left(&mut left));
}

#[test]
fn a_shard_channel_is_another_name_than_the_channel_and_no_pattern_matches_it() {
    let mut registry = Registry::new(Confirmation::ByServer);
    let inbox = inbox();
    let shard = Wanted { name: Name { text: "ab".into(), kind: NameKind::ShardChannel }, token: 3 };
    registry.attach(Arc::clone(&inbox), vec![channel("ab", 1), pattern("a*", 2), shard]);
    settle(&mut registry, Instant::now());
    assert!(registry.deliver(NameKind::ShardChannel, b"ab", frame));
    assert!(registry.deliver(NameKind::Channel, b"ab", frame));
    let _ = registry.flush();
    assert_eq!(taken(&inbox), ["frame 3", "frame 1"]);
}

#[test]
fn who_leaves_a_name_that_others_begin_to_want_is_not_kept_waiting() {
    let mut registry = Registry::new(Confirmation::ByServer);
    let now = Instant::now();
    let (id, _) = registry.attach(inbox(), vec![channel("both", 1)]);
    settle(&mut registry, now);
    let mut left = registry.leave(id);
    // Before the server was asked to unsubscribe it.
    let (_, mut attached) = registry.attach(inbox(), vec![channel("both", 2)]);
    assert!(matches!(attached.try_recv(), Ok(Ok(()))));
    assert!(has_left(&mut left));
    assert!(sent(&mut registry).is_empty());
}

#[test]
fn who_leaves_a_name_that_the_server_would_not_renew_is_not_kept_waiting() {
    let mut registry = Registry::new(Confirmation::ByServer);
    let now = Instant::now();
    let (id, _) = registry.attach(inbox(), vec![channel("own", 1)]);
    settle(&mut registry, now);
    registry.connection_lost(&cause(), now);
    let (command, _) = sent(&mut registry).pop().unwrap();
    registry.refused(command.names[0], refusal, now + Duration::from_secs(5));
    let _ = registry.flush();
    assert!(has_left(&mut registry.leave(id)));
    registry.detach(id);
    assert!(sent(&mut registry).is_empty() && registry.is_empty());
}
