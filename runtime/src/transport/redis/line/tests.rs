use std::time::Duration;

use futures_util::FutureExt;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
};

use crate::{
    codec::slot::Slot,
    transport::redis::answer::{Coming, Wakes, answer},
};

use super::*;

const ROOM: usize = 4 * 1024;

fn wait(line: &mut Line) -> Coming {
    let (answering, answered) = answer(Wakes::Always);
    line.wait(Instant::now(), Caller::One(answering));
    answered
}

#[test]
fn what_waits_is_bounded_and_room_is_told_of() {
    let mut line = Line::new(ROOM, false, None);
    let mut answered = Vec::new();
    while line.admit().is_ok() {
        answered.push(wait(&mut line));
        line.add([b"PUBLISH", b"a", &[b'x'; 256]]);
    }
    assert_eq!(line.admit().err(), Some(NotTaken::Full));
    assert!(line.unsent() <= ROOM && line.wants_room() && !line.has_room_again());
    let mut outgoing = BytesMut::new();
    line.take(&mut outgoing);
    assert_eq!(line.admit().err(), Some(NotTaken::Full), "what is not written yet counts");
    outgoing.clear();
    line.take(&mut outgoing);
    assert!(line.has_room_again() && !line.has_room_again() && line.admit().is_ok());
    // One command fits always.
    let mut line = Line::new(1, false, None);
    assert!(line.admit().is_ok());
}

fn ask(line: &mut Line) -> Coming {
    let answered = wait(line);
    line.add([b"PING"]);
    answered
}

#[test]
fn a_caller_writes_where_nothing_is_under_way_and_callers_come_one_by_one() {
    let mut line = Line::new(ROOM, false, None);
    let answers = |count| (0..count).map(Response::Integer).collect::<Vec<_>>();
    assert!(line.writer() == Writer::Caller && !line.wants_room());
    let _one = ask(&mut line);
    assert!(line.writer() == Writer::DriverAlready && line.unsent() == 14);
    line.take(&mut BytesMut::new());
    assert!(line.writer() == Writer::Driver, "an answer is due");
    line.answer(&mut answers(1)).unwrap();
    assert!(line.writer() == Writer::Caller);
    let _two = [ask(&mut line), ask(&mut line)];
    line.take(&mut BytesMut::new());
    line.answer(&mut answers(2)).unwrap();
    line.take(&mut BytesMut::new());
    assert!(line.writer() == Writer::Driver, "the last came together");
    let _one = ask(&mut line);
    assert!(line.answer(&mut answers(1)).is_err(), "it was not sent yet");
}

#[test]
fn a_ping_goes_ahead_of_a_caller_that_comes_alone_until_the_server_refuses_one() {
    let mut line = Line::new(ROOM, true, None);
    let alone = |line: &mut Line, pong| {
        line.ping_ahead(Instant::now());
        let (answered, bytes) = (ask(line), line.unsent());
        line.take(&mut BytesMut::new());
        line.answer(&mut vec![pong, Response::Integer(7)]).unwrap();
        assert!(matches!(answered.now_or_never(), Some(Ok(Response::Integer(7)))));
        assert!(line.is_empty() && line.writer() == Writer::Caller, "one caller is no crowd");
        bytes
    };
    assert_eq!(alone(&mut line, Response::Texts(Vec::new())), 28);
    let refusal = Response::Error("NOPERM this user may not".to_owned());
    assert_eq!(alone(&mut line, refusal), 28);
    line.ping_ahead(Instant::now());
    assert!(line.is_empty());
    // It has gone with whom it was for: two who come then are two.
    let mut line = Line::new(ROOM, true, None);
    alone(&mut line, Response::Texts(Vec::new()));
    let _two = [ask(&mut line), ask(&mut line)];
    line.take(&mut BytesMut::new());
    line.answer(&mut vec![Response::Integer(1), Response::Integer(2)]).unwrap();
    assert!(line.writer() == Writer::Driver);
    // Who comes after it makes two.
    let mut line = Line::new(ROOM, true, None);
    line.ping_ahead(Instant::now());
    let _two = [ask(&mut line), ask(&mut line)];
    line.take(&mut BytesMut::new());
    line.answer(&mut vec![Response::Texts(Vec::new()), Response::Integer(1), Response::Integer(2)]).unwrap();
    assert!(line.writer() == Writer::Driver);
}

