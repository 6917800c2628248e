use std::task::{Context, Waker};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use crate::{config::Config, transport::redis::answer::Unanswered};

use super::*;

fn started(stream: DuplexStream) -> Pipeline {
    Pipeline::start(Box::new(stream), &Settings::new(&Config::default(), "shop"), Arc::default(), &Host::start())
}

fn send(pipeline: &Pipeline) -> Coming {
    pipeline.send(Instant::now(), [b"PING"], None, Wakes::Always).unwrap()
}

fn send_all(pipeline: &Pipeline, count: usize) -> AllResponses {
    pipeline.send_all(Instant::now(), vec![[b"PING".as_slice()]; count].into_iter()).unwrap()
}

#[tokio::test]
async fn answers_reach_their_callers_in_order() {
    let (near, mut far) = duplex(1 << 16);
    let pipeline = started(near);
    let answers: Vec<_> = (0..3).map(|_| send(&pipeline)).collect();
    far.read_exact(&mut [0; 3 * 14]).await.unwrap();
    for bytes in [b":7\r".as_slice(), b"\n-ER", b"R no\r\n:0\r\n"] {
        far.write_all(bytes).await.unwrap();
    }
    let mut seen = Vec::new();
    for answer in answers {
        seen.push(format!("{:?}", answer.await.unwrap()));
    }
    assert_eq!(seen, ["Integer(7)", "Error(\"ERR no\")", "Integer(0)"]);
    assert!(pipeline.is_usable());
}

