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
        let Origin::Broadcast { token } = frame.origin() else { panic!("it came to an inbox") };
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

/// A message of so many bytes, in memory of its own.
fn message(size: usize) -> Item {
    let length = u32::try_from(size).unwrap();
    let bytes = Bytes::from(vec![b'x'; size]);
    Item::Frame(Frame::new(bytes, 0..1, 1..length, Origin::Broadcast { token: 0 }, Instant::now()))
}

fn push_sizes(inbox: &Inbox, sizes: &[usize]) -> Wish {
    inbox.push(&mut sizes.iter().map(|&size| message(size)).collect())
}

fn poll(inbox: &Inbox, limit: usize) -> (Poll<bool>, VecDeque<Item>) {
    let mut items = VecDeque::new();
    (inbox.poll_take(&mut Context::from_waker(Waker::noop()), &mut items, limit), items)
}

/// Sizes of messages, and how many were dropped as a negative number.
fn taken(inbox: &Inbox, limit: usize) -> Vec<i64> {
    let describe = |item: &Item| match item {
        Item::Lagged(count) => -i64::try_from(*count).unwrap(),
        other => i64::try_from(load(other).unwrap()).unwrap(),
    };
    poll(inbox, limit).1.iter().map(describe).collect()
}

#[test]
fn the_oldest_are_dropped_until_the_rest_is_within_the_bound_in_bytes() {
    let inbox = Inbox::new(Bounds { messages: 100, bytes: 100 }, WhenFull::DropOldest);
    let _ = push_sizes(&inbox, &[40, 40, 20]);
    let _ = push_sizes(&inbox, &[1]);
    let _ = push_sizes(&inbox, &[39]);
    assert_eq!(taken(&inbox, 1), [-1, 40], "the bound itself is allowed, and what was dropped makes room");
    let _ = push_sizes(&inbox, &[40]);
    assert_eq!(inbox.traffic().unwrap().dropped, 1, "what was taken makes room");
    let _ = push_sizes(&inbox, &[1]);
    assert_eq!(taken(&inbox, 10), [-1, 1, 39, 40, 1], "but no more than its own");
    let _ = push_sizes(&inbox, &[10, 500]);
    assert_eq!(taken(&inbox, 10), [-1, 500], "the newest stays, however large it is");
}

#[test]
fn a_newest_that_does_not_fit_in_bytes_is_dropped() {
    let inbox = Inbox::new(Bounds { messages: 100, bytes: 100 }, WhenFull::DropNewest);
    let _ = push_sizes(&inbox, &[60, 41, 40, 1, 2]);
    assert_eq!(taken(&inbox, 10), [60, -1, 40, -2]);
    let _ = push_sizes(&inbox, &[500, 1]);
    assert_eq!(taken(&inbox, 10), [500, -1], "the first always fits");
}

#[test]
fn what_has_gone_through_is_counted() {
    let inbox = Inbox::new(Bounds { messages: 2, bytes: 1_000 }, WhenFull::DropOldest);
    let seen = |inbox: &Inbox| {
        let traffic = inbox.traffic().unwrap();
        (traffic.messages, traffic.bytes, traffic.dropped, traffic.waiting, traffic.last.is_some())
    };
    inbox.push(&mut vec![gap()]);
    assert_eq!(seen(&inbox), (0, 0, 0, 0, false), "news are no messages");
    let _ = push_sizes(&inbox, &[10, 20]);
    inbox.push(&mut vec![Item::Oversized { token: 0, channel: vec![b'c'; 5], head: vec![b'h'; 2], size: 1_000_000 }]);
    assert_eq!(seen(&inbox), (3, 37, 1, 2, true), "what was skipped has the bytes that are kept of it");
    let _ = poll(&inbox, 100);
    assert_eq!(seen(&inbox), (3, 37, 1, 0, true));
    assert!(Inbox::direct(Arc::new(PutsOff::default())).traffic().is_none());
}

#[test]
fn an_inbox_with_a_newest_dropped_counts_it() {
    let inbox = Inbox::new(Bounds { messages: 1, bytes: 1_000 }, WhenFull::DropNewest);
    let _ = push_sizes(&inbox, &[1, 1, 1]);
    assert_eq!(inbox.traffic().unwrap().dropped, 2);
}