#[test]
fn a_ping_ahead_is_no_command_of_which_a_caller_is_told() {
    let mut line = Line::new(ROOM, true, None);
    line.ping_ahead(Instant::now());
    let unsent = ask(&mut line);
    line.end("gone");
    assert!(matches!(unsent.now_or_never(), Some(Err(Unanswered::NotSent))));
    let mut line = Line::new(ROOM, true, None);
    line.ping_ahead(Instant::now());
    let sent = ask(&mut line);
    line.take(&mut BytesMut::new());
    let unsent = ask(&mut line);
    line.end("gone");
    assert!(matches!(sent.now_or_never(), Some(Err(Unanswered::Lost(_)))));
    assert!(matches!(unsent.now_or_never(), Some(Err(Unanswered::NotSent))));
}

#[test]
fn the_oldest_command_is_a_callers() {
    let (mut line, now) = (Line::new(ROOM, false, None), Instant::now());
    line.wait(now, Caller::Watch);
    assert_eq!(line.oldest(), None);
    line.wait(now + Duration::from_secs(1), Caller::all(1, Answers::Numbers).0);
    line.wait(now + Duration::from_secs(2), Caller::all(1, Answers::Numbers).0);
    assert_eq!(line.oldest(), Some(now + Duration::from_secs(1)));
}

#[test]
fn the_tokio_task_is_told_that_answers_are_due_until_it_looks_after_them_and_when_it_has_stopped_to() {
    let mut line = Line::new(ROOM, false, None);
    let _one = ask(&mut line);
    assert!(line.is_first_due() && !line.is_first_due());
    assert!(line.stays_watched() && !line.is_first_due());
    line.take(&mut BytesMut::new());
    line.answer(&mut vec![Response::Integer(1)]).unwrap();
    assert!(!line.stays_watched() && line.is_first_due());
}

#[test]
fn those_whose_time_is_over_are_told_each_in_its_own() {
    let (mut line, begun) = (Line::new(ROOM, false, None), Instant::now());
    let at = |seconds| begun + Duration::from_secs(seconds);
    let mut wait = |seconds, caller: fn(Answering) -> Caller| {
        let (answering, answered) = answer(Wakes::Always);
        line.wait(at(seconds), caller(answering));
        line.add([b"PING"]);
        answered
    };
    let (mut first, mut second) = (wait(1, Caller::One), wait(2, Caller::Question));
    let mut third = wait(3, Caller::One);
    let (several, mut both) = Caller::all(1, Answers::Numbers);
    line.wait(at(0), several);
    line.add([b"PING"]);
    line.give_up(at(0));
    assert!((&mut first).now_or_never().is_none());
    line.give_up(at(2));
    assert!(matches!(first.now_or_never(), Some(Err(Unanswered::Late))));
    assert!(matches!((&mut second).now_or_never(), Some(Err(Unanswered::Late))));
    assert!((&mut third).now_or_never().is_none() && both.complete.try_recv().is_err());
    // The answers of those who were told are passed over.
    line.take(&mut BytesMut::new());
    line.answer(&mut (1..=4).map(Response::Integer).collect()).unwrap();
    assert!(matches!(third.now_or_never(), Some(Ok(Response::Integer(3)))));
    assert_eq!(format!("{:?}", lock(&both.answers)), "[Ok(Integer(4))]");
}

#[tokio::test(start_paused = true)]
async fn who_asks_several_things_has_each_answer_once_the_last_has_come() {
    let mut line = Line::new(ROOM, false, None);
    let (caller, all) = Caller::all(3, Answers::Numbers);
    line.wait(Instant::now(), caller);
    (0..3).for_each(|_| line.add([b"PING"]));
    line.take(&mut BytesMut::new());
    let mut all = std::pin::pin!(all.until(Instant::now() + Duration::from_secs(1)));
    for number in 1..=3 {
        assert!((&mut all).now_or_never().is_none(), "the answer {number} is missing");
        line.answer(&mut vec![Response::Integer(number)]).unwrap();
    }
    let answers = format!("{:?}", all.await);
    assert_eq!(answers, "[Ok(Integer(1)), Ok(Integer(2)), Ok(Integer(3))]");
    assert!(line.is_empty() && line.answer(&mut vec![Response::Integer(4)]).is_err());
}

