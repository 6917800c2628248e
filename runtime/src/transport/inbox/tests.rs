use std::time::Duration;

use bytes::Bytes;

use crate::transport::{frame::Origin, status::GapCause};

use super::*;

fn push(inbox: &Inbox, count: usize) -> bool {
    let frame = Frame::new(Bytes::from_static(b"ab"), 0..1, 1..2, Origin::Broadcast { token: 0 }, Instant::now());
    inbox.push(&mut (0..count).map(|_| Item::Frame(frame.clone())).collect()) == Wish::ToWait
}

/// How many messages, and how many were dropped.
fn take(inbox: &Inbox, limit: usize) -> (usize, u64) {
    let mut items = VecDeque::new();
    let _ = inbox.poll_take(&mut Context::from_waker(Waker::noop()), &mut items, limit);
    items.iter().fold((0, 0), |(messages, lagged), item| match item {
        Item::Lagged(count) => (messages, lagged + count),
        _ => (messages + 1, lagged),
    })
}

#[test]
fn an_inbox_that_drops_the_newest_says_so_at_their_place() {
    let inbox = Inbox::new(Bounds { messages: 3, bytes: 1_000 }, WhenFull::DropNewest);
    assert!(!push(&inbox, 5));
    assert_eq!(take(&inbox, 2), (2, 0));
    assert!(!push(&inbox, 4));
    assert_eq!(take(&inbox, 2), (1, 2), "the first loss stands after the third message");
    assert_eq!(take(&inbox, 10), (2, 2));
}

#[test]
fn an_inbox_that_blocks_drops_nothing_and_asks_the_reader_to_wait() {
    let inbox = Inbox::new(Bounds { messages: 3, bytes: 1_000 }, WhenFull::Block);
    assert!(!push(&inbox, 3));
    assert!(push(&inbox, 2) && inbox.is_blocked());
    inbox.stop_waiting();
    assert!(push(&inbox, 1), "it never loses patience");
    assert_eq!(take(&inbox, 100), (6, 0));
    assert!(!inbox.is_blocked());
}

#[test]
fn an_inbox_that_is_no_longer_waited_for_drops_its_oldest_until_it_was_empty() {
    let inbox = Inbox::new(Bounds { messages: 10, bytes: 1_000 }, WhenFull::Wait);
    assert!(!push(&inbox, 10));
    inbox.stop_waiting();
    assert!(push(&inbox, 10), "there was space, so the reader still waits");
    inbox.stop_waiting();
    assert!(!push(&inbox, 5));
    assert_eq!(take(&inbox, 4), (4, 15));
    assert!(!push(&inbox, 6));
    assert_eq!(take(&inbox, 100), (10, 2));
    assert!(push(&inbox, 11), "caught up: the reader waits again, and nothing is dropped");
    assert_eq!(take(&inbox, 100), (11, 0));
}

fn gap() -> Item {
    Item::Gap(Gap { cause: GapCause::Timeout, lasted: Duration::from_secs(1) })
}

fn refused(channel: &str) -> Item {
    let (channel, reason, rule) = (channel.to_owned(), String::new(), String::new());
    Item::Refused(SubscribeError::Refused { channel, reason, rule })
}

#[test]
fn news_are_merged_when_what_lay_between_them_is_dropped() {
    for when_full in [WhenFull::DropOldest, WhenFull::DropNewest] {
        let inbox = Inbox::new(Bounds { messages: 2, bytes: 1_000 }, when_full);
        push(&inbox, 2);
        for _ in 0..20_000 {
            inbox.push(&mut vec![gap(), refused("a"), refused("b")]);
            push(&inbox, 1);
        }
        let mut items = VecDeque::new();
        let _ = inbox.poll_take(&mut Context::from_waker(Waker::noop()), &mut items, usize::MAX);
        let (mut gaps, mut lasted, mut lagged, mut messages) = (0, Duration::ZERO, 0, 0);
        assert!(items.len() < 12, "{} items", items.len());
        for item in items {
            match item {
                Item::Gap(gap) => (gaps, lasted) = (gaps + 1, lasted + gap.lasted),
                Item::Lagged(count) => lagged += count,
                Item::Frame(_) => messages += 1,
                _ => {}
            }
        }
        assert!((1..=2).contains(&gaps), "{gaps} gaps");
        assert_eq!((lasted, lagged, messages), (Duration::from_secs(20_000), 20_000, 2));
    }
}

#[test]
fn nobody_waits_for_space_in_an_inbox_that_is_detached() {
    let inbox = Inbox::new(Bounds { messages: 1, bytes: 1_000 }, WhenFull::Block);
    assert!(push(&inbox, 2) && inbox.is_blocked());
    let mut space = std::pin::pin!(inbox.has_space());
    let mut context = Context::from_waker(Waker::noop());
    assert!(space.as_mut().poll(&mut context).is_pending());
    inbox.detached();
    assert!(space.as_mut().poll(&mut context).is_ready() && !inbox.is_blocked());
    assert!(!push(&inbox, 1));
    assert_eq!(take(&inbox, 100), (2, 0));
}

/// Takes the channels `a` at once, and puts `b` off.
#[derive(Default)]
struct PutsOff {
    taken: Mutex<Vec<u32>>,
}

impl Direct for PutsOff {
    fn take(&self, item: Item) -> Option<Item> {
        let Item::Frame(frame) = item else { return None };
        if frame.channel() == b"b" {
            return Some(Item::Frame(frame));
        }
        self.read(Item::Frame(frame));
        None
    }

    fn read(&self, item: Item) {
        let Item::Frame(frame) = item else { return };
        let Origin::Broadcast { token } = frame.origin();
        self.taken.lock().unwrap().push(token);
    }
}

#[test]
fn what_comes_behind_something_that_was_put_off_is_put_off_too() {
    let direct = Arc::new(PutsOff::default());
    let inbox = Arc::new(Inbox::direct(Arc::clone(&direct) as Arc<dyn Direct>));
    let mut batch = (0..).zip(*b"abab").map(|(token, channel)| {
        let bytes = Bytes::copy_from_slice(&[channel]);
        Item::Frame(Frame::new(bytes, 0..1, 1..1, Origin::Broadcast { token }, Instant::now()))
    });
    let mut wishes = Wishes::default();
    wishes.push(&inbox, &mut batch.by_ref().take(3).collect());
    assert_eq!(*direct.taken.lock().unwrap(), [0]);
    wishes.push(&inbox, &mut batch.collect());
    let _ = wishes.read();
    assert_eq!(*direct.taken.lock().unwrap(), [0, 1, 2, 3]);
}
