use std::sync::LazyLock;

use super::*;

fn takes(message: &str, version: u32) -> Takes {
    Takes { template: "quotes:<>".to_owned(), message: message.to_owned(), version }
}

fn description(inbox: &str, group: &str, requests: Vec<Takes>) -> Description {
    let (inbox, group) = (inbox.to_owned(), group.to_owned());
    Description { inbox, group, state: State::Serving, requests, question: None, shared_by: 1 }
}

fn answer(round: u64, shared_by: u32, description: Description) -> Description {
    Description { question: Some(format!("{round} quotes:<>")), shared_by, ..description }
}

/// When everything happens, if nothing else is said.
static NOW: LazyLock<Instant> = LazyLock::new(Instant::now);

fn wanted() -> Wanted<'static> {
    Wanted { template: "quotes:<>", message: "Quote", version: 1, group: None, tried: &[], now: *NOW }
}

fn wanted_after(time: Duration) -> Wanted<'static> {
    Wanted { now: *NOW + time, ..wanted() }
}

/// A book that knows these instances of group `shop`, and has asked for them.
fn book(inboxes: &[&str]) -> Book {
    let book = Book::new(*NOW);
    let Look::Ask(round) = book.look(&wanted(), 0) else { panic!("nobody has asked") };
    book.asked("quotes:<>", round, Some(inboxes.len() as u64));
    for inbox in inboxes {
        book.learn(answer(round, 1, description(inbox, "shop", vec![takes("Quote", 1)])));
    }
    book
}

