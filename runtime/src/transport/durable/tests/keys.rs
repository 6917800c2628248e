use crate::transport::durable::task::Begun;

use super::*;

fn unique(world: &World, id: &str, window: Duration) -> NewTask {
    NewTask { unique: Some(Unique { key: "invoice {7}*".to_owned(), window }), ..world.task(HIGH, id) }
}

/// Who is in the way of another task with that key: nothing is added in any case.
async fn holder(world: &World) -> Option<(String, TaskState)> {
    let mut task = unique(world, "probe", HOUR);
    task.max_length = Some(0);
    match world.enqueue_one(task).await {
        Ok(Enqueued { id, was_there, .. }) => Some((id, was_there.unwrap())),
        Err(EnqueueError::QueueFull { .. }) => None,
        Err(other) => panic!("{other}"),
    }
}

fn held(id: &str, state: TaskState) -> Option<(String, TaskState)> {
    Some((id.to_owned(), state))
}

fn key(window: Duration) -> OnceKey {
    OnceKey { key: "order {7}*".to_owned(), window }
}

async fn begin(world: &World, id: &str, token: u64) -> Begun {
    within(world.transport.begin(&world.spec.name, &key(HOUR), id, token)).await.unwrap()
}

fn with_key(settlement: Settlement, window: Duration) -> Settlement {
    Settlement { once: Some(key(window)), ..settlement }
}

