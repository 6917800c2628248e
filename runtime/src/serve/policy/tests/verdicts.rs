use std::time::Instant;

use proptest::prelude::*;

use crate::{
    handler::outcome::Rule,
    route::entry::HandlerOptions,
    serve::policy::{
        rounds::{LONGEST_WAIT, Rounds, ServerTime, renewed_until, wait_for},
        verdict::{Admission, How, Moment, OnceBefore, PARK_AFTER, Policy, admit},
    },
    transport::durable::{
        contract::OverdueEntry,
        record::{LONGEST_ERROR, NAMES_OF_DEAD},
        task::{DeadReason, Verdict, Why},
    },
};

use super::*;

const NOW: Moment = Moment { now: 5_000, random: u64::MAX };

fn policy() -> Policy {
    with(HandlerOptions::DEFAULT.timeout_nanos(120_000_000_000))
}

fn with(options: HandlerOptions) -> Policy {
    Policy::new(&options, PARK_AFTER, "me".into())
}

fn after(policy: &Policy, record: &Record, how: How) -> Verdict {
    let settlement = policy.settle(&entry("jobs", record.clone()), None, how, NOW);
    assert_eq!((&*settlement.id, settlement.unique.as_deref()), ("task", Some("unique")));
    settlement.verdict
}

fn failed(rule: Rule) -> How {
    How::Failed { rule, error: "no disk".to_owned() }
}

/// What is tried again: why, after how long, and the record.
fn again(verdict: Verdict) -> (Why, Option<Duration>, Record) {
    let Verdict::Again { why, after, record } = verdict else { panic!("{verdict:?}") };
    (why, after, record)
}

fn dead(verdict: Verdict) -> (DeadReason, Record) {
    let Verdict::Dead { record, reason, instance } = verdict else { panic!("{verdict:?}") };
    assert_eq!(&*instance, "me");
    (reason, record)
}

fn overdue(record: Record, has_died: bool) -> OverdueEntry {
    OverdueEntry { entry: entry("jobs", record), owner: "other".to_owned(), has_died }
}

#[test]
fn an_attempt_that_fails_is_repeated_as_often_as_retries_say_and_each_pause_may_be_twice_as_long() {
    let policy = with(HandlerOptions::DEFAULT.retries(4).backoff_nanos(1_000_000_000, 3_000_000_000));
    let mut record = Record::default();
    for (failures, longest) in [(1, 1), (2, 2), (3, 3), (4, 3)] {
        let (why, pause, next) = again(after(&policy, &record, failed(Rule::Retry)));
        let longest = Duration::from_secs(longest);
        assert!(pause <= Some(longest) && pause > Some(longest.mul_f64(0.99)), "{failures}: {pause:?}");
        assert_eq!((why, next.failures, next.owners), (Why::Failed, failures, u64::from(failures)));
        assert_eq!((next.error.as_deref(), next.enqueued_at), (Some("no disk"), Some(1_000)));
        record = next;
    }
    let (reason, last) = dead(after(&policy, &record, failed(Rule::Retry)));
    assert_eq!((reason, last.failures, last.owners, last.attempt()), (DeadReason::Failed, 5, 5, 6));
}

#[test]
fn a_panic_and_a_timeout_are_failures() {
    for (how, error) in [(How::Panicked, "the handler panicked"), (How::TimedOut, "the handler took longer than 120s")]
    {
        let (why, _, record) = again(after(&policy(), &Record::default(), how));
        assert_eq!((why, record.failures, record.error.as_deref()), (Why::Failed, 1, Some(error)));
    }
    let none = with(HandlerOptions::DEFAULT.retries(0));
    assert_eq!(dead(after(&none, &Record::default(), How::Panicked)).0, DeadReason::Failed);
}

#[test]
fn an_error_may_say_itself_what_is_to_be_done() {
    let spent = Record { failures: 3, owners: 7, ..Record::default() };
    let later = Duration::from_secs(90);
    let (why, pause, record) = again(after(&policy(), &spent, failed(Rule::RetryAfter(later))));
    assert_eq!((why, pause, record.failures, record.snoozes, record.owners), (Why::Snoozed, Some(later), 3, 1, 8));
    let (reason, record) = dead(after(&policy(), &Record::default(), failed(Rule::DeadLetter)));
    assert_eq!((reason, record.failures, record.error.as_deref()), (DeadReason::Refused, 1, Some("no disk")));
    assert!(matches!(after(&policy(), &spent, failed(Rule::Discard)), Verdict::Discarded));
    let done = after(&policy(), &spent, How::Succeeded { follow_ups: Vec::new() });
    assert!(matches!(done, Verdict::Done { .. }));
}