#[test]
fn it_says_once_that_it_fell_behind_until_it_has_caught_up() {
    for when_full in [WhenFull::DropOldest, WhenFull::DropNewest] {
        let inbox = Inbox::new(Bounds { messages: 2, bytes: 1_000 }, when_full);
        push(&inbox, 2);
        assert!(!inbox.fell_behind(), "it is full, and has dropped nothing");
        push(&inbox, 1);
        assert!(inbox.fell_behind() && !inbox.fell_behind());
        push(&inbox, 1);
        let _ = take(&inbox, 1);
        push(&inbox, 2);
        assert!(!inbox.fell_behind(), "it has not caught up");
        let _ = take(&inbox, 10);
        push(&inbox, 2);
        assert!(!inbox.fell_behind());
        push(&inbox, 1);
        assert!(inbox.fell_behind());
    }
}

/// A slow consumer holds at most 16 read buffers; what comes behind them is copied out.
#[test]
fn frames_are_copied_while_sixteen_batches_are_there() {
    let inbox = Inbox::new(Bounds { messages: 100, bytes: 1_000 }, WhenFull::DropOldest);
    let buffer = Bytes::from(vec![b'x'; 64]);
    let shares_the_buffer = |item: &Item| match item {
        Item::Frame(frame) => buffer.as_ptr_range().contains(&frame.payload().as_ptr()),
        _ => false,
    };
    let push_batch = || {
        let frame = Frame::new(buffer.clone(), 0..1, 1..2, Origin::Broadcast { token: 0 }, Instant::now());
        inbox.push(&mut vec![Item::Frame(frame.clone()), Item::Frame(frame)]);
    };
    (0..18).for_each(|_| push_batch());
    let shared: Vec<_> = poll(&inbox, 100).1.iter().map(shares_the_buffer).collect();
    assert_eq!(shared, [vec![true; 32], vec![false; 4]].concat());
    (0..16).for_each(|_| push_batch());
    assert!(poll(&inbox, 100).1.iter().all(shares_the_buffer));
    (0..16).for_each(|_| push_batch());
    let _ = take(&inbox, 1);
    push_batch();
    let _ = take(&inbox, 3);
    push_batch();
    let shared: Vec<_> = poll(&inbox, 100).1.iter().map(shares_the_buffer).collect();
    assert_eq!(shared, [vec![true; 28], vec![false; 2], vec![true; 2]].concat(), "half a batch holds its buffer");
}

#[test]
fn batches_that_were_dropped_hold_nothing() {
    let inbox = Inbox::new(Bounds { messages: 4, bytes: 1_000 }, WhenFull::DropOldest);
    (0..40).for_each(|_| assert!(!push(&inbox, 2)));
    assert_eq!(inbox.lock().batches, [2, 2]);
    assert_eq!(take(&inbox, 3), (3, 76));
    assert_eq!(inbox.lock().batches, [1]);
    assert_eq!(take(&inbox, 100), (1, 0));
    assert!(inbox.lock().batches.is_empty());
}

#[test]
fn whoever_waits_for_the_consumer_goes_on_when_all_but_the_last_batch_was_taken() {
    let inbox = Inbox::new(Bounds { messages: 100, bytes: 1_000 }, WhenFull::Wait);
    let pushed = || {
        let frame = Frame::new(Bytes::from_static(b"ab"), 0..1, 1..2, Origin::Broadcast { token: 0 }, Instant::now());
        inbox.push(&mut vec![Item::Frame(frame.clone()), Item::Frame(frame)])
    };
    let mut context = Context::from_waker(Waker::noop());
    assert_eq!(pushed(), Wish::Nothing);
    assert!(std::pin::pin!(inbox.has_caught_up()).poll(&mut context).is_ready());
    assert_eq!(pushed(), Wish::ToGiveWay);
    let mut caught_up = std::pin::pin!(inbox.has_caught_up());
    assert!(caught_up.as_mut().poll(&mut context).is_pending());
    let _ = take(&inbox, 1);
    assert!(caught_up.as_mut().poll(&mut context).is_pending(), "one of the first batch is there");
    let _ = take(&inbox, 1);
    assert!(caught_up.as_mut().poll(&mut context).is_ready());
    assert_eq!(pushed(), Wish::ToGiveWay);
    let mut caught_up = std::pin::pin!(inbox.has_caught_up());
    assert!(caught_up.as_mut().poll(&mut context).is_pending());
    inbox.detached();
    assert!(caught_up.as_mut().poll(&mut context).is_ready(), "nobody takes anything any more");
}

