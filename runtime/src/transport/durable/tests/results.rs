use super::*;

fn ended(state: TaskState, result: &str) -> EndedTask {
    EndedTask { state, reason: None, error: None, result: result.as_bytes().to_vec().into(), at: 0 }
}

/// Without the time of the end, which is the server's.
async fn known(world: &World, id: &str) -> Known {
    match world.ask(id, None).await {
        Known::Ended(ended) => {
            assert!(ended.at > 1_700_000_000_000, "{ended:?}");
            Known::Ended(EndedTask { at: 0, ..ended })
        }
        other => other,
    }
}

/// Takes a task of each verdict, with the same beside, and settles it.
async fn end_each(world: &World, hand: &mut Hand, with: &Beside) -> Vec<(String, TaskState)> {
    let mut ended = Vec::new();
    for state in [TaskState::Completed, TaskState::Dead, TaskState::Discarded, TaskState::Expired] {
        let entry = hand.take(1).await.remove(0);
        let end = match state {
            TaskState::Completed => settlement(&entry, done()),
            TaskState::Dead => dead(&entry, DeadReason::Refused),
            TaskState::Discarded => settlement(&entry, Verdict::Discarded),
            _ => settlement(&entry, Verdict::Expired),
        };
        assert_eq!(world.settle(beside(end, with.clone())).await, Settled::Counted);
        ended.push((entry.id.to_string(), state));
    }
    ended
}