#[test]
fn handing_back_costs_nothing() {
    let spent = Record { failures: 3, crashes: 2, ..Record::default() };
    for how in [How::HandedBack, How::Displaced] {
        let (why, pause, record) = again(after(&policy(), &spent, how));
        assert_eq!((why, pause, record.hand_backs, record.owners), (Why::HandedBack, None, 1, 1));
        assert_eq!((record.failures, record.crashes), (3, 2));
    }
}

#[test]
fn the_death_of_its_owner_is_a_crash_and_the_third_one_a_dead_letter_that_names_them() {
    let mut record = Record { failures: 3, ..Record::default() };
    for crashes in 1..3 {
        let verdict = policy().reclaim(&overdue(record, true), NOW).verdict;
        let (why, pause, next) = again(verdict);
        assert_eq!((why, pause, next.crashes, next.failures), (Why::Crashed, None, crashes, 3));
        record = next;
    }
    let (reason, record) = dead(policy().reclaim(&overdue(record, true), NOW).verdict);
    assert_eq!((reason, record.crashes, record.died), (DeadReason::Crashed, 3, vec!["other".to_owned(); 3]));
    assert!(record.error.unwrap().contains("other"));
}

#[test]
fn only_so_many_names_of_the_dead_are_kept_and_only_so_much_of_an_error() {
    let policy = with(HandlerOptions::DEFAULT.crashes(100));
    let mut record = Record::default();
    for _ in 0..NAMES_OF_DEAD + 5 {
        record = again(policy.reclaim(&overdue(record, true), NOW).verdict).2;
    }
    assert_eq!((record.died.len(), record.crashes), (NAMES_OF_DEAD, 15));
    let error = "é".repeat(LONGEST_ERROR);
    let how = How::Failed { rule: Rule::Retry, error: format!("a{error}") };
    let kept = again(after(&policy, &record, how)).2.error.unwrap();
    assert_eq!((kept.len(), kept.starts_with("aéé")), (LONGEST_ERROR - 1, true));
}

#[test]
fn a_living_owner_that_does_not_give_way_loses_its_task_as_a_failure() {
    let (why, pause, record) = again(policy().reclaim(&overdue(Record::default(), false), NOW).verdict);
    assert_eq!((why, record.failures, record.crashes), (Why::Failed, 1, 0));
    assert!(pause.is_some());
    let spent = Record { failures: 3, ..Record::default() };
    let (reason, record) = dead(policy().reclaim(&overdue(spent, false), NOW).verdict);
    assert_eq!((reason, record.error.as_deref()), (DeadReason::Failed, Some("the instance other lost its lease")));
}