#[test]
fn whoever_waits_for_space_goes_on_when_enough_was_taken() {
    for when_full in [WhenFull::Wait, WhenFull::Block] {
        let inbox = Inbox::new(Bounds { messages: 1, bytes: 1_000 }, when_full);
        let mut context = Context::from_waker(Waker::noop());
        assert!(std::pin::pin!(inbox.has_space()).poll(&mut context).is_ready());
        push(&inbox, 3);
        assert_eq!(inbox.is_blocked(), when_full == WhenFull::Block);
        let mut space = std::pin::pin!(inbox.has_space());
        assert!(space.as_mut().poll(&mut context).is_pending());
        let _ = take(&inbox, 1);
        assert!(space.as_mut().poll(&mut context).is_pending(), "two are more than one");
        let _ = take(&inbox, 1);
        assert!(space.as_mut().poll(&mut context).is_ready() && !inbox.is_blocked());
        push(&inbox, 1);
        let mut space = std::pin::pin!(inbox.has_space());
        assert!(space.as_mut().poll(&mut context).is_pending());
        inbox.close();
        assert!(space.as_mut().poll(&mut context).is_ready(), "nothing more goes in");
        assert!(!inbox.is_blocked());
    }
}

#[test]
fn what_is_pushed_wakes_whoever_found_nothing() {
    struct Wakes(AtomicBool);

    impl std::task::Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    let inbox = Inbox::new(Bounds { messages: 10, bytes: 1_000 }, WhenFull::DropOldest);
    let ends: [fn(&Inbox); 2] = [|inbox| assert!(!push(inbox, 1)), Inbox::close];
    for end in ends {
        let woken = Arc::new(Wakes(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut items = VecDeque::new();
        assert!(inbox.poll_take(&mut Context::from_waker(&waker), &mut items, 10).is_pending());
        assert!(!woken.0.load(Ordering::Relaxed));
        end(&inbox);
        assert!(woken.0.load(Ordering::Relaxed));
        let _ = poll(&inbox, 10);
    }
    assert!(!push(&inbox, 1));
    assert_eq!(poll(&inbox, 10).0, Poll::Ready(false), "closed");
}

#[test]
fn a_token_has_its_template_where_that_is_known() {
    let inbox = Inbox::new(Bounds { messages: 1, bytes: 1 }, WhenFull::DropOldest).with_templates(vec!["a", "<b>"]);
    assert_eq!([0, 1, 2].map(|token| inbox.template(token)), [Some("a"), Some("<b>"), None]);
    assert_eq!(format!("{inbox:?}"), "Inbox { bounds: Bounds { messages: 1, bytes: 1 }, .. }");
}

#[test]
fn an_inbox_says_what_it_is() {
    let bounds = Bounds { messages: 1, bytes: 1 };
    let held = Inbox::new(bounds, WhenFull::Wait);
    assert!(!held.is_direct() && held.is_listed());
    assert!(!held.unlisted().is_listed());
    assert!(Inbox::direct(Arc::new(PutsOff::default())).is_direct());
}

#[test]
fn nothing_is_no_batch() {
    let inbox = Inbox::new(Bounds { messages: 100, bytes: 1_000 }, WhenFull::Wait);
    assert_eq!(push_sizes(&inbox, &[]), Wish::Nothing);
    assert_eq!(push_sizes(&inbox, &[1]), Wish::Nothing, "its consumer has not left anything");
}

#[test]
fn wishes_add_up() {
    let full = Arc::new(Inbox::new(Bounds { messages: 0, bytes: 0 }, WhenFull::Wait));
    let direct = Arc::new(PutsOff::default());
    let unread = Arc::new(Inbox::direct(Arc::clone(&direct) as Arc<dyn Direct>));
    let (mut wishes, mut others) = (Wishes::default(), Wishes::default());
    let put_off = Frame::new(Bytes::from_static(b"b"), 0..1, 1..1, Origin::Broadcast { token: 7 }, Instant::now());
    others.push(&full, &mut vec![message(1)]);
    others.push(&unread, &mut vec![Item::Frame(put_off)]);
    wishes.append(others);
    let behind = Arc::new(Inbox::new(Bounds { messages: 10, bytes: 10 }, WhenFull::Wait));
    for _ in 0..2 {
        wishes.push(&behind, &mut vec![message(1)]);
    }
    let gives_way = wishes.take_behind();
    assert!(gives_way.len() == 1 && Arc::ptr_eq(&gives_way[0], &behind) && wishes.take_behind().is_empty());
    assert_eq!(wishes.read().len(), 1);
    assert_eq!(*direct.taken.lock().unwrap(), [7]);
}