on_both! {
    async fn what_a_task_ended_with_is_known_by_its_id(world: World) {
        let mut world = world;
        world.keep_results(100, HOUR, 1 << 20).await;
        world.enqueue(HIGH, &["a", "b", "c", "d", "e"]).await;
        assert_eq!(world.ask("a", None).await, Known::Open(TaskState::Waiting));
        let mut hand = world.hand("one");
        for (id, state) in end_each(&world, &mut hand, &kept(r#"{"width":100}"#)).await {
            let mut expected = ended(state, r#"{"width":100}"#);
            if state == TaskState::Dead {
                expected = EndedTask { reason: Some(DeadReason::Refused), error: Some("no disk".into()), ..expected };
            }
            assert_eq!(known(&world, &id).await, Known::Ended(expected.clone()));
            assert_eq!(known(&world, &id).await, Known::Ended(expected), "it is there for whoever asks again");
        }
        let entry = hand.take_one().await;
        assert_eq!(world.ask("e", None).await, Known::Open(TaskState::Running));
        // With a take, and with nothing but that it has ended.
        let settlements = vec![beside(settlement(&entry, done()), kept(""))];
        assert_eq!(hand.take_as(Take { settlements, ..Take::default() }).await.settled, [Settled::Counted]);
        assert_eq!(known(&world, "e").await, Known::Ended(ended(TaskState::Completed, "")));
        assert_eq!(world.ask("never", None).await, Known::Nothing);
        assert_eq!(world.counts().await.results, 5);
    }

    async fn nothing_is_kept_where_nothing_is_to_be(world: World) {
        let mut world = world;
        world.keep_results(100, HOUR, 1 << 20).await;
        world.enqueue(HIGH, &["a", "b", "c", "d", "e"]).await;
        let mut hand = world.hand("one");
        for (id, state) in end_each(&world, &mut hand, &Beside::default()).await {
            let expected = match state {
                // It is a dead letter all the same.
                TaskState::Dead => Known::Ended(EndedTask {
                    reason: Some(DeadReason::Refused),
                    error: Some("no disk".into()),
                    ..ended(TaskState::Dead, "")
                }),
                _ => Known::Nothing,
            };
            assert_eq!(known(&world, &id).await, expected, "{id}");
        }
        world.done(&hand.take_one().await).await;
        assert_eq!((world.ask("e", None).await, world.counts().await.results), (Known::Nothing, 0));
    }

    async fn results_are_bounded_by_number(world: World) {
        let mut world = world;
        world.keep_results(10, HOUR, 1 << 20).await;
        let mut hand = world.hand("one");
        for batch in 0..10 {
            let ids: Vec<String> = (0..50).map(|number| format!("{batch}-{number}")).collect();
            world.enqueue(HIGH, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
            let settlements =
                hand.take(50).await.iter().map(|entry| beside(settlement(entry, done()), kept("7"))).collect();
            within(world.transport.settle(&world.spec.name, settlements)).await.unwrap();
            let results = world.counts().await.results;
            assert!(results <= 10, "{results}");
        }
        for number in 40..50 {
            assert!(matches!(world.ask(&format!("9-{number}"), None).await, Known::Ended(_)), "the newest stay");
        }
        for id in ["9-39", "0-0"] {
            assert_eq!(world.ask(id, None).await, Known::Nothing);
        }
    }

    async fn results_are_bounded_by_bytes(world: World) {
        let mut world = world;
        world.keep_results(1_000, HOUR, 1_000).await;
        let ids: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        world.enqueue(HIGH, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let mut hand = world.hand("one");
        for entry in hand.take(20).await {
            world.settle(beside(settlement(&entry, done()), kept(&"x".repeat(100)))).await;
        }
        let results = world.counts().await.results;
        assert!((1..=10).contains(&results), "{results}");
        assert!(matches!(world.ask("19", None).await, Known::Ended(_)));
        assert_eq!(world.ask("0", None).await, Known::Nothing);
        // One that is larger than all that may be kept is not kept, whatever becomes of the others.
        world.enqueue(HIGH, &["large", "small"]).await;
        let taken = hand.take(2).await;
        world.settle(beside(settlement(&taken[0], done()), kept(&"x".repeat(1_001)))).await;
        assert_eq!(world.ask("large", None).await, Known::Nothing);
        world.settle(beside(settlement(&taken[1], done()), kept("x"))).await;
        assert!(matches!(world.ask("small", None).await, Known::Ended(_)));
        assert!(world.counts().await.results <= 10);
    }

    async fn results_are_bounded_by_age(world: World) {
        let mut world = world;
        world.keep_results(1_000, Duration::from_millis(200), 1 << 20).await;
        world.enqueue(HIGH, &["a", "b"]).await;
        let mut hand = world.hand("one");
        let taken = hand.take(2).await;
        world.settle(beside(settlement(&taken[0], done()), kept("1"))).await;
        assert!(matches!(world.ask("a", None).await, Known::Ended(_)));
        world.pass(Duration::from_millis(220)).await;
        assert_eq!(world.ask("a", None).await, Known::Nothing);
        world.settle(beside(settlement(&taken[1], done()), kept("2"))).await;
        assert!(matches!(world.ask("b", None).await, Known::Ended(_)));
        assert_eq!(world.counts().await.results, 1);
    }

    async fn whoever_asks_is_told_of_every_ending_once(world: World) {
        let mut listener = world.listen(&["shop:inbox:7"]).await;
        world.enqueue(HIGH, &["a", "b", "c", "d", "e", "f"]).await;
        for id in ["a", "b", "c", "d", "e", "f"] {
            assert_eq!(world.ask(id, Some(asker(id))).await, Known::Open(TaskState::Waiting));
        }
        let mut hand = world.hand("one");
        end_each(&world, &mut hand, &Beside::default()).await;
        assert_eq!(world.heard(&mut listener).await, ["a", "b", "c", "d"].map(poke));
        assert_eq!(world.cancel("e").await, Cancelling::Cancelled(TaskState::Waiting));
        assert_eq!(world.heard(&mut listener).await, [poke("e")]);
        // With the many that leave nothing behind.
        world.enqueue(HIGH, &["g", "h"]).await;
        let settlements = hand.take(9).await.iter().map(|entry| settlement(entry, done())).collect();
        within(world.transport.settle(&world.spec.name, settlements)).await.unwrap();
        assert_eq!(world.heard(&mut listener).await, [poke("f")]);
        assert_eq!(world.ask("f", Some(asker("f"))).await, Known::Nothing);
        assert_eq!(world.heard(&mut listener).await, []);
    }

    async fn each_of_those_who_ask_is_told_unless_it_has_left(world: World) {
        let mut listener = world.listen(&["shop:inbox:7", "shop:inbox:8"]).await;
        world.enqueue(HIGH, &["a", "b"]).await;
        let other = Asker { channel: "shop:inbox:8".to_owned(), ..asker("one") };
        let brief = Asker { within: Duration::from_millis(30), ..asker("brief") };
        for asker in [asker("one"), asker("two"), asker("one"), asker("left"), other, brief] {
            world.ask("a", Some(asker)).await;
        }
        within(world.transport.forget(&world.spec.name, "a", &asker("left"))).await.unwrap();
        for id in ["a", "b", "never"] {
            within(world.transport.forget(&world.spec.name, id, &asker("another"))).await.unwrap();
        }
        let taken = world.hand("one").take(2).await;
        if let Behind::Redis(_) = world.server {
            world.pass(Duration::from_millis(60)).await;
        } else {
            // Whoever waits in this process has its time.
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        world.done(&taken[1]).await;
        assert_eq!(world.heard(&mut listener).await, []);
        world.done(&taken[0]).await;
        let mut heard = world.heard(&mut listener).await;
        heard.sort();
        assert_eq!(heard, [poke("one"), poke("two"), ("shop:inbox:8".to_owned(), "one".to_owned())]);
    }

    async fn whoever_asks_waits_through_every_state(world: World) {
        let mut listener = world.listen(&["shop:inbox:7"]).await;
        world.enqueue(HIGH, &["a"]).await;
        let mut hand = world.hand("one");
        world.ask("a", Some(asker("a"))).await;
        let entry = hand.take_one().await;
        world.settle(again(&entry, Why::Failed, Some(Duration::from_millis(20)))).await;
        assert_eq!(world.ask("a", None).await, Known::Open(TaskState::Delayed));
        world.pass(Duration::from_millis(30)).await;
        let entry = hand.take_one().await;
        assert_eq!(world.ask("a", None).await, Known::Open(TaskState::Running));
        world.settle(again(&entry, Why::HandedBack, None)).await;
        let entry = hand.take_one().await;
        world.settle(park(&entry)).await;
        assert_eq!(world.ask("a", None).await, Known::Open(TaskState::Parked));
        within(world.transport.unpark(&world.spec.name, "Resize", 2)).await.unwrap();
        let entry = hand.take_one().await;
        assert_eq!(world.heard(&mut listener).await, []);
        let mut keeper = world.transport.keeper();
        world.pass(LEASE + Duration::from_millis(20)).await;
        let reclaimed = beside(dead(&entry, DeadReason::Crashed), Beside::default());
        assert_eq!(within(keeper.reclaim(&world.spec, vec![reclaimed])).await.unwrap(), [Settled::Counted]);
        assert_eq!(world.heard(&mut listener).await, [poke("a")]);
    }

    async fn a_dead_letter_that_is_replayed_has_not_ended(world: World) {
        let mut world = world;
        world.keep_results(100, HOUR, 1 << 20).await;
        let mut listener = world.listen(&["shop:inbox:7"]).await;
        world.enqueue(HIGH, &["a"]).await;
        let mut hand = world.hand("one");
        let entry = hand.take_one().await;
        world.settle(beside(dead(&entry, DeadReason::Failed), kept(r#""no disk""#))).await;
        assert!(matches!(known(&world, "a").await, Known::Ended(ended) if ended.state == TaskState::Dead));
        let letter = within(world.transport.dead(&world.spec.name, None, 9)).await.unwrap().remove(0);
        within(world.transport.mend(&world.spec.name, &[letter.entry], Mend::Replay)).await.unwrap();
        assert_eq!(world.ask("a", Some(asker("a"))).await, Known::Open(TaskState::Waiting));
        let entry = hand.take_one().await;
        world.settle(beside(settlement(&entry, done()), kept("8"))).await;
        assert_eq!(world.heard(&mut listener).await, [poke("a")]);
        assert_eq!(known(&world, "a").await, Known::Ended(ended(TaskState::Completed, "8")));
        assert_eq!(world.counts().await.results, 1);
    }

    async fn an_end_is_announced_if_the_settlement_counts(world: World) {
        let mut listener = world.listen(&["shop:tasks:completed", "shop:inbox:7"]).await;
        world.enqueue(HIGH, &["a", "b", "c"]).await;
        let mut hand = world.hand("one");
        let announced = |payload: &str| Beside {
            announcement: Some(Announcement {
                channel: "shop:tasks:completed".to_owned(),
                payload: payload.as_bytes().to_vec(),
            }),
            ..Beside::default()
        };
        let message = |payload: &str| ("shop:tasks:completed".to_owned(), payload.to_owned());
        let taken = hand.take(3).await;
        let failed = beside(again(&taken[0], Why::Failed, None), announced("failed"));
        assert_eq!(world.settle(failed).await, Settled::Counted);
        assert_eq!(world.heard(&mut listener).await, [], "it has not ended");
        let stale = beside(settlement(&taken[0], done()), Beside { result: Some(Vec::new()), ..announced("stale") });
        world.ask("a", Some(asker("a"))).await;
        assert_eq!(world.settle(stale).await, Settled::Stale);
        assert_eq!(world.heard(&mut listener).await, []);
        assert_eq!(world.ask("a", None).await, Known::Open(TaskState::Waiting));
        let completed = beside(settlement(&taken[1], done()), announced("b is done"));
        let settlements = vec![completed.clone(), beside(dead(&taken[2], DeadReason::Failed), announced("c is dead"))];
        let settled = within(world.transport.settle(&world.spec.name, settlements)).await.unwrap();
        assert_eq!(settled, [Settled::Counted; 2]);
        assert_eq!(world.heard(&mut listener).await, [message("b is done"), message("c is dead")]);
        assert_eq!(world.settle(completed).await, Settled::Stale, "the answer was lost");
        assert_eq!(world.heard(&mut listener).await, []);
        // By whoever buries what an instance left that died.
        let entry = hand.take_one().await;
        let mut keeper = world.transport.keeper();
        world.pass(LEASE + Duration::from_millis(20)).await;
        let reclaimed = beside(dead(&entry, DeadReason::Crashed), announced("a has crashed"));
        assert_eq!(within(keeper.reclaim(&world.spec, vec![reclaimed])).await.unwrap(), [Settled::Counted]);
        let mut heard = world.heard(&mut listener).await;
        heard.sort();
        assert_eq!(heard, [poke("a"), message("a has crashed")]);
    }

    async fn where_a_task_is_done_when_it_is_taken_whoever_asks_is_told_then(world: World) {
        let mut world = world;
        world.spec.at_most_once = true;
        let mut listener = world.listen(&["shop:inbox:7"]).await;
        world.enqueue(HIGH, &["a", "b"]).await;
        for id in ["a", "b"] {
            world.ask(id, Some(asker(id))).await;
        }
        let mut hand = world.hand("one");
        assert_eq!(ids(&hand.take(1).await), ["a"]);
        assert_eq!(world.heard(&mut listener).await, [poke("a")]);
        assert_eq!(ids(&within(hand.reader.wait(HOUR)).await.unwrap().entries), ["b"]);
        assert_eq!(world.heard(&mut listener).await, [poke("b")]);
        assert_eq!((world.ask("a", None).await, world.find("b").await.is_none()), (Known::Nothing, true));
    }
}