#[test]
fn texts_are_answers_to_questions_and_end_a_connection_on_which_numbers_are_due() {
    for (kind, is_taken) in [(Answers::Any, true), (Answers::Numbers, false)] {
        let mut line = Line::new(ROOM, false, None);
        let (caller, both) = Caller::all(2, kind);
        line.wait(Instant::now(), caller);
        (0..2).for_each(|_| line.add([b"PING"]));
        line.take(&mut BytesMut::new());
        let texts = || Response::Texts(vec!["1-0".to_owned()]);
        let answered = line.answer(&mut vec![Response::Error("ERR".to_owned()), texts()]);
        assert_eq!((answered.is_ok(), lock(&both.answers).len()), (is_taken, if is_taken { 2 } else { 1 }));
    }
}

#[test]
fn a_buffer_that_a_large_command_has_made_larger_is_not_kept() {
    for (capacity, is_kept) in [(64, true), (1_048_576, true), (1_048_577, false)] {
        let mut line = Line::new(ROOM, false, None);
        line.take(&mut BytesMut::with_capacity(capacity));
        assert_eq!(line.unsent.capacity() > 0, is_kept, "{capacity}");
    }
}

#[test]
fn what_was_not_sent_is_given_back_and_the_others_go_on_waiting() {
    let mut line = Line::new(ROOM, false, None);
    let (first, (caller, both)) = (wait(&mut line), Caller::all(2, Answers::Numbers));
    line.add([b"PING"]);
    line.wait(Instant::now(), caller);
    line.add([b"PING"]);
    line.take(&mut BytesMut::new());
    line.add([b"PING"]);
    let last = wait(&mut line);
    line.add([b"PING"]);
    line.close("silence");
    assert!(matches!(last.now_or_never(), Some(Err(Unanswered::NotSent))));
    let both = format!("{:?}", lock(&both.answers));
    assert_eq!(both, r#"[Err(Lost("silence")), Err(NotSent)]"#);
    assert_eq!(line.admit().err(), Some(NotTaken::Closed));
    assert!(!line.is_empty());
    line.answer(&mut vec![Response::Integer(7)]).unwrap();
    assert!(matches!(first.now_or_never(), Some(Ok(Response::Integer(7)))));
    assert!(line.is_empty());
}

#[test]
fn after_a_command_that_the_server_could_not_read_the_others_were_not_heard() {
    let mut line = Line::new(ROOM, false, None);
    let (unread, next) = (wait(&mut line), wait(&mut line));
    line.add([b"PING"]);
    line.add([b"PING"]);
    line.take(&mut BytesMut::new());
    let heard = line.answer(&mut vec![Response::Error(format!("{UNREADABLE}: invalid bulk length"))]).unwrap();
    assert!(heard.deaf);
    line.end("it is deaf");
    assert!(matches!(unread.now_or_never(), Some(Ok(Response::Error(_)))));
    assert!(matches!(next.now_or_never(), Some(Err(Unanswered::NotSent))));
}

#[test]
fn a_master_that_is_none_any_more_is_told_from_one_that_says_nothing() {
    for (texts, demoted) in [(&["role", "master"][..], false), (&["role", "replica"], true), (&["mode"], false)] {
        let mut line = Line::new(ROOM, false, None);
        line.wait(Instant::now(), Caller::Watch);
        line.add([b"HELLO", b"3"]);
        line.take(&mut BytesMut::new());
        let texts = texts.iter().map(ToString::to_string).collect();
        let heard = line.answer(&mut vec![Response::Texts(texts)]).unwrap();
        assert_eq!((heard.lives, heard.demoted), (true, demoted));
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_left_is_that_of_the_moment_when_a_command_leaves() {
    let mut line = Line::new(ROOM, false, None);
    let expiry = Expiry { slot: Slot::decimal(1), deadline: (Instant::now() + Duration::from_secs(2)).into_std() };
    let add = |line: &mut Line| {
        drop(wait(line));
        line.add([b"PUBLISH", b"a", b"<b>"]);
        drop(wait(line));
        line.add_expiring([b"PUBLISH", b"a", b"<0000000000>"], expiry);
    };
    for (passed, left) in [(500, "<      1500>"), (1_000, "<       500>"), (1_000, "<         0>")] {
        add(&mut line);
        tokio::time::advance(Duration::from_millis(passed)).await;
        let mut outgoing = BytesMut::new();
        line.take(&mut outgoing);
        let outgoing = String::from_utf8(outgoing.to_vec()).unwrap();
        assert!(outgoing.contains("<b>") && outgoing.ends_with(&format!("{left}\r\n")), "{outgoing}");
    }
    assert!(line.expiring.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_payload_of_which_a_part_has_left_is_not_touched_any_more() {
    for (left, payload) in [(0, "<      1000>"), (1, "0000000000>")] {
        let mut line = Line::new(ROOM, false, None);
        let deadline = (Instant::now() + Duration::from_secs(2)).into_std();
        drop(wait(&mut line));
        line.add_expiring([b"PUBLISH", b"a", b"<0000000000>"], Expiry { slot: Slot::decimal(1), deadline });
        // As much as a socket takes.
        let written = line.unsent() - b"<0000000000>\r\n".len() + left;
        line.unsent.advance(written);
        line.leave(written);
        tokio::time::advance(Duration::from_secs(1)).await;
        let mut rest = BytesMut::new();
        line.take(&mut rest);
        assert_eq!(rest, format!("{payload}\r\n"));
    }
}

#[tokio::test]
async fn a_caller_writes_what_the_socket_takes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let (_, socket) = near.unwrap().into_split();
    socket.writable().await.unwrap();
    let mut line = Line::new(ROOM, false, Some(Arc::new(socket)));
    let _answered = ask(&mut line);
    assert!(line.write() && line.unsent() == 0);
    let mut command = [0; 14];
    far.unwrap().0.read_exact(&mut command).await.unwrap();
    assert_eq!(&command, b"*1\r\n$4\r\nPING\r\n");
    assert!(line.writer() == Writer::Driver, "its answer is due");
    let mut encrypted = Line::new(ROOM, false, None);
    let _answered = ask(&mut encrypted);
    assert!(!encrypted.write() && encrypted.unsent() == 14, "only the tokio task can");
}

#[tokio::test]
async fn half_a_crowd_is_written_by_a_caller_unless_the_tokio_task_has_something_left_to_write() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut far, _) = listener.accept().await.unwrap();
    let (_reader, writer) = near.into_split();
    let mut line = Line::new(ROOM * 16, false, Some(Arc::new(writer)));
    let first: Vec<_> = (0..HALF_A_CROWD - 1).map(|_| ask(&mut line)).collect();
    assert!(!line.is_half_a_crowd());
    let last = ask(&mut line);
    assert!(line.is_half_a_crowd() && line.write());
    assert!(!line.is_half_a_crowd() && line.unsent() == 0);
    far.read_exact(&mut [0; 14 * HALF_A_CROWD]).await.unwrap();
    // The tokio task takes what comes then, and nothing may overtake that.
    let _taken = ask(&mut line);
    let mut outgoing = BytesMut::new();
    line.take(&mut outgoing);
    let _more: Vec<_> = (0..HALF_A_CROWD).map(|_| ask(&mut line)).collect();
    assert!(!line.is_half_a_crowd());
    outgoing.clear();
    line.take(&mut outgoing);
    assert_eq!(outgoing.len(), 14 * HALF_A_CROWD);
    line.answer(&mut (0..=HALF_A_CROWD as u64).map(Response::Integer).collect()).unwrap();
    assert!(matches!(last.now_or_never(), Some(Ok(Response::Integer(31)))) && first.len() == 31);
}
