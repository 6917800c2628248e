use std::time::Instant;

use tokio::{task::JoinHandle, time::sleep};

use super::*;

/// An instance that waits for a task, in a tokio task of its own.
fn waits(mut hand: Hand) -> JoinHandle<(Hand, Vec<Entry>)> {
    #[allow(clippy::disallowed_methods, reason = "the test awaits it")]
    tokio::spawn(async move {
        let brought = within(hand.reader.wait(HOUR)).await.unwrap().entries;
        (hand, brought)
    })
}

/// Long enough for a reader to be blocked. One that is not yet finds what it would have been given all the same.
async fn blocked() {
    sleep(Duration::from_millis(100)).await;
}

on_both! {
    async fn whoever_waits_is_given_what_comes(world: World) {
        let waiting = waits(world.hand("one"));
        blocked().await;
        world.enqueue(NORMAL, &["a"]).await;
        let (mut hand, brought) = within(waiting).await.unwrap();
        assert_eq!((ids(&brought), brought[0].token()), (vec!["a"], 1));
        assert_eq!(world.state().await, (0, 0, 1));
        world.done(&brought[0]).await;
        // What is there already is brought at once.
        world.enqueue(LOW, &["b"]).await;
        assert_eq!(ids(&within(hand.reader.wait(HOUR)).await.unwrap().entries), ["b"]);
        assert_eq!(hand.reader.connections(), 1);
    }

    async fn one_task_is_given_to_one_of_those_who_wait(world: World) {
        let waiting = ["one", "two", "three"].map(|instance| waits(world.hand(instance)));
        blocked().await;
        for id in ["a", "b", "c"] {
            world.enqueue(HIGH, &[id]).await;
        }
        let mut brought = Vec::new();
        for waiting in waiting {
            let (_, entries) = within(waiting).await.unwrap();
            brought.extend(entries.iter().map(|entry| entry.id.to_string()));
        }
        brought.sort();
        assert_eq!(brought, ["a", "b", "c"]);
    }

    async fn what_comes_back_is_given_to_whoever_waits_at_once(world: World) {
        world.enqueue(HIGH, &["a"]).await;
        let mut hand = world.hand("one");
        let entry = hand.take_one().await;
        let waiting = waits(world.hand("two"));
        blocked().await;
        let start = Instant::now();
        assert_eq!(world.settle(again(&entry, Why::HandedBack, None)).await, Settled::Counted);
        let (_, brought) = within(waiting).await.unwrap();
        assert_eq!((ids(&brought), brought[0].token(), brought[0].at.is_back), (vec!["a"], 2, true));
        assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
    }

    async fn a_task_that_becomes_the_earliest_due_wakes_one_of_those_who_wait(world: World) {
        let waiting = ["one", "two", "three"].map(|instance| waits(world.hand(instance)));
        blocked().await;
        world.enqueue_one(NewTask { due: Due::In(HOUR), ..world.task(LOW, "hour") }).await.unwrap();
        // Not the earliest.
        world.enqueue_one(NewTask { due: Due::In(DAY), ..world.task(LOW, "day") }).await.unwrap();
        blocked().await;
        world.enqueue(HIGH, &["a"]).await;
        world.enqueue(HIGH, &["b"]).await;
        let mut brought = Vec::new();
        for waiting in waiting {
            let (mut hand, entries) = within(waiting).await.unwrap();
            brought.push(entries.iter().map(|entry| entry.id.to_string()).collect::<String>());
            if entries.is_empty() {
                let next_due = hand.take_as(Take::default()).await.next_due.unwrap();
                assert!(next_due > HOUR / 2 && next_due <= HOUR);
            }
        }
        brought.sort();
        assert_eq!(brought, ["", "a", "b"]);
        // A retry does so too.
        let mut hand = world.hand("four");
        world.enqueue(HIGH, &["c"]).await;
        let entry = hand.take_one().await;
        let waiting = waits(world.hand("five"));
        blocked().await;
        world.settle(again(&entry, Why::Failed, Some(HOUR / 4))).await;
        assert!(within(waiting).await.unwrap().1.is_empty());
    }

    async fn a_wait_ends_when_its_time_is_over_and_when_it_is_woken(world: World) {
        let mut hand = world.hand("one");
        let start = Instant::now();
        assert!(within(hand.reader.wait(Duration::from_millis(50))).await.unwrap().entries.is_empty());
        assert!(start.elapsed() >= Duration::from_millis(50));
        let waker = hand.reader.waker();
        let waiting = waits(hand);
        blocked().await;
        waker.wake();
        let (mut hand, brought) = within(waiting).await.unwrap();
        assert!(brought.is_empty());
        // Whoever is woken before it waits does not wait.
        waker.wake();
        assert!(within(hand.reader.wait(HOUR)).await.unwrap().entries.is_empty());
        world.enqueue(HIGH, &["a"]).await;
        assert_eq!(ids(&within(hand.reader.wait(HOUR)).await.unwrap().entries), ["a"]);
        assert_eq!(hand.reader.connections(), 1);
    }

    async fn a_wake_that_races_with_a_task_loses_nothing(world: World) {
        let mut hand = world.hand("one");
        let waker = hand.reader.waker();
        let mut found = 0;
        for round in 0..100 {
            let waiting = waits(hand);
            if round % 3 == 0 {
                tokio::task::yield_now().await;
            }
            let id = round.to_string();
            let ids = [id.as_str()];
            let (_, ()) = tokio::join!(async { waker.wake() }, world.enqueue(HIGH, &ids));
            let (back, brought) = within(waiting).await.unwrap();
            hand = back;
            found += brought.len();
            found += hand.take(10).await.len();
        }
        assert_eq!(found, 100);
        assert_eq!(world.state().await, (0, 0, 100));
    }

    async fn a_wait_that_is_dropped_loses_its_connection_and_no_task(world: World) {
        let mut hand = world.hand("one");
        let dropped = timeout(Duration::from_millis(50), hand.reader.wait(HOUR)).await;
        assert!(dropped.is_err());
        world.enqueue(HIGH, &["a"]).await;
        // It was given to the connection that is no more, or waits still.
        let mut entries = hand.take(10).await;
        entries.extend(within(world.transport.keeper().pending(&world.spec, "one")).await.unwrap());
        assert!(!entries.is_empty() && entries.iter().all(|entry| &*entry.id == "a"), "{entries:?}");
        assert_eq!(hand.reader.connections(), 2);
        world.done(&entries[0]).await;
    }
}