#[tokio::test]
async fn a_lost_connection_tells_who_can_have_been_heard() {
    let (near, mut far) = duplex(1 << 16);
    let pipeline = started(near);
    let sent = send(&pipeline);
    far.read_exact(&mut [0; 14]).await.unwrap();
    drop(far);
    // The tokio task has not run since, so this one cannot have been taken.
    let unsent = send(&pipeline);
    assert!(matches!(sent.await, Err(Unanswered::Lost(_))));
    assert!(matches!(unsent.await, Err(Unanswered::NotSent | Unanswered::Lost(_))));
    assert!(!pipeline.is_usable());
    assert!(matches!(pipeline.send(Instant::now(), [b"PING"], None, Wakes::Always), Err(NotTaken::Closed)));
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

#[tokio::test]
async fn several_commands_get_their_answers_in_order_among_those_of_others() {
    let (near, mut far) = duplex(1 << 16);
    let pipeline = started(near);
    let before = send(&pipeline);
    let all = send_all(&pipeline, 3);
    let after = send(&pipeline);
    far.read_exact(&mut [0; 5 * 14]).await.unwrap();
    far.write_all(b":1\r\n:2\r\n-ERR no\r\n:4\r\n:5\r\n").await.unwrap();
    let all = format!("{:?}", all.until(soon()).await);
    assert_eq!(all, r#"[Ok(Integer(2)), Ok(Error("ERR no")), Ok(Integer(4))]"#);
    assert!(matches!(before.await, Ok(Response::Integer(1))));
    assert!(matches!(after.await, Ok(Response::Integer(5))));
}

#[tokio::test]
async fn of_several_commands_those_that_were_answered_are_known_when_the_connection_is_lost_or_late() {
    let (near, mut far) = duplex(1 << 16);
    let pipeline = started(near);
    let all = send_all(&pipeline, 3);
    let late = send_all(&pipeline, 2);
    far.read_exact(&mut [0; 5 * 14]).await.unwrap();
    far.write_all(b":1\r\n:2\r\n:3\r\n:4\r\n").await.unwrap();
    assert_eq!(format!("{:?}", all.until(soon()).await), "[Ok(Integer(1)), Ok(Integer(2)), Ok(Integer(3))]");
    let late = format!("{:?}", late.until(Instant::now() + Duration::from_millis(100)).await);
    assert_eq!(late, "[Ok(Integer(4))]");
    let lost = send_all(&pipeline, 2);
    far.read_exact(&mut [0; 2 * 14]).await.unwrap();
    far.write_all(b":5\r\n:6\r\n").await.unwrap();
    drop(far);
    let lost = lost.until(soon()).await;
    assert!(matches!(lost[..], [Ok(Response::Integer(6)), Err(Unanswered::Lost(_))]), "{lost:?}");
    assert!(!pipeline.is_usable());
}

#[tokio::test]
async fn an_answer_to_nothing_ends_the_connection() {
    for bytes in [b":1\r\n:2\r\n".as_slice(), b":1\r\n+OK\r\n", b":1\r\n>1\r\n+x\r\n", b":1\r\n:x\r\n"] {
        let (near, mut far) = duplex(1 << 16);
        let pipeline = started(near);
        let first = send(&pipeline);
        far.read_exact(&mut [0; 14]).await.unwrap();
        far.write_all(bytes).await.unwrap();
        assert!(matches!(first.await, Ok(Response::Integer(1))));
        assert_eq!(far.read(&mut [0]).await.unwrap(), 0, "closed");
        assert!(!pipeline.is_usable());
    }
}

#[tokio::test]
async fn a_retired_connection_takes_nothing_more_and_answers_what_it_has_taken() {
    let (near, mut far) = duplex(1 << 16);
    let pipeline = started(near);
    let answered = send(&pipeline);
    far.read_exact(&mut [0; 14]).await.unwrap();
    pipeline.retire("enough");
    assert!(matches!(pipeline.gone(), Some(GapCause::Disconnected(reason)) if reason == "enough"));
    assert_eq!(pipeline.send(Instant::now(), [b"PING"], None, Wakes::Always).err(), Some(NotTaken::Closed));
    far.write_all(b":7\r\n").await.unwrap();
    assert!(matches!(answered.await, Ok(Response::Integer(7))));
}

#[tokio::test]
async fn who_waits_for_too_long_is_told_each_in_its_own_time() {
    let (near, mut far) = duplex(1 << 16);
    let mut settings = Settings::new(&Config::default(), "shop");
    settings.command_timeout = Duration::from_secs(1);
    let pipeline = Pipeline::start(Box::new(near), &settings, Arc::default(), &Host::start());
    let asked = Instant::now();
    let first = send(&pipeline);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (second, third) = (send(&pipeline), send(&pipeline));
    assert!(matches!(first.await, Err(Unanswered::Late)));
    assert!(asked.elapsed() >= settings.command_timeout);
    assert!(matches!(pipeline.gone(), Some(GapCause::Timeout)));
    // The answer to nobody is passed over.
    far.write_all(b":1\r\n:2\r\n").await.unwrap();
    assert!(matches!(second.await, Ok(Response::Integer(2))));
    assert!(matches!(third.await, Err(Unanswered::Late)));
    assert!(asked.elapsed() >= settings.command_timeout + Duration::from_millis(500));
}

#[tokio::test]
async fn whoever_waits_for_room_is_told_of_it() {
    let (near, mut far) = duplex(1 << 16);
    let mut settings = Settings::new(&Config::default(), "shop");
    settings.publish_buffer = 1_024;
    let pipeline = Pipeline::start(Box::new(near), &settings, Arc::default(), &Host::start());
    let mut waiting = Vec::new();
    while let Ok(answered) = pipeline.send(Instant::now(), [b"PING"], None, Wakes::Always) {
        waiting.push(answered);
    }
    let mut room = std::pin::pin!(pipeline.has_room());
    let mut context = Context::from_waker(Waker::noop());
    assert!(room.as_mut().poll(&mut context).is_pending());
    far.read_exact(&mut vec![0; 14 * waiting.len()]).await.unwrap();
    far.write_all(&b":1\r\n".repeat(waiting.len())).await.unwrap();
    room.await;
    assert!(pipeline.send(Instant::now(), [b"PING"], None, Wakes::Always).is_ok());
}

#[tokio::test]
async fn a_server_that_could_not_read_a_command_is_given_up() {
    let (near, mut far) = duplex(1 << 16);
    let pipeline = started(near);
    let _answered = send(&pipeline);
    far.read_exact(&mut [0; 14]).await.unwrap();
    far.write_all(b"-ERR Protocol error: invalid bulk length\r\n").await.unwrap();
    assert_eq!(far.read(&mut [0]).await.unwrap(), 0, "closed");
    let reason = "the server could not read a command";
    assert!(matches!(pipeline.gone(), Some(GapCause::Disconnected(why)) if why == reason));
}