on_both! {
    async fn a_key_holds_as_long_as_its_task_lives_and_says_how_it_is(world: World) {
        let window = Duration::from_millis(50);
        let due = Due::In(Duration::from_millis(100));
        world.enqueue_one(NewTask { due, ..unique(&world, "first", window) }).await.unwrap();
        let second = world.enqueue_one(unique(&world, "second", HOUR)).await.unwrap();
        assert_eq!(second, Enqueued::new("first".to_owned(), Some(TaskState::Delayed)));
        world.pass(Duration::from_millis(110)).await;
        let mut hand = world.hand("one");
        let entry = hand.take_one().await;
        assert_eq!((&*entry.id, entry.unique.as_deref()), ("first", Some("invoice {7}*")));
        assert_eq!(holder(&world).await, held("first", TaskState::Running), "its window is over, and it is not");
        world.settle(again(&entry, Why::HandedBack, None)).await;
        assert_eq!(holder(&world).await, held("first", TaskState::Waiting));
        let entry = hand.take_one().await;
        world.settle(again(&entry, Why::Failed, Some(Duration::from_millis(20)))).await;
        assert_eq!(holder(&world).await, held("first", TaskState::Delayed));
        world.pass(Duration::from_millis(30)).await;
        let entry = hand.take_one().await;
        world.settle(park(&entry)).await;
        assert_eq!(holder(&world).await, held("first", TaskState::Parked));
        assert_eq!(within(world.transport.unpark(&world.spec.name, "Resize", 2)).await.unwrap(), 1);
        let entry = hand.take_one().await;
        assert_eq!(entry.unique.as_deref(), Some("invoice {7}*"));
        world.done(&entry).await;
        assert_eq!(holder(&world).await, None);
    }

    async fn after_success_a_key_holds_for_the_rest_of_its_window(world: World) {
        world.enqueue_one(unique(&world, "first", Duration::from_millis(400))).await.unwrap();
        let entry = world.hand("one").take_one().await;
        world.done(&entry).await;
        assert_eq!(holder(&world).await, held("first", TaskState::Completed));
        world.pass(Duration::from_millis(410)).await;
        assert_eq!(holder(&world).await, None);
        world.enqueue_one(unique(&world, "next", HOUR)).await.unwrap();
        assert_eq!(holder(&world).await, held("next", TaskState::Waiting));
    }

    async fn a_key_is_free_after_a_dead_letter_and_after_expiry(world: World) {
        let mut hand = world.hand("one");
        for round in 0..2 {
            world.enqueue_one(unique(&world, "a", HOUR)).await.unwrap();
            let entry = hand.take_one().await;
            let end = if round == 0 { dead(&entry, DeadReason::Failed) } else { settlement(&entry, Verdict::Expired) };
            assert_eq!(world.settle(end).await, Settled::Counted);
            assert_eq!(holder(&world).await, None);
        }
        // Another task has it by then: a dead letter that is replayed neither has it nor frees it.
        world.enqueue_one(unique(&world, "b", HOUR)).await.unwrap();
        let letter = within(world.transport.dead(&world.spec.name, None, 9)).await.unwrap().remove(0);
        within(world.transport.mend(&world.spec.name, &[letter.entry], Mend::Replay)).await.unwrap();
        let taken = hand.take(2).await;
        assert_eq!(ids(&taken), ["a", "b"]);
        world.done(&taken[0]).await;
        assert_eq!(holder(&world).await, held("b", TaskState::Running));
        world.done(&taken[1]).await;
        assert_eq!(holder(&world).await, held("b", TaskState::Completed));
    }

    async fn of_ten_thousand_who_race_for_a_key_one_has_it(world: World) {
        let mut racing = tokio::task::JoinSet::new();
        for producer in 0..20 {
            let transport = Arc::clone(&world.transport);
            let tasks: Vec<NewTask> =
                (0..500).map(|number| unique(&world, &format!("{producer}-{number}"), HOUR)).collect();
            racing.spawn(async move {
                let mut added = Vec::new();
                for batch in tasks.chunks(if producer % 2 == 0 { 1 } else { 50 }) {
                    for enqueued in transport.enqueue(batch.to_vec(), producer % 3 == 0).await {
                        added.extend(Some(enqueued.unwrap()).filter(|enqueued| enqueued.was_there.is_none()));
                    }
                }
                added
            });
        }
        let added: Vec<Enqueued> = within(racing.join_all()).await.into_iter().flatten().collect();
        assert_eq!(added.len(), 1);
        assert_eq!(world.hand("one").take_one().await.id.to_string(), added[0].id);
    }

    async fn a_handler_that_runs_once_begins_once(world: World) {
        world.enqueue(HIGH, &["a", "b"]).await;
        let mut hand = world.hand("one");
        let taken = hand.take(2).await;
        assert_eq!(begin(&world, "a", 1).await, Begun::Now);
        assert_eq!(begin(&world, "a", 1).await, Begun::Now, "whoever asks again is told the same");
        assert_eq!(begin(&world, "b", 1).await, Begun::Elsewhere);
        assert_eq!(begin(&world, "a", 2).await, Begun::Before);
        // An error that the handler returned frees the key.
        let failed = with_key(again(&taken[0], Why::Failed, None), HOUR);
        assert_eq!(world.settle(failed.clone()).await, Settled::Counted);
        assert_eq!(begin(&world, "b", 1).await, Begun::Now);
        assert_eq!(world.settle(failed).await, Settled::Stale);
        assert_eq!(begin(&world, "a", 2).await, Begun::Elsewhere, "a stale settlement frees nothing");
        let window = Duration::from_millis(300);
        assert_eq!(world.settle(with_key(settlement(&taken[1], done()), window)).await, Settled::Counted);
        assert_eq!(begin(&world, "a", 2).await, Begun::Done);
        world.pass(Duration::from_millis(310)).await;
        assert_eq!(begin(&world, "a", 2).await, Begun::Now);
    }

    async fn what_was_begun_and_not_finished_keeps_its_key_until_somebody_decides(world: World) {
        let mut hand = world.hand("one");
        for mend in [Mend::Replay, Mend::Delete] {
            world.enqueue(HIGH, &["a"]).await;
            let entry = hand.take_one().await;
            assert_eq!(begin(&world, "a", 1).await, Begun::Now);
            // It was cut short: the settlement does not name the key.
            world.settle(again(&entry, Why::Crashed, None)).await;
            let entry = hand.take_one().await;
            assert_eq!(begin(&world, "a", entry.token()).await, Begun::Before);
            let unfinished = with_key(dead(&entry, DeadReason::Unfinished), HOUR);
            assert_eq!(world.settle(unfinished).await, Settled::Counted);
            assert_eq!(begin(&world, "b", 1).await, Begun::Before, "not another task of the key either");
            let letter = within(world.transport.dead(&world.spec.name, None, 9)).await.unwrap().remove(0);
            assert_eq!(letter.reason, DeadReason::Unfinished);
            let is_replay = matches!(mend, Mend::Replay);
            within(world.transport.mend(&world.spec.name, &[letter.entry], mend)).await.unwrap();
            assert_eq!(begin(&world, "a", 3).await, Begun::Now);
            if is_replay {
                let entry = hand.take_one().await;
                world.settle(with_key(settlement(&entry, Verdict::Discarded), HOUR)).await;
            }
        }
    }
}
