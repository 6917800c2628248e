//! What a server's clock does that is put back. A real one cannot be turned; but what it has kept can be made to be of the future.

use std::time::Instant;

use redis::Value;

use super::*;
use crate::transport::{
    durable::{contract::Keeper, task::Settled},
    redis::tests::server::{DEADLINE, eventually},
};

const AN_HOUR: u64 = 3_600_000;
/// More than one look at what is pending takes in.
const MANY: usize = 1_100;

/// Of the polynomial that Redis has: <https://github.com/redis/redis/blob/7.0/src/crc64.c>
fn crc64(bytes: &[u8]) -> u64 {
    const POLYNOMIAL: u64 = 0x95AC_9329_AC4B_C9B5;
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u64::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 })
    })
}

/// Has these entries have been given out so many milliseconds later than they were.
fn given_out_later(server: &Server, stream: &str, entries: &[Entry], later: u64) {
    let mut connection = server.client().get_connection().unwrap();
    let mut dump: Vec<u8> = redis::cmd("DUMP").arg(stream).query(&mut connection).unwrap();
    let checked = dump.len() - 8;
    for entry in entries {
        let (millis, number) = entry.at.entry.split_once('-').unwrap();
        let id = [millis, number].map(|part| part.parse::<u64>().unwrap().to_be_bytes()).concat();
        // Behind its id stands when a pending entry was given out; elsewhere something else does.
        let given_out = |at: usize| Some(u64::from_le_bytes(dump.get(at..at + 8)?.try_into().unwrap()));
        let is_time = |at: &usize| given_out(*at).is_some_and(|time| time.abs_diff(millis.parse().unwrap()) < AN_HOUR);
        let mut found = dump.windows(16).enumerate().filter(|(_, bytes)| *bytes == id).map(|(at, _)| at + 16);
        let at = found.rfind(is_time).unwrap();
        let moved = given_out(at).unwrap() + later;
        dump[at..at + 8].copy_from_slice(&moved.to_le_bytes());
    }
    let crc = crc64(&dump[..checked]);
    dump[checked..].copy_from_slice(&crc.to_le_bytes());
    redis::cmd("RESTORE").arg(stream).arg(0).arg(dump).arg("REPLACE").exec(&mut connection).unwrap();
}

#[tokio::test]
async fn a_server_whose_clock_is_put_back_keeps_the_tasks_of_a_dead_instance_for_a_lease_from_then_on() {
    let server = Server::start();
    let redis = connected(&server).await;
    let (mut reader, mut dead, mut alive) = (reader(&redis).await, redis.keeper(), redis.keeper());
    assert!(redis.enqueue((0..MANY).map(|n| task(&n.to_string())).collect(), false).await.iter().all(Result::is_ok));
    let entries = taken(&mut reader, MANY).await.entries;
    assert_eq!(entries.len(), MANY);
    dead.keep(&name(), "instance-1", "{}", &[]).await.unwrap();
    given_out_later(&server, &format!("{BASE}new:tasks:high"), &entries, AN_HOUR);
    server.run(&format!("ZINCRBY {BASE}instances {AN_HOUR} instance-1"));
    let begun = Instant::now();
    // Whoever reads only the clock changes nothing of it.
    alive.keep(&name(), "instance-2", "{}", &[]).await.unwrap();
    let lease = spec().lease;
    let first = alive.overdue(&spec(), Duration::MAX, 2 * MANY).await.unwrap();
    assert!(first.entries.is_empty());
    // One look has them count from then on, more than are looked at together; a real server's time passes while it does.
    let counting = format!("XPENDING {BASE}new:tasks:high tidings IDLE 1 - + {}", 2 * MANY);
    eventually("all are given out now", || matches!(server.run(&counting), Value::Array(all) if all.len() == MANY))
        .await;
    let overdue = loop {
        let looked = Instant::now();
        let overdue = alive.overdue(&spec(), Duration::MAX, 2 * MANY).await.unwrap();
        assert!(overdue.entries.is_empty() || looked - begun >= lease, "it had a lease to renew them");
        if overdue.entries.len() == MANY {
            break overdue;
        }
        assert!(overdue.next.is_some_and(|next| next <= lease + Duration::from_millis(1)), "{:?}", overdue.next);
        assert!(begun.elapsed() < DEADLINE, "they are not to wait for the clock");
        tokio::time::sleep(lease / 10).await;
    };
    assert!(overdue.entries.iter().all(|found| found.has_died && found.owner == "instance-1"));
    let settlements = overdue.entries.iter().map(|found| again(&found.entry, Why::Crashed, None)).collect();
    assert!(alive.reclaim(&spec(), settlements).await.unwrap().iter().all(|settled| *settled == Settled::Counted));
    assert_eq!(taken(&mut reader, 2 * MANY).await.entries.len(), MANY);
}

#[tokio::test]
async fn what_somebody_has_deleted_is_counted_though_it_was_given_out_in_the_future() {
    let server = Server::start();
    let redis = connected(&server).await;
    let (mut reader, mut keeper) = (reader(&redis).await, redis.keeper());
    enqueue(&redis, task("a")).await.unwrap();
    let entries = taken(&mut reader, 1).await.entries;
    let stream = format!("{BASE}new:tasks:high");
    given_out_later(&server, &stream, &entries, AN_HOUR);
    server.run(&format!("XDEL {stream} {}", entries[0].at.entry));
    keeper.keep(&name(), "instance-2", "{}", &[]).await.unwrap();
    let overdue = keeper.overdue(&spec(), Duration::MAX, 1).await.unwrap();
    assert!(overdue.entries.is_empty() && overdue.next.is_none(), "{overdue:?}");
    assert_eq!(server.text(&format!("HGET {BASE}counts lost")), "1");
}
