use crate::time::now;

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

const WANTED: Wanted<'static> = Wanted { template: "quotes:<>", message: "Quote", version: 1, group: None, tried: &[] };

fn look(book: &Book, wanted: &Wanted<'_>, begun: u64) -> Look<Turn> {
    book.look(wanted, &mut Some(begun), now())
}

/// A book that knows these instances of group `shop`, and has asked for them.
fn book(inboxes: &[&str]) -> Book {
    let book = Book::default();
    let Look::Ask(round) = look(&book, &WANTED, 0) else { panic!("nobody has asked") };
    book.asked("quotes:<>", round, Some(inboxes.len() as u64));
    for inbox in inboxes {
        book.learn(answer(round, 1, description(inbox, "shop", vec![takes("Quote", 1)])), 100);
    }
    book
}

fn turn(book: &Book, wanted: &Wanted<'_>) -> Turn {
    match look(book, wanted, 1) {
        Look::Found(turn) => turn,
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_is_asked_once_and_waited_until_all_have_answered_or_one_is_there() {
    let book = Book::default();
    let Look::Ask(round) = look(&book, &WANTED, 0) else { panic!("nobody has asked") };
    assert!(matches!(look(&book, &WANTED, 0), Look::Wait(_)), "it is on its way");
    book.asked("quotes:<>", round, Some(2));
    assert!(matches!(look(&book, &WANTED, 0), Look::Wait(_)));
    // Two services on one connection, which the server has counted once.
    for inbox in ["a", "b"] {
        book.learn(answer(round, 2, description(inbox, "other", vec![takes("Other", 1)])), 100);
    }
    assert!(matches!(look(&book, &WANTED, 0), Look::Wait(_)), "one of two has answered");
    book.learn(answer(round + 1, 1, description("x", "other", vec![takes("Other", 1)])), 100);
    assert!(matches!(look(&book, &WANTED, 0), Look::Wait(_)), "that was another question");
    book.learn(answer(round, 1, description("c", "shop", vec![takes("Quote", 1)])), 100);
    assert_eq!(turn(&book, &WANTED).instance.inbox(), "c");
}

#[test]
fn nobody_is_there_only_after_a_question_of_ones_own_time() {
    let book = Book::default();
    let Look::Ask(round) = look(&book, &WANTED, 0) else { panic!("nobody has asked") };
    book.asked("quotes:<>", round, Some(0));
    assert!(matches!(look(&book, &WANTED, 0), Look::Nobody));
    assert!(!book.is_taken("quotes:<>"));
    // Who begins later asks again.
    let Look::Ask(again) = look(&book, &WANTED, round) else { panic!("it may have changed") };
    assert_eq!(again, round + 1);
    book.not_asked("quotes:<>", again);
    assert!(matches!(look(&book, &WANTED, again), Look::Ask(_)), "a question that was given up is left to others");
}

#[test]
fn who_knows_the_message_in_its_version_and_is_not_tried_gets_it() {
    let book = book(&["a"]);
    book.learn(description("b", "north", vec![takes("Quote", 3)]), 100);
    let newer = Wanted { version: 3, ..WANTED };
    let first = turn(&book, &newer);
    assert_eq!(first.instance.inbox(), "b");
    let tried = [Arc::clone(&first.instance)];
    let again = Wanted { tried: &tried, ..newer };
    assert!(matches!(look(&book, &again, 0), Look::Nobody) && book.is_taken("quotes:<>"));
    assert_eq!(turn(&book, &Wanted { tried: &tried, ..WANTED }).instance.inbox(), "a");
    assert_eq!(turn(&book, &Wanted { group: Some("north"), ..WANTED }).instance.inbox(), "b");
    assert!(matches!(look(&book, &Wanted { message: "Other", ..WANTED }, 0), Look::Nobody));
}

#[test]
fn the_one_with_the_fewest_unanswered_gets_it_in_turn_and_who_is_overdue_comes_last() {
    let book = book(&["a", "b", "c"]);
    let mut held: Vec<Turn> = (0..6).map(|_| turn(&book, &WANTED)).collect();
    let count = |held: &[Turn], inbox| held.iter().filter(|turn| turn.instance.inbox() == inbox).count();
    assert_eq!(["a", "b", "c"].map(|inbox| count(&held, inbox)), [2, 2, 2]);
    held.retain(|turn| turn.instance.inbox() != "b");
    let next = turn(&book, &WANTED);
    assert_eq!(next.instance.inbox(), "b");
    next.instance.lets_time_pass(now());
    held.push(turn(&book, &WANTED));
    assert_ne!(held[4].instance.inbox(), "b", "it would seem to have least to do");
    next.instance.answers();
    assert_eq!(turn(&book, &WANTED).instance.inbox(), "b");
}

#[test]
fn who_stops_or_is_gone_gets_nothing_and_comes_back_as_another() {
    let book = book(&["a", "b"]);
    book.learn(Description { state: State::Stopping, ..description("a", "shop", vec![takes("Quote", 1)]) }, 100);
    let held = turn(&book, &WANTED);
    assert_eq!(held.instance.inbox(), "b");
    assert!(book.lost(&held.instance) && !book.lost(&held.instance), "one of all finds out");
    assert!(held.instance.is_gone());
    assert!(matches!(look(&book, &WANTED, 0), Look::Nobody));
    book.learn(description("b", "shop", vec![takes("Quote", 1)]), 100);
    let again = turn(&book, &WANTED);
    assert!(!again.instance.is_gone() && !Arc::ptr_eq(&again.instance, &held.instance));
    // What is found out of the one of before says nothing of this one.
    book.lost(&held.instance);
    assert_eq!(turn(&book, &WANTED).instance.inbox(), "b");
}

#[test]
fn what_an_instance_says_again_changes_nothing_and_what_it_says_anew_counts() {
    let book = book(&["a"]);
    let held = turn(&book, &WANTED);
    book.learn(description("a", "shop", vec![takes("Quote", 1)]), 100);
    assert!(Arc::ptr_eq(&turn(&book, &WANTED).instance, &held.instance));
    book.learn(description("a", "shop", vec![takes("Quote", 2)]), 100);
    assert!(matches!(look(&book, &Wanted { version: 2, ..WANTED }, 0), Look::Found(_)));
}

#[test]
fn after_a_gap_it_is_asked_anew() {
    let book = book(&["a"]);
    book.gap();
    let Look::Ask(round) = look(&book, &WANTED, 1) else { panic!("others may have come") };
    // Whoever is known may be asked meanwhile.
    assert!(matches!(look(&book, &WANTED, 1), Look::Found(_)));
    book.gap();
    book.asked("quotes:<>", round, Some(1));
    assert!(matches!(look(&book, &WANTED, 1), Look::Ask(_)), "the answer to a question before the gap says nothing");
}

#[test]
fn groups_are_complete_when_all_have_answered_or_enough_was_waited() {
    let (book, now) = (Book::default(), now());
    let groups = |at| book.groups(&WANTED, &mut Some(0), at);
    let Look::Ask(round) = groups(now) else { panic!("nobody has asked") };
    book.asked("quotes:<>", round, Some(3));
    for (inbox, group) in [("a", "north"), ("b", "south")] {
        book.learn(answer(round, 1, description(inbox, group, vec![takes("Quote", 1)])), 100);
    }
    let Look::Wait(until) = groups(now) else { panic!("one has not answered") };
    assert!(matches!(groups(until), Look::Found(groups) if groups == ["north", "south"]), "it was waited enough");
    assert_eq!(book.shared(), [("Quote".to_owned(), vec!["north".to_owned(), "south".to_owned()])]);
    // From time to time it is asked again for the third.
    assert!(matches!(groups(now + ASK_AGAIN), Look::Ask(_)));
}

#[test]
fn who_has_the_question_and_does_not_answer_is_asked_again_and_given_up_where_others_have_declined() {
    let (book, now) = (Book::default(), now());
    let look = |wanted: &Wanted<'_>, at| book.look(wanted, &mut Some(0), at);
    let Look::Ask(round) = look(&WANTED, now) else { panic!("nobody has asked") };
    book.asked("quotes:<>", round, Some(1));
    let Look::Wait(until) = look(&WANTED, now) else { panic!("it may answer") };
    let Look::Ask(again) = look(&WANTED, until) else { panic!("it has not") };
    assert!(matches!(look(&WANTED, until), Look::Wait(_)));
    // A question whose asker is never polled again is asked by somebody else.
    let Look::Ask(once_more) = look(&WANTED, until + ALL_ANSWER) else { panic!("nobody knows what became of it") };
    book.asked("quotes:<>", again, Some(0));
    book.asked("quotes:<>", once_more, Some(2));
    book.learn(answer(once_more, 1, description("a", "shop", vec![takes("Quote", 1)])), 100);
    let late = until + ALL_ANSWER * 2;
    let Look::Found(turn) = look(&WANTED, late) else { panic!("one has answered") };
    let tried = [Arc::clone(&turn.instance)];
    assert!(matches!(look(&Wanted { tried: &tried, ..WANTED }, late), Look::Nobody));
}

#[test]
fn where_nobody_counts_it_is_waited_for_a_while() {
    let (book, now) = (Book::default(), now());
    let look = |at| book.look(&WANTED, &mut Some(0), at);
    let Look::Ask(round) = look(now) else { panic!("nobody has asked") };
    book.asked("quotes:<>", round, None);
    let Look::Wait(until) = look(now) else { panic!("somebody may answer") };
    assert!(matches!(look(until), Look::Nobody));
    book.learn(answer(round, 1, description("a", "shop", vec![takes("Quote", 1)])), 100);
    assert!(matches!(look(now), Look::Found(_)));
}

#[test]
fn each_kind_and_each_group_has_turns_of_its_own() {
    let book = book(&["a", "b"]);
    let other = Wanted { template: "orders:<>", ..WANTED };
    let orders = Takes { template: "orders:<>".to_owned(), ..takes("Quote", 1) };
    for inbox in ["a", "b"] {
        book.learn(description(inbox, "shop", vec![takes("Quote", 1), orders.clone()]), 100);
    }
    assert!(matches!(look(&book, &other, 0), Look::Ask(1)));
    let (mut quotes, mut others) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        quotes.push(turn(&book, &WANTED).instance.inbox().to_owned());
        others.push(turn(&book, &other).instance.inbox().to_owned());
        assert!(matches!(book.groups(&WANTED, &mut Some(0), now()), Look::Found(_)), "takes no turn");
    }
    for served in [quotes, others] {
        assert!(served[0] == served[2] && served[1] == served[3] && served[0] != served[1], "{served:?}");
    }
}

#[test]
fn who_is_overdue_gets_another_chance_and_is_looked_at_by_one_of_all() {
    let (book, now) = (book(&["a", "b"]), now());
    let first = Arc::clone(&turn(&book, &WANTED).instance);
    first.lets_time_pass(now);
    let gets = |at| match book.look(&WANTED, &mut Some(1), at) {
        Look::Found(turn) => Arc::ptr_eq(&turn.instance, &first),
        other => panic!("{other:?}"),
    };
    assert!((0..4).all(|_| !gets(now)));
    assert!(gets(now + OVERDUE));
    let second = Duration::from_secs(1);
    assert_eq!(first.look(now, second), Ok(()));
    assert_eq!(first.look(now, second), Err(now + second));
    assert_eq!(first.look(now + second, second), Ok(()));
}

#[test]
fn what_strangers_say_is_bounded_and_what_is_unsaid_leaves_nothing() {
    let book = Book::default();
    let many = |template: &str| Takes { template: template.to_owned(), ..takes("Quote", 1) };
    let all: Vec<_> = (0..100).flat_map(|n| [many(&format!("t:{n}")), many("same"), many("same")]).collect();
    let stranger = description("a", "shop", all);
    assert!(matches!(look(&book, &Wanted { template: "same", ..WANTED }, 0), Look::Ask(1)));
    book.learn(stranger.clone(), SIZE);
    assert_eq!(book.pages().by_template["same"].candidates.len(), 1, "said twice is said once");
    book.learn(description("b", "shop", vec![many("same")]), 1);
    assert_eq!(book.pages().by_inbox.len(), 1, "there is no room");
    book.learn(Description { state: State::Stopping, ..stranger }, SIZE);
    let pages = book.pages();
    assert!(pages.by_template.keys().eq(["same"]) && pages.by_inbox.is_empty() && pages.size == 0, "{pages:?}");
    assert!(pages.by_template["same"].candidates.is_empty());
}

const SECOND: Duration = Duration::from_secs(1);

/// Who gets so many requests, each of which is answered before the next one.
fn turns(book: &Book, then: Instant, count: usize) -> Vec<String> {
    let turn = || match book.look(&WANTED, &mut Some(1), then) {
        Look::Found(turn) => turn.instance.inbox().to_owned(),
        other => panic!("{other:?}"),
    };
    (0..count).map(|_| turn()).collect()
}

#[test]
fn who_let_the_time_pass_gets_one_request_in_a_while_until_it_answers() {
    let (book, now) = (book(&["a", "b"]), now());
    let held = turn(&book, &WANTED);
    let (late, other) = (Arc::clone(&held.instance), turns(&book, now, 1).remove(0));
    drop(held);
    late.lets_time_pass(now);
    assert_eq!(turns(&book, now + OVERDUE - SECOND, 20), vec![other; 20]);
    let then = now + OVERDUE + SECOND;
    let count = |turns: Vec<String>| turns.iter().filter(|&inbox| inbox == late.inbox()).count();
    assert_eq!(count(turns(&book, then, 20)), 1, "to show that it can");
    late.answers();
    assert_eq!(count(turns(&book, then, 20)), 10);
}

#[test]
fn who_says_unasked_that_it_is_there_is_not_overdue_any_more() {
    let (book, now) = (book(&["a", "b"]), now());
    let late = Arc::clone(&turn(&book, &WANTED).instance);
    late.lets_time_pass(now);
    let says = || description(late.inbox(), "shop", vec![takes("Quote", 1)]);
    book.learn(answer(7, 1, says()), 100);
    let is_asked = || turns(&book, now, 20).contains(&late.inbox().to_owned());
    assert!(!is_asked(), "its handlers may hang all the same");
    book.learn(says(), 100);
    assert!(is_asked());
}

#[test]
fn who_takes_nothing_that_was_asked_for_is_not_remembered() {
    let book = book(&["a"]);
    let orders = Takes { template: "orders".to_owned(), ..takes("Order", 1) };
    for other in 0..2 * INSTANCES {
        book.learn(description(&format!("other-{other}"), "other", vec![orders.clone()]), 100);
    }
    book.learn(description("b", "shop", vec![takes("Quote", 1)]), 100);
    assert!(turns(&book, now(), 4).contains(&"b".to_owned()));
    let orders = Wanted { template: "orders", message: "Order", ..WANTED };
    assert!(matches!(look(&book, &orders, 0), Look::Ask(1)), "they are asked for when they are wanted");
}
