use std::{
    io::{Read, Write},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex},
    net::{TcpListener, TcpSocket},
};

use crate::{
    config::Config,
    transport::redis::{
        answer::Unanswered,
        stream::{Duplex, Unencrypted},
    },
};

use super::*;

fn settings() -> Settings {
    Settings::new(&Config::default(), "shop")
}

fn started(stream: DuplexStream) -> Pipeline {
    Pipeline::start(Box::new(stream), &settings(), Arc::default(), &Host::start())
}

fn send(pipeline: &Pipeline) -> Coming {
    pipeline.send(Instant::now(), [b"PING"], None, ReceiptComes::Anytime).unwrap()
}

fn send_all(pipeline: &Pipeline, count: usize) -> AllResponses {
    pipeline.send_all(Instant::now(), vec![[b"PING".as_slice()]; count].into_iter(), Answers::Numbers).unwrap()
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
    assert!(matches!(pipeline.send(Instant::now(), [b"PING"], None, ReceiptComes::Anytime), Err(NotTaken::Closed)));
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
async fn who_is_answered_something_else_is_told_so_at_once() {
    for several in [false, true] {
        let (near, mut far) = duplex(1 << 16);
        let pipeline = started(near);
        let (one, all) = if several { (None, Some(send_all(&pipeline, 3))) } else { (Some(send(&pipeline)), None) };
        far.read_exact(&mut [0; 14]).await.unwrap();
        far.write_all(if several { b":1\r\n_\r\n" } else { b"_\r\n" }).await.unwrap();
        let told = match (one, all) {
            (Some(one), _) => format!("{:?}", one.await),
            (_, Some(all)) => format!("{:?}", all.until(soon()).await),
            _ => unreachable!(),
        };
        let lost = r#"Err(Lost("disconnected: the server answered something else than it was asked"))"#;
        assert_eq!(told, if several { format!("[Ok(Integer(1)), {lost}, {lost}]") } else { lost.to_owned() });
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
    assert_eq!(pipeline.send(Instant::now(), [b"PING"], None, ReceiptComes::Anytime).err(), Some(NotTaken::Closed));
    far.write_all(b":7\r\n").await.unwrap();
    assert!(matches!(answered.await, Ok(Response::Integer(7))));
}

#[tokio::test]
async fn who_waits_for_too_long_is_told_each_in_its_own_time() {
    let (near, mut far) = duplex(1 << 16);
    let mut settings = settings();
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
    let mut settings = settings();
    settings.publish_buffer = 1_024;
    let pipeline = Pipeline::start(Box::new(near), &settings, Arc::default(), &Host::start());
    let mut waiting = Vec::new();
    while let Ok(answered) = pipeline.send(Instant::now(), [b"PING"], None, ReceiptComes::Anytime) {
        waiting.push(answered);
    }
    let mut room = std::pin::pin!(pipeline.has_room());
    let mut context = Context::from_waker(Waker::noop());
    assert!(room.as_mut().poll(&mut context).is_pending());
    far.read_exact(&mut vec![0; 14 * waiting.len()]).await.unwrap();
    far.write_all(&b":1\r\n".repeat(waiting.len())).await.unwrap();
    room.await;
    assert!(pipeline.send(Instant::now(), [b"PING"], None, ReceiptComes::Anytime).is_ok());
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

/// As before, on a socket; and the other end of it.
async fn on_a_socket(settings: &Settings) -> (Pipeline, std::net::TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(1 << 20).unwrap();
    let near = socket.connect(listener.local_addr().unwrap()).await.unwrap();
    let far = listener.accept().await.unwrap().0.into_std().unwrap();
    far.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    near.writable().await.unwrap();
    let pipeline = Pipeline::start(Box::new(Unencrypted::from(near)), settings, Arc::default(), &Host::start());
    (pipeline, far)
}

#[tokio::test]
async fn a_large_batch_is_written_in_parts_while_the_rest_is_encoded() {
    let (pipeline, mut far) = on_a_socket(&settings()).await;
    let payload = [b'x'; 1_001];
    let commands = (0..160).map(|in_line| {
        // A command takes 1 KiB.
        let is_part = matches!(in_line, 64 | 128);
        far.set_nonblocking(!is_part).unwrap();
        if is_part {
            far.read_exact(&mut [0; 64 * 1024]).unwrap();
        }
        assert!(is_part || far.read(&mut [0]).is_err(), "{in_line} commands are too few for a part");
        [b"ECHO".as_slice(), &payload]
    });
    let all = pipeline.send_all(Instant::now(), commands, Answers::Numbers).unwrap();
    far.set_nonblocking(false).unwrap();
    far.read_exact(&mut [0; 32 * 1024]).unwrap();
    far.write_all(&b":1\r\n".repeat(160)).unwrap();
    assert_eq!(all.until(soon()).await.len(), 160);
}

#[tokio::test]
async fn what_comes_alone_has_a_ping_ahead_until_the_server_refuses_one() {
    let (pipeline, mut far) = on_a_socket(&settings()).await;
    let (with, without) = (&b"*1\r\n$4\r\nPING\r\n*1\r\n$3\r\nONE\r\n"[..], &b"*1\r\n$3\r\nONE\r\n"[..]);
    for (expected, answers) in [
        (with, &[&b"+PO"[..], b"NG\r\n:7\r\n"][..]),
        (with, &[b"-NOPERM no\r\n", b":7\r\n"]),
        (without, &[b":7\r\n"]),
        (without, &[b":7\r\n"]),
    ] {
        let answered = pipeline.send(Instant::now(), [b"ONE"], None, ReceiptComes::AfterSubscribers).unwrap();
        let mut bytes = vec![0; expected.len()];
        far.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes.escape_ascii().to_string(), expected.escape_ascii().to_string());
        for part in answers {
            far.write_all(part).unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(matches!(answered.await, Ok(Response::Integer(7))));
    }
}

#[tokio::test]
async fn the_tokio_task_is_told_of_what_a_caller_has_written_by_itself() {
    let mut settings = settings();
    settings.command_timeout = Duration::from_millis(160);
    // Nor is the server asked for a sign of life meanwhile.
    settings.ping_interval = LOOK;
    let (pipeline, mut far) = on_a_socket(&settings).await;
    let answered = send(&pipeline);
    far.read_exact(&mut [0; 14]).unwrap();
    far.write_all(b":1\r\n").unwrap();
    assert!(matches!(answered.await, Ok(Response::Integer(1))));
    // Until it has seen that nothing is due, and looks after nothing any more.
    tokio::time::sleep(settings.command_timeout).await;
    let late = timeout(LOOK / 2, send(&pipeline)).await;
    assert!(matches!(late, Ok(Err(Unanswered::Late))), "{late:?}");
}

/// Until all others wait: only then the clock of a test that holds it goes on.
async fn idle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn whatever_is_put_in_line_wakes_the_tokio_task_that_is_to_write_it() {
    let (near, mut far) = duplex(1 << 16);
    let pipeline = started(near);
    let mut answers = Vec::new();
    // When nothing is under way, and when an answer is due.
    for _ in 0..2 {
        idle().await;
        let sent = Instant::now();
        answers.push(send(&pipeline));
        far.read_exact(&mut [0; 14]).await.unwrap();
        assert_eq!(sent.elapsed(), Duration::ZERO, "at once");
    }
    far.write_all(b":1\r\n:2\r\n").await.unwrap();
    for answered in answers {
        assert!(answered.await.is_ok());
    }
}

/// What a server says of itself when it is asked.
async fn says(far: &mut DuplexStream, role: &str) {
    let mut question = [0; 22];
    far.read_exact(&mut question).await.unwrap();
    assert_eq!(question, *b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n");
    far.write_all(format!("%1\r\n$4\r\nrole\r\n+{role}\r\n").as_bytes()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_is_asked_again_and_again_and_given_up_when_it_is_no_master_any_more() {
    let (near, mut far) = duplex(1 << 16);
    let pipeline = started(near);
    let begun = Instant::now();
    for asked in 1..=5 {
        says(&mut far, "master").await;
        let (elapsed, interval) = (begun.elapsed(), Config::default().ping_interval.min(LOOK));
        assert!(elapsed >= interval * asked && elapsed < interval * asked + LATER.1, "{elapsed:?}");
    }
    idle().await;
    assert!(pipeline.is_usable());
    says(&mut far, "slave").await;
    assert_eq!(far.read(&mut [0]).await.unwrap(), 0, "closed");
    let reason = "the server is no master any more";
    assert!(matches!(pipeline.gone(), Some(GapCause::Disconnected(why)) if why == reason));
}

#[tokio::test(start_paused = true)]
async fn who_has_time_left_when_a_connection_is_given_up_gets_an_answer_or_all_of_that_time() {
    for is_answered in [true, false] {
        let (near, mut far) = duplex(1 << 16);
        let mut settings = settings();
        settings.command_timeout = Duration::from_secs(1);
        let pipeline = Pipeline::start(Box::new(near), &settings, Arc::default(), &Host::start());
        let first = send(&pipeline);
        tokio::time::sleep(Duration::from_millis(990)).await;
        let (second, asked) = (send(&pipeline), Instant::now());
        far.read_exact(&mut [0; 2 * 14]).await.unwrap();
        assert!(matches!(first.await, Err(Unanswered::Late)));
        if is_answered {
            far.write_all(b":1\r\n:2\r\n").await.unwrap();
            assert!(matches!(second.await, Ok(Response::Integer(2))));
        } else {
            assert!(matches!(second.await, Err(Unanswered::Late)));
            assert!(asked.elapsed() >= settings.command_timeout);
        }
        // It is closed as soon as nobody waits any more, or all time is over.
        assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
        let expected = if is_answered { Duration::from_millis(500) } else { Duration::from_millis(1_500) };
        assert!(asked.elapsed() < expected, "{:?}", asked.elapsed());
    }
}

/// A connection whose reads panic once something was written.
struct Panics(DuplexStream);

impl Duplex for Panics {}

impl AsyncRead for Panics {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        panic!("of this connection alone");
    }
}

impl AsyncWrite for Panics {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[tokio::test]
async fn whatever_ends_the_tokio_task_those_who_wait_are_told() {
    let (near, _far) = duplex(1 << 16);
    let lost = Arc::<Notify>::default();
    let settings = settings();
    let pipeline = Pipeline::start(Box::new(Panics(near)), &settings, Arc::clone(&lost), &Host::start());
    let sent = send(&pipeline);
    let told = timeout(Duration::from_secs(20), async {
        lost.notified().await;
        sent.await
    });
    assert!(matches!(told.await, Ok(Err(Unanswered::Lost(reason))) if reason.contains("has ended")));
    assert!(!pipeline.is_usable());
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_asked_for_a_sign_of_life_and_given_up_when_it_gives_none() {
    let config =
        Config { ping_interval: Duration::from_secs(5), ping_deadline: Duration::from_secs(3), ..Config::default() };
    let (mut watch, mut line) = (Watch::new(&Settings::new(&config, "shop")), Line::new(1 << 16, false, None));
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    assert_eq!(watch.look(at(0), &mut line), Ok(at(5_000)));
    assert_eq!(watch.look(at(4_999), &mut line), Ok(at(5_000)));
    assert_eq!(line.unsent(), 0);
    assert_eq!(watch.look(at(5_000), &mut line), Ok(at(5_100)), "what is overdue is looked for soon");
    assert_eq!(line.unsent(), 22);
    assert_eq!(watch.look(at(7_950), &mut line), Ok(at(8_000)));
    // Whatever it says, it lives; what it owes is waited for since then.
    watch.heard = at(7_000);
    assert_eq!(watch.look(at(9_999), &mut line), Ok(at(10_000)));
    assert_eq!(watch.look(at(10_000), &mut line), Err(GapCause::Timeout));
    assert_eq!(line.unsent(), 22, "it was asked once");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_leaves_a_command_unanswered_is_given_up_though_it_lives() {
    let config = Config { command_timeout: Duration::from_secs(2), ..Config::default() };
    let (mut watch, mut line) = (Watch::new(&Settings::new(&config, "shop")), Line::new(1 << 16, false, None));
    let start = Instant::now();
    line.wait(start + Duration::from_secs(1), Caller::all(1, Answers::Numbers).0);
    line.add([b"PING"]);
    assert!(watch.look(start + Duration::from_millis(2_999), &mut line).is_ok());
    assert_eq!(watch.look(start + Duration::from_secs(3), &mut line), Err(GapCause::Timeout));
}
