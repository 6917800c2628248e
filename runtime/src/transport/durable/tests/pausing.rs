use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

async fn pause(world: &World, pauses: bool) -> bool {
    within(world.transport.pause(&world.spec.name, pauses)).await.unwrap()
}

async fn heartbeat(world: &World, instance: &str) {
    within(world.transport.keeper().keep(&world.spec.name, instance, "{}", &[])).await.unwrap();
}

/// Long enough for a reader to be blocked. What comes before it is, it finds.
async fn blocked() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

on_both! {
    async fn a_queue_that_is_paused_gives_nothing_and_keeps_everything(world: World) {
        let is_paused = async || within(world.transport.is_paused(&world.spec.name)).await.unwrap();
        assert!(!is_paused().await && !world.counts().await.is_paused);
        world.enqueue(HIGH, &["a", "b"]).await;
        let mut hand = world.hand("one");
        let entry = hand.take(1).await.remove(0);
        assert!(!pause(&world, true).await);
        assert!(pause(&world, true).await, "it was so before");
        assert!(is_paused().await && world.counts().await.is_paused);
        world.enqueue(LOW, &["c"]).await;
        world.enqueue_one(NewTask { due: Due::In(Duration::from_millis(20)), ..world.task(LOW, "d") }).await.unwrap();
        world.pass(Duration::from_millis(30)).await;
        // What has ended is settled all the same.
        let take = Take { settlements: vec![settlement(&entry, done())], order: vec![(0, 9), (2, 9)], want: 9, ..Take::default() };
        let taken = hand.take_as(take).await;
        assert_eq!((taken.settled.as_slice(), taken.entries.len(), taken.is_paused), (&[Settled::Counted][..], 0, true));
        assert_eq!(world.state().await, (3, 0, 0));
        assert_eq!(world.cancel("b").await, Cancelling::Cancelled(TaskState::Waiting));
        assert!(pause(&world, false).await);
        assert!(!pause(&world, false).await && !is_paused().await);
        let taken = hand.take_as(Take { order: vec![(0, 9), (2, 9)], want: 9, ..Take::default() }).await;
        assert!(!taken.is_paused && taken.entries.len() == 2, "{taken:?}");
    }

    async fn whoever_waits_and_is_given_a_task_of_a_paused_queue_is_told_so(world: World) {
        let mut hand = world.hand("one");
        let wait = within(hand.reader.wait(HOUR));
        let paused = async {
            blocked().await;
            pause(&world, true).await;
            world.enqueue(HIGH, &["a"]).await;
        };
        let (waited, ()) = tokio::join!(wait, paused);
        let mut waited = waited.unwrap();
        for token in 1..3 {
            // It may only be woken.
            while waited.entries.is_empty() {
                assert!(waited.is_paused);
                waited = within(hand.reader.wait(HOUR)).await.unwrap();
            }
            assert_eq!((ids(&waited.entries), waited.is_paused), (vec!["a"], true));
            assert_eq!(waited.entries[0].token(), token);
            assert_eq!(world.settle(again(&waited.entries[0], Why::HandedBack, None)).await, Settled::Counted);
            assert_eq!(world.state().await, (1, 0, 0));
            waited.entries.clear();
        }
        assert!(pause(&world, false).await);
        while waited.entries.is_empty() {
            waited = within(hand.reader.wait(HOUR)).await.unwrap();
        }
        assert_eq!((ids(&waited.entries), waited.is_paused), (vec!["a"], false));
        assert_eq!((waited.entries[0].token(), waited.entries[0].record.failures), (3, 0));
    }

    async fn what_is_done_when_it_is_taken_is_not_taken_while_the_queue_is_paused(world: World) {
        let mut world = world;
        world.spec.at_most_once = true;
        world.enqueue(HIGH, &["a"]).await;
        pause(&world, true).await;
        let mut hand = world.hand("one");
        for _ in 0..5 {
            let waited = within(hand.reader.wait(Duration::from_millis(20))).await.unwrap();
            assert!(waited.is_paused && waited.entries.is_empty(), "{waited:?}");
            assert_eq!((world.state().await, world.counts().await.ended.completed), ((1, 0, 0), 0));
        }
        pause(&world, false).await;
        assert_eq!(ids(&hand.take(9).await), ["a"]);
        assert_eq!((world.state().await, world.counts().await.ended.completed), ((0, 0, 0), 1));
    }

    async fn whoever_waits_or_rests_is_woken(world: World) {
        let names = ["one", "two", "three"];
        for name in names {
            heartbeat(&world, name).await;
        }
        let mut hands = names.map(|name| world.hand(name));
        let waits = futures_util::future::join_all(hands.iter_mut().map(|hand| within(hand.reader.wait(HOUR))));
        let paused = async {
            blocked().await;
            pause(&world, true).await;
        };
        let (waited, ()) = tokio::join!(waits, paused);
        for waited in waited {
            let waited = waited.unwrap();
            assert!(waited.entries.is_empty() && waited.is_paused, "{waited:?}");
        }
        for round in 0..2 {
            let rests = futures_util::future::join_all(hands.iter_mut().map(|hand| within(hand.reader.rest(HOUR))));
            let resumed = async {
                blocked().await;
                world.enqueue(HIGH, &[&round.to_string()]).await;
                pause(&world, false).await;
            };
            let (rested, ()) = tokio::join!(rests, resumed);
            assert!(rested.iter().all(Result::is_ok), "{rested:?}");
            assert_eq!(world.state().await.2, round, "they were given nothing");
            assert_eq!(ids(&hands[0].take(9).await), [round.to_string()]);
            pause(&world, true).await;
        }
    }

    async fn who_has_given_no_sign_of_life_yet_is_woken_too(world: World) {
        pause(&world, true).await;
        let mut hands = ["one", "two"].map(|name| world.hand(name));
        for hand in &mut hands {
            assert!(within(hand.reader.take(Take::default())).await.unwrap().is_paused);
        }
        let start = std::time::Instant::now();
        let rests = futures_util::future::join_all(hands.iter_mut().map(|hand| within(hand.reader.rest(HOUR))));
        let (rested, ()) = tokio::join!(rests, async {
            blocked().await;
            pause(&world, false).await;
        });
        assert!(rested.iter().all(Result::is_ok) && start.elapsed() < Duration::from_secs(4), "{rested:?}");
    }

    async fn a_rest_ends_when_its_time_is_over_and_when_it_is_woken(world: World) {
        heartbeat(&world, "one").await;
        let mut hand = world.hand("one");
        hand.take(1).await;
        pause(&world, true).await;
        world.enqueue(HIGH, &["a"]).await;
        // It may have been told of the pause still.
        for _ in 0..3 {
            within(hand.reader.rest(Duration::from_millis(30))).await.unwrap();
        }
        let start = std::time::Instant::now();
        within(hand.reader.rest(Duration::from_millis(50))).await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(50), "{:?}", start.elapsed());
        let waker = hand.reader.waker();
        waker.wake();
        within(hand.reader.rest(HOUR)).await.unwrap();
        let (rested, ()) = tokio::join!(within(hand.reader.rest(HOUR)), async {
            blocked().await;
            waker.wake();
        });
        rested.unwrap();
        // Whoever was about to rest when the queue went on does not.
        pause(&world, false).await;
        within(hand.reader.rest(HOUR)).await.unwrap();
        assert_eq!(ids(&hand.take(9).await), ["a"]);
        assert_eq!(hand.reader.connections(), 1);
    }

    async fn under_load_nothing_is_taken_from_when_the_queue_is_paused(world: World) {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut working = tokio::task::JoinSet::new();
        for instance in ["one", "two", "three"] {
            let (mut hand, is_over) = (world.hand(instance), Arc::clone(&is_over));
            let (transport, name) = (Arc::clone(&world.transport), world.spec.name.clone());
            working.spawn(async move {
                let mut done = 0;
                while !is_over.load(Ordering::Acquire) {
                    let taken = hand.take(5).await;
                    done += taken.len();
                    // What was taken stays for a while.
                    tokio::task::yield_now().await;
                    let settlements = taken.iter().map(|entry| settlement(entry, super::done())).collect();
                    transport.settle(&name, settlements).await.unwrap();
                }
                done
            });
        }
        let mut enqueued = 0;
        for round in 0..20 {
            let ids: Vec<String> = (0..100).map(|number| format!("{round}-{number}")).collect();
            world.enqueue(HIGH, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
            enqueued += 100;
            pause(&world, true).await;
            let before = world.counts().await;
            let (waiting, running) = (before.waiting(), before.running());
            for _ in 0..5 {
                let counts = world.counts().await;
                assert_eq!(counts.waiting(), waiting, "nothing was taken");
                assert!(counts.running() <= running);
            }
            pause(&world, false).await;
        }
        let deadline = std::time::Instant::now() + DEADLINE;
        while world.counts().await.outstanding() > 0 {
            assert!(std::time::Instant::now() < deadline, "everything is done in the end");
            tokio::task::yield_now().await;
        }
        is_over.store(true, Ordering::Release);
        let done: usize = within(working.join_all()).await.into_iter().sum();
        assert_eq!(done, enqueued);
    }
}
