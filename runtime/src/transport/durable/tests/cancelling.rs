use std::sync::atomic::{AtomicU64, Ordering};

use crate::transport::durable::{course::TakenAway, task::Begun};

use super::*;

on_both! {
    async fn a_task_is_cancelled_wherever_it_is(world: World) {
        let mut world = world;
        world.keep_results(100, HOUR, 1 << 20).await;
        assert_eq!(world.cancel("never").await, Cancelling::Nothing);
        world.enqueue(HIGH, &["running", "waiting back", "parked", "retried", "waiting"]).await;
        world.enqueue_one(NewTask { due: Due::In(HOUR), ..world.task(LOW, "delayed") }).await.unwrap();
        let mut hand = world.hand("one");
        let taken = hand.take(4).await;
        let settlements = vec![
            again(&taken[1], Why::HandedBack, None),
            park(&taken[2]),
            again(&taken[3], Why::Failed, Some(HOUR)),
        ];
        within(world.transport.settle(&world.spec.name, settlements)).await.unwrap();
        for (id, state) in [
            ("running", TaskState::Running),
            ("waiting back", TaskState::Waiting),
            ("parked", TaskState::Parked),
            ("retried", TaskState::Delayed),
            ("waiting", TaskState::Waiting),
            ("delayed", TaskState::Delayed),
        ] {
            assert_eq!(world.cancel(id).await, Cancelling::Cancelled(state), "{id}");
            assert!(world.find(id).await.is_none(), "{id}");
            assert_eq!(world.cancel(id).await, Cancelling::Ended(TaskState::Cancelled), "{id}");
            let Known::Ended(ended) = world.ask(id, None).await else { panic!("{id} has ended") };
            assert_eq!((ended.state, ended.result.len()), (TaskState::Cancelled, 0));
        }
        assert_eq!(world.state().await, (0, 0, 0));
        let counts = world.counts().await;
        assert_eq!((counts.parked, counts.ended.cancelled, counts.results, counts.ended.completed), (0, 6, 6, 0));
        world.pass(Duration::from_millis(5)).await;
        assert_eq!(hand.take(10).await.len(), 0);
        assert_eq!(within(world.transport.unpark(&world.spec.name, "Resize", 2)).await.unwrap(), 0);
    }

    async fn what_has_ended_cannot_be_cancelled(world: World) {
        let mut world = world;
        world.enqueue(HIGH, &["a", "b", "c"]).await;
        let mut hand = world.hand("one");
        let taken = hand.take(3).await;
        world.done(&taken[0]).await;
        world.settle(dead(&taken[1], DeadReason::Failed)).await;
        assert_eq!(world.cancel("a").await, Cancelling::Nothing, "no results are kept");
        assert_eq!(world.cancel("b").await, Cancelling::Ended(TaskState::Dead));
        assert_eq!(world.find("b").await.map(|seen| seen.state), Some(TaskState::Dead));
        assert_eq!(world.cancel("c").await, Cancelling::Cancelled(TaskState::Running));
        assert_eq!(world.cancel("c").await, Cancelling::Nothing);
        world.keep_results(100, HOUR, 1 << 20).await;
        world.enqueue(HIGH, &["d"]).await;
        world.settle(beside(settlement(&hand.take_one().await, done()), kept("7"))).await;
        assert_eq!(world.cancel("d").await, Cancelling::Ended(TaskState::Completed));
        assert!(matches!(world.ask("d", None).await, Known::Ended(ended) if *ended.result == *b"7"));
        assert_eq!(world.counts().await.ended.cancelled, 1);
    }

    async fn whoever_runs_it_is_told_and_has_it_no_longer(world: World) {
        let control = format!("shop:{}", world.spec.name.control());
        let mut listener = world.listen(&[&control, "shop:inbox:7"]).await;
        world.enqueue(HIGH, &["a", "b", "c"]).await;
        let mut hand = world.hand("one");
        let taken = hand.take(2).await;
        world.ask("a", Some(asker("a"))).await;
        assert_eq!(world.cancel("a").await, Cancelling::Cancelled(TaskState::Running));
        let mut heard = world.heard(&mut listener).await;
        heard.sort_by_key(|(channel, _)| channel == &control);
        let [poked, told] = &heard[..] else { panic!("{heard:?}") };
        assert_eq!(*poked, poke("a"));
        let away: TakenAway = serde_json::from_str(&told.1).unwrap();
        assert_eq!(away.at(), taken[0].at);
        let mut keeper = world.transport.keeper();
        let kept = within(keeper.keep(&world.spec.name, "one", "{}", &[at(&taken[0]), at(&taken[1])])).await.unwrap();
        assert_eq!(kept.lost, [at(&taken[0])]);
        for end in [settlement(&taken[0], done()), again(&taken[0], Why::Failed, None), dead(&taken[0], DeadReason::Failed)] {
            assert_eq!(world.settle(end).await, Settled::Stale);
        }
        assert!(within(keeper.pending(&world.spec, "one")).await.unwrap().iter().all(|entry| *entry.id == *"b"));
        // Nobody is told of what nobody has.
        assert_eq!(world.cancel("c").await, Cancelling::Cancelled(TaskState::Waiting));
        assert_eq!(world.heard(&mut listener).await, []);
        world.done(&taken[1]).await;
        assert_eq!((world.state().await, world.counts().await.dead), ((0, 0, 0), 0));
    }

    async fn its_deduplication_key_is_free(world: World) {
        let unique = Some(Unique { key: "invoice {7}*".to_owned(), window: HOUR });
        let mut hand = world.hand("one");
        for (id, state) in
            [("a", TaskState::Waiting), ("b", TaskState::Delayed), ("c", TaskState::Running), ("d", TaskState::Parked)]
        {
            let due = if state == TaskState::Delayed { Due::In(HOUR) } else { Due::Now };
            let task = NewTask { unique: unique.clone(), due, ..world.task(HIGH, id) };
            assert_eq!(world.enqueue_one(task).await.unwrap().was_there, None, "{id}");
            if matches!(state, TaskState::Running | TaskState::Parked) {
                let entry = hand.take_one().await;
                if state == TaskState::Parked {
                    world.settle(park(&entry)).await;
                }
            }
            assert_eq!(world.cancel(id).await, Cancelling::Cancelled(state));
        }
        // Another task has it by then.
        let replayed = NewTask { unique: unique.clone(), ..world.task(HIGH, "e") };
        world.enqueue_one(replayed).await.unwrap();
        world.settle(dead(&hand.take_one().await, DeadReason::Failed)).await;
        world.enqueue_one(NewTask { unique: unique.clone(), ..world.task(HIGH, "f") }).await.unwrap();
        let letter = within(world.transport.dead(&world.spec.name, None, 9)).await.unwrap().remove(0);
        within(world.transport.mend(&world.spec.name, &[letter.entry], Mend::Replay)).await.unwrap();
        assert_eq!(world.cancel("e").await, Cancelling::Cancelled(TaskState::Waiting));
        let holder = world.enqueue_one(NewTask { unique, ..world.task(HIGH, "g") }).await.unwrap();
        assert_eq!(holder, Enqueued::new("f".to_owned(), Some(TaskState::Waiting)));
    }

    async fn what_had_begun_and_is_to_run_once_does_not_run_again(world: World) {
        let key = |window| OnceKey { key: "order {7}*".to_owned(), window };
        let window = Duration::from_millis(300);
        let begin = async |id: &str, token| within(world.transport.begin(&world.spec.name, &key(window), id, token)).await.unwrap();
        world.enqueue(HIGH, &["a", "b"]).await;
        let mut hand = world.hand("one");
        let taken = hand.take(2).await;
        assert_eq!(begin("a", 1).await, Begun::Now);
        assert_eq!(world.cancel("a").await, Cancelling::Cancelled(TaskState::Running));
        assert_eq!(begin("b", 1).await, Begun::Before, "it may have been done half");
        world.pass(Duration::from_millis(320)).await;
        assert_eq!(begin("b", 1).await, Begun::Now);
        // Also where it is not running any more.
        world.settle(again(&taken[1], Why::Crashed, None)).await;
        assert_eq!(world.cancel("b").await, Cancelling::Cancelled(TaskState::Waiting));
        assert_eq!(begin("c", 1).await, Begun::Before);
        world.pass(Duration::from_millis(320)).await;
        // One that gave its key back leaves it.
        world.enqueue(HIGH, &["d"]).await;
        let entry = hand.take_one().await;
        assert_eq!(begin("d", 1).await, Begun::Now);
        world.settle(Settlement { once: Some(key(window)), ..again(&entry, Why::Failed, None) }).await;
        assert_eq!(world.cancel("d").await, Cancelling::Cancelled(TaskState::Waiting));
        assert_eq!(begin("e", 1).await, Begun::Now);
    }

    async fn of_cancelling_and_completing_one_counts(world: World) {
        let completed = Arc::new(AtomicU64::new(0));
        let mut hand = world.hand("one");
        let mut cancelled = 0;
        for round in 0..100 {
            let ids: Vec<String> = (0..100).map(|number| format!("{round}-{number}")).collect();
            world.enqueue(HIGH, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
            let taken = hand.take(100).await;
            assert_eq!(taken.len(), 100);
            let (transport, name, counted) = (Arc::clone(&world.transport), world.spec.name.clone(), Arc::clone(&completed));
            let batch = 1 + round % 20;
            let settlements: Vec<Settlement> = taken.iter().map(|entry| settlement(entry, done())).collect();
            #[allow(clippy::disallowed_methods, reason = "the test awaits it")]
            let settling = tokio::spawn(async move {
                let mut outcomes = Vec::new();
                for batch in settlements.chunks(batch) {
                    outcomes.extend(transport.settle(&name, batch.to_vec()).await.unwrap());
                }
                let count = outcomes.iter().filter(|settled| **settled == Settled::Counted).count();
                counted.fetch_add(count as u64, Ordering::Relaxed);
                outcomes
            });
            let cancels = futures_util::future::join_all(ids.iter().rev().map(|id| world.cancel(id))).await;
            let settled = within(settling).await.unwrap();
            for ((id, cancel), settled) in ids.iter().zip(cancels.iter().rev()).zip(&settled) {
                let expected = match settled {
                    Settled::Counted => Cancelling::Nothing,
                    Settled::Stale => Cancelling::Cancelled(TaskState::Running),
                };
                assert_eq!(*cancel, expected, "{id} was {settled:?}");
                cancelled += u64::from(*settled == Settled::Stale);
            }
        }
        let ended = world.counts().await.ended;
        assert_eq!((ended.completed, ended.cancelled), (completed.load(Ordering::Relaxed), cancelled));
        assert_eq!(ended.completed + ended.cancelled, 10_000);
        assert!(ended.completed > 0 && ended.cancelled > 0, "they race: {ended:?}");
        assert_eq!(world.state().await, (0, 0, 0));
    }

    async fn of_cancelling_and_taking_one_comes_first(world: World) {
        let mut hand = world.hand("one");
        let (mut taken, mut before) = (0, 0);
        for round in 0..20 {
            let ids: Vec<String> = (0..50).map(|number| format!("{round}-{number}")).collect();
            world.enqueue(HIGH, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
            let cancels = futures_util::future::join_all(ids.iter().map(|id| world.cancel(id)));
            let take = async {
                let mut entries = Vec::new();
                for _ in 0..10 {
                    entries.extend(hand.take(3).await);
                }
                entries
            };
            let (cancels, entries) = tokio::join!(cancels, take);
            for (id, cancel) in ids.iter().zip(cancels) {
                // It may be taken by a take whose answer comes later; a cancelled one is never settled.
                match cancel {
                    Cancelling::Cancelled(TaskState::Waiting) => {
                        assert!(entries.iter().all(|entry| *entry.id != **id), "{id}");
                        before += 1;
                    }
                    Cancelling::Cancelled(TaskState::Running) => {
                        let entry = entries.iter().find(|entry| *entry.id == **id).unwrap();
                        assert_eq!(world.settle(settlement(entry, done())).await, Settled::Stale);
                        taken += 1;
                    }
                    other => panic!("{id}: {other:?}"),
                }
            }
        }
        assert_eq!((taken + before, world.state().await), (1_000, (0, 0, 0)));
    }
}