fn turn(book: &Book, wanted: &Wanted<'_>) -> Turn {
    match book.look(wanted, 1) {
        Look::Turn(turn) => turn,
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_is_asked_once_and_waited_until_all_have_answered_or_one_is_there() {
    let book = Book::new(*NOW);
    let Look::Ask(round) = book.look(&wanted(), 0) else { panic!("nobody has asked") };
    assert!(matches!(book.look(&wanted(), 0), Look::Wait), "it is on its way");
    book.asked("quotes:<>", round, Some(2));
    assert!(matches!(book.look(&wanted(), 0), Look::Wait));
    // Two services on one connection, which the server has counted once.
    for inbox in ["a", "b"] {
        book.learn(answer(round, 2, description(inbox, "other", vec![takes("Other", 1)])));
    }
    assert!(matches!(book.look(&wanted(), 0), Look::Wait), "one of two has answered");
    book.learn(answer(round + 1, 1, description("x", "other", vec![takes("Other", 1)])));
    assert!(matches!(book.look(&wanted(), 0), Look::Wait), "that was another question");
    book.learn(answer(round, 1, description("c", "shop", vec![takes("Quote", 1)])));
    assert_eq!(turn(&book, &wanted()).instance.inbox(), "c");
}

#[test]
fn nobody_is_there_only_after_a_question_of_ones_own_time() {
    let book = Book::new(*NOW);
    let Look::Ask(round) = book.look(&wanted(), 0) else { panic!("nobody has asked") };
    book.asked("quotes:<>", round, Some(0));
    assert!(matches!(book.look(&wanted(), 0), Look::Nobody));
    assert!(!book.is_taken("quotes:<>"));
    // Who begins later asks again.
    let Look::Ask(again) = book.look(&wanted(), book.rounds("quotes:<>")) else { panic!("it may have changed") };
    assert_eq!(again, round + 1);
    book.not_asked("quotes:<>", again);
    assert!(matches!(book.look(&wanted(), again), Look::Ask(_)), "a question that was given up is left to others");
}

#[test]
fn who_knows_the_message_in_its_version_and_is_not_tried_gets_it() {
    let book = book(&["a"]);
    book.learn(description("b", "north", vec![takes("Quote", 3)]));
    let newer = Wanted { version: 3, ..wanted() };
    let first = turn(&book, &newer);
    assert_eq!(first.instance.inbox(), "b");
    let tried = [Arc::clone(&first.instance)];
    let again = Wanted { tried: &tried, ..newer };
    assert!(matches!(book.look(&again, 0), Look::Nobody) && book.is_taken("quotes:<>"));
    assert_eq!(turn(&book, &Wanted { tried: &tried, ..wanted() }).instance.inbox(), "a");
    assert_eq!(turn(&book, &Wanted { group: Some("north"), ..wanted() }).instance.inbox(), "b");
    assert!(matches!(book.look(&Wanted { message: "Other", ..wanted() }, 0), Look::Nobody));
}

#[test]
fn the_one_with_the_fewest_unanswered_gets_it_in_turn_and_who_is_overdue_comes_last() {
    let book = book(&["a", "b", "c"]);
    let mut held: Vec<Turn> = (0..6).map(|_| turn(&book, &wanted())).collect();
    let count = |held: &[Turn], inbox| held.iter().filter(|turn| turn.instance.inbox() == inbox).count();
    assert_eq!(["a", "b", "c"].map(|inbox| count(&held, inbox)), [2, 2, 2]);
    held.retain(|turn| turn.instance.inbox() != "b");
    let next = turn(&book, &wanted());
    assert_eq!(next.instance.inbox(), "b");
    next.instance.is_overdue(*NOW);
    held.push(turn(&book, &wanted()));
    assert_ne!(held[4].instance.inbox(), "b", "it would seem to have least to do");
    next.instance.answers();
    assert_eq!(turn(&book, &wanted()).instance.inbox(), "b");
}

#[test]
fn who_stops_or_is_gone_gets_nothing_and_comes_back_as_another() {
    let book = book(&["a", "b"]);
    book.learn(Description { state: State::Stopping, ..description("a", "shop", vec![takes("Quote", 1)]) });
    let held = turn(&book, &wanted());
    assert_eq!(held.instance.inbox(), "b");
    assert!(book.lost(&held.instance) && !book.lost(&held.instance), "one of all finds out");
    assert!(held.instance.is_gone());
    assert!(matches!(book.look(&wanted(), 0), Look::Nobody));
    book.learn(description("b", "shop", vec![takes("Quote", 1)]));
    let again = turn(&book, &wanted());
    assert!(!again.instance.is_gone() && !Arc::ptr_eq(&again.instance, &held.instance));
    // What is found out of the one of before says nothing of this one.
    book.lost(&held.instance);
    assert_eq!(turn(&book, &wanted()).instance.inbox(), "b");
}

#[test]
fn what_an_instance_says_again_changes_nothing_and_what_it_says_anew_counts() {
    let book = book(&["a"]);
    let held = turn(&book, &wanted());
    book.learn(description("a", "shop", vec![takes("Quote", 1)]));
    assert!(Arc::ptr_eq(&turn(&book, &wanted()).instance, &held.instance));
    book.learn(description("a", "shop", vec![takes("Quote", 2)]));
    assert!(matches!(book.look(&Wanted { version: 2, ..wanted() }, 0), Look::Turn(_)));
}

#[test]
fn after_a_gap_it_is_asked_anew() {
    let book = book(&["a"]);
    book.gap();
    let Look::Ask(round) = book.look(&wanted(), 1) else { panic!("others may have come") };
    // Whoever is known may be asked meanwhile.
    assert!(matches!(book.look(&wanted(), 1), Look::Turn(_)));
    book.gap();
    book.asked("quotes:<>", round, Some(1));
    assert!(matches!(book.look(&wanted(), 1), Look::Ask(_)), "the answer to a question before the gap says nothing");
}

#[test]
fn groups_are_complete_when_all_have_answered_or_enough_was_waited() {
    let book = Book::new(*NOW);
    let (groups, Look::Ask(round)) = book.groups(&wanted(), 0) else { panic!("nobody has asked") };
    assert!(groups.is_empty());
    book.asked("quotes:<>", round, Some(3));
    for (inbox, group) in [("a", "north"), ("b", "south")] {
        book.learn(answer(round, 1, description(inbox, group, vec![takes("Quote", 1)])));
    }
    let (groups, Look::Wait) = book.groups(&wanted(), 0) else { panic!("one has not answered") };
    assert_eq!(groups, ["north", "south"]);
    book.enough("quotes:<>");
    let (groups, Look::Turn(_)) = book.groups(&wanted(), 0) else { panic!("it was waited enough") };
    assert_eq!(groups, ["north", "south"]);
    assert_eq!(book.shared(), [("Quote".to_owned(), vec!["north".to_owned(), "south".to_owned()])]);
}

/// Who gets so many requests, each of which is answered before the next one.
fn turns(book: &Book, wanted: &Wanted<'_>, count: usize) -> Vec<String> {
    (0..count).map(|_| turn(book, wanted).instance.inbox().to_owned()).collect()
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn who_let_the_time_pass_gets_one_request_in_a_while_until_it_answers() {
    let book = book(&["a", "b"]);
    let held = turn(&book, &wanted());
    let (late, other) = (Arc::clone(&held.instance), turns(&book, &wanted(), 1).remove(0));
    drop(held);
    late.is_overdue(*NOW);
    assert_eq!(turns(&book, &wanted_after(ASKED_LAST - SECOND), 20), vec![other; 20]);
    let then = wanted_after(ASKED_LAST + SECOND);
    let count = |turns: Vec<String>| turns.iter().filter(|&inbox| inbox == late.inbox()).count();
    assert_eq!(count(turns(&book, &then, 20)), 1, "to show that it can");
    late.answers();
    assert_eq!(count(turns(&book, &then, 20)), 10);
}

#[test]
fn who_says_unasked_that_it_is_there_is_not_overdue_any_more() {
    let book = book(&["a", "b"]);
    let late = Arc::clone(&turn(&book, &wanted()).instance);
    late.is_overdue(*NOW);
    let says = || description(late.inbox(), "shop", vec![takes("Quote", 1)]);
    book.learn(answer(7, 1, says()));
    let is_asked = || turns(&book, &wanted(), 20).contains(&late.inbox().to_owned());
    assert!(!is_asked(), "its handlers may hang all the same");
    book.learn(says());
    assert!(is_asked());
}

#[test]
fn who_takes_nothing_that_was_asked_for_is_not_remembered() {
    let book = book(&["a"]);
    let orders = Takes { template: "orders".to_owned(), ..takes("Order", 1) };
    for other in 0..2 * INSTANCES {
        book.learn(description(&format!("other-{other}"), "other", vec![orders.clone()]));
    }
    book.learn(description("b", "shop", vec![takes("Quote", 1)]));
    assert!(turns(&book, &wanted(), 4).contains(&"b".to_owned()));
    let orders = Wanted { template: "orders", message: "Order", ..wanted() };
    assert!(matches!(book.look(&orders, 0), Look::Ask(1)), "they are asked for when they are wanted");
}