#[test]
fn what_nobody_knows_comes_back_ever_later_and_is_parked_after_an_hour() {
    let (mut record, mut now, mut pauses) = (Record::default(), 5_000, Vec::new());
    let parked = loop {
        let moment = Moment { now, random: 0 };
        match policy().settle(&entry("jobs", record), None, How::Unknown, moment).verdict {
            Verdict::Again { why: Why::Unknown, after: Some(pause), record: next } => {
                assert_eq!((next.unknown_since, next.failures, next.crashes), (Some(5_000), 0, 0));
                pauses.push(pause.as_secs());
                now += u64::try_from(pause.as_millis()).unwrap();
                record = next;
            }
            Verdict::Park { record } => break record,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(pauses[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
    assert!(now - 5_000 >= 3_600_000 && now - 5_000 < 3_661_000);
    assert_eq!((parked.unknown, parked.unknown_since), (0, None), "whoever takes it from there begins anew");
    assert_eq!(parked.owners, pauses.len() as u64 + 1);
    let why = parked.error.as_deref().unwrap();
    assert!(why.starts_with("no instance has known `") && why.ends_with(" was me"), "{why}");
    let (_, _, known) = again(after(&policy(), &parked, How::Once(OnceBefore::Elsewhere)));
    assert_eq!(known.error, None, "whoever knows it knows that this is over");
    let failed_before = Record { error: Some("no disk".to_owned()), failures: 1, ..Record::default() };
    assert_eq!(again(after(&policy(), &failed_before, How::Unknown)).2.error.as_deref(), Some("no disk"));
    // Whoever knows it ends the time in which nobody did.
    let strange = Record { unknown: 4, unknown_since: Some(1), ..Record::default() };
    let (_, _, known) = again(after(&policy(), &strange, failed(Rule::Retry)));
    assert_eq!((known.unknown, known.unknown_since), (0, None));
    assert_eq!(again(after(&policy(), &strange, How::HandedBack)).2.unknown_since, Some(1));
}

#[test]
fn what_does_not_decode_is_dead_at_once_and_what_has_waited_too_long_is_expired() {
    let undecodable = How::Undecodable { error: "no field `path`".to_owned() };
    let (reason, record) = dead(after(&policy(), &Record::default(), undecodable));
    assert_eq!(
        (reason, record.failures, record.error.as_deref()),
        (DeadReason::Undecodable, 0, Some("no field `path`"))
    );
    assert!(matches!(after(&policy(), &Record::default(), How::Expired), Verdict::Expired));
}

#[test]
fn an_entry_is_run_where_its_name_and_version_are_known_and_it_has_not_expired() {
    let said = |name: Option<&str>, version, expires_at| {
        let entry = entry("jobs", Record::default());
        admit(&Entry { name: name.map(str::to_owned), version, expires_at, ..entry }, "Resize", 2, 5_000)
    };
    assert_eq!(said(None, None, None), Admission::Run);
    assert_eq!(said(Some("Resize"), Some(2), Some(5_001)), Admission::Run);
    assert_eq!(said(Some("Resize"), Some(1), None), Admission::Run);
    assert_eq!(said(Some("Resize"), Some(3), None), Admission::Unknown);
    assert_eq!(said(Some("Other"), Some(1), None), Admission::Unknown);
    assert_eq!(said(Some("Resize"), None, Some(5_000)), Admission::Expired);
    assert_eq!(said(Some("Other"), None, Some(1)), Admission::Expired);
}

#[test]
fn of_a_handler_that_runs_once_only_an_error_that_it_returned_gives_it_another_chance() {
    let day = 24 * 60 * 60 * 1_000_000_000;
    for by_field in [false, true] {
        let policy = with(HandlerOptions::DEFAULT.once(day, by_field));
        let settle = |how| policy.settle(&entry("jobs", Record::default()), Some(key()), how, NOW);
        let retried = settle(failed(Rule::Retry));
        assert!(matches!(retried.verdict, Verdict::Again { why: Why::Failed, .. }) && retried.once == Some(key()));
        assert_eq!(settle(How::Succeeded { follow_ups: Vec::new() }).once, Some(key()));
        for how in [How::Panicked, How::TimedOut, How::HandedBack] {
            let unfinished = settle(how);
            assert_eq!(dead(unfinished.verdict).0, DeadReason::Unfinished);
            assert_eq!(unfinished.once, Some(key()));
        }
        let before = |before| policy.settle(&entry("jobs", Record::default()), Some(key()), How::Once(before), NOW);
        let unfinished = before(OnceBefore::Unfinished);
        assert_eq!((dead(unfinished.verdict).0, unfinished.once), (DeadReason::Unfinished, Some(key())));
        // The other task has the key.
        let elsewhere = before(OnceBefore::Elsewhere);
        let (why, pause, record) = again(elsewhere.verdict);
        assert_eq!((why, pause, record.snoozes), (Why::Snoozed, Some(Duration::from_secs(1)), 1));
        assert_eq!((elsewhere.once, before(OnceBefore::Done).once), (None, None));
        assert!(matches!(before(OnceBefore::Done).verdict, Verdict::Done { follow_ups } if follow_ups.is_empty()));
        // It has not begun, so that another owner may.
        let given = policy.settle(&entry("jobs", Record::default()), None, How::HandedBack, NOW);
        assert_eq!(again(given.verdict).0, Why::HandedBack);
    }
}

#[test]
fn leases_are_renewed_in_time_and_whoever_has_just_connected_reclaims_nothing_for_one_lease() {
    let (lease, start) = (Duration::from_secs(30), Instant::now());
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut rounds = Rounds::new(lease, start);
    assert!(rounds.is_time_to_renew(start) && !rounds.is_time_to_look(at(29)) && rounds.is_time_to_look(at(30)));
    rounds.renewed(start, at(1));
    assert!(!rounds.is_time_to_renew(at(9)) && rounds.is_time_to_renew(at(10)) && rounds.next() == at(10));
    // The next end of a lease is waited for, and a whole lease at most: a task may have been taken meanwhile.
    for (next, looks) in [(Some(4), 34), (Some(90), 60), (None, 60)] {
        rounds.looked(at(30), next.map(Duration::from_secs));
        assert!(!rounds.is_time_to_look(at(looks) - Duration::from_millis(1)) && rounds.is_time_to_look(at(looks)));
    }
    rounds.renewed(at(30), at(30));
    rounds.connected(at(40));
    assert!(rounds.is_time_to_renew(at(40)) && !rounds.may_reclaim(at(69)) && rounds.may_reclaim(at(70)));
    rounds.looked(at(40), Some(Duration::ZERO));
    assert!(!rounds.is_time_to_look(at(69)));
    // A server, or a process, that stood still for so long that others may have lost theirs.
    (40..=70).step_by(10).for_each(|second| rounds.renewed(at(second), at(second)));
    rounds.renewed(at(80), at(90));
    assert!(rounds.may_reclaim(at(90)));
    rounds.renewed(at(90), at(111));
    assert!(!rounds.may_reclaim(at(140)) && rounds.may_reclaim(at(141)));
    assert_eq!([111, 141, 200].map(|second| rounds.patience(at(second)).as_secs()), [0, 30, 89]);
    rounds.renewed(at(112), at(112));
    assert!(!rounds.stood_still(at(141), at(151)) && rounds.may_reclaim(at(151)));
    assert!(rounds.stood_still(at(151), at(162)) && !rounds.may_reclaim(at(191)) && rounds.may_reclaim(at(192)));
    rounds.not_renewed(at(131));
    assert!(rounds.is_time_to_renew(at(132)) && !rounds.is_time_to_renew(at(131)));
}

#[test]
fn a_lease_outlasts_its_handlers_timeout_by_one_lease_and_a_wait_ends_with_what_comes_first() {
    let (lease, start) = (Duration::from_secs(30), Instant::now());
    let timeout = Duration::from_secs(120);
    assert_eq!(renewed_until(start, Some(timeout), lease), Some(start + timeout + lease));
    assert_eq!(renewed_until(start, None, lease), None);
    assert_eq!(wait_for(None), LONGEST_WAIT);
    assert_eq!(wait_for(Some(Duration::from_millis(7))), Duration::from_millis(7));
    assert_eq!(wait_for(Some(lease)), LONGEST_WAIT);
    let server = ServerTime::new(5_000, start);
    assert_eq!(server.at(start + Duration::from_millis(250)), 5_250);
}

fn any_how() -> impl Strategy<Value = Option<How>> {
    (0..9_u8).prop_map(|how| {
        Some(match how {
            0 => failed(Rule::Retry),
            1 => failed(Rule::RetryAfter(Duration::from_secs(1))),
            2 => How::Panicked,
            3 => How::TimedOut,
            4 => How::HandedBack,
            5 => How::Unknown,
            6 => How::Displaced,
            _ => return None,
        })
    })
}

proptest! {
    #[test]
    fn whatever_happens_tokens_grow_by_one_and_attempts_stay_within_their_bounds(
        hows in prop::collection::vec((any_how(), any::<u64>(), 0..600_000_u64, any::<bool>()), 1..60),
        retries in 0..5_u32,
        crashes in 1..5_u32,
    ) {
        let policy = with(HandlerOptions::DEFAULT.retries(retries).crashes(crashes));
        let (mut record, mut now) = (Record::default(), 0);
        for (how, random, step, has_died) in hows {
            now += step;
            let moment = Moment { now, random };
            let owners = record.owners;
            let verdict = match how {
                Some(how) => policy.settle(&entry("jobs", record), None, how, moment).verdict,
                None => policy.reclaim(&overdue(record, has_died), moment).verdict,
            };
            let (next, has_ended) = match verdict {
                Verdict::Again { why, after, record } => {
                    prop_assert!(after.is_none_or(|after| after <= Duration::from_secs(600)), "{after:?}");
                    prop_assert!(why != Why::Unknown || after.is_some(), "no hot loop");
                    (record, false)
                }
                Verdict::Park { record } => (record, false),
                Verdict::Dead { record, .. } => (record, true),
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(next.owners, owners + 1);
            prop_assert!(next.failures <= retries + u32::from(has_ended));
            prop_assert!(next.crashes < crashes || (has_ended && next.crashes == crashes));
            if has_ended {
                return Ok(());
            }
            record = next;
        }
    }
}
