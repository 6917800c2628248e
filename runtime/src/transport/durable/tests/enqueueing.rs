use super::*;

/// The ids of what waits in a queue of that name.
async fn waiting(world: &World, name: &QueueName, channel: &str) -> Vec<String> {
    let spec = QueueSpec { name: name.clone(), parts: vec![channel.into()], ..world.spec.clone() };
    within(world.transport.declare(&spec)).await.unwrap();
    let mut hand = Hand { reader: world.transport.reader(spec, "look".into()), parts: 1 };
    hand.take(100).await.iter().map(|entry| entry.id.to_string()).collect()
}

on_both! {
    async fn no_more_tasks_wait_than_may(world: World) {
        let limited = |id: &str| NewTask { max_length: Some(2), ..world.task(HIGH, id) };
        world.enqueue_one(limited("a")).await.unwrap();
        world.enqueue_one(NewTask { due: Due::In(HOUR), ..limited("b") }).await.unwrap();
        let refused = world.enqueue_one(NewTask { channel: LOW.to_owned(), ..limited("c") }).await.unwrap_err();
        assert!(matches!(refused, EnqueueError::QueueFull { max_length: 2, .. }), "{refused}");
        assert!(refused.is_retryable());
        // Others are not limited, and what runs does not wait.
        world.enqueue(LOW, &["d"]).await;
        let mut hand = world.hand("one");
        let taken = hand.take(2).await;
        world.enqueue_one(limited("e")).await.unwrap();
        assert!(world.enqueue_one(limited("f")).await.is_err());
        // What comes back is never refused.
        assert_eq!(world.settle(again(&taken[0], Why::HandedBack, None)).await, Settled::Counted);
        assert_eq!(world.state().await, (2, 1, 1));
    }

    async fn a_batch_has_a_result_for_each_and_an_atomic_one_all_or_none(world: World) {
        let other = QueueName { template: "mail:<region>", namespace: "shop:".into() };
        let batch = || {
            let mail = NewTask { queue: other.clone(), channel: "mail:eu".to_owned(), ..world.task(HIGH, "mail") };
            let full = NewTask { max_length: Some(0), ..world.task(HIGH, "full") };
            let unique = Some(Unique { key: "k".to_owned(), window: HOUR });
            let held = NewTask { unique: unique.clone(), ..world.task(LOW, "held") };
            let again = NewTask { unique, ..world.task(LOW, "again") };
            let later = NewTask { due: Due::In(HOUR), ..world.task(NORMAL, "later") };
            vec![world.task(HIGH, "a"), later, held, again, full, mail]
        };
        // On a cluster it would have to be one queue.
        let mut one_queue = batch();
        one_queue.truncate(5);
        let results = within(world.transport.enqueue(one_queue, true)).await;
        assert_eq!(results.len(), 5);
        for (at, result) in results.iter().enumerate() {
            let error = result.as_ref().unwrap_err();
            let is_cause = matches!(error, EnqueueError::QueueFull { .. });
            assert_eq!((is_cause, matches!(error, EnqueueError::Aborted { .. })), (at == 4, at != 4), "{error}");
        }
        assert_eq!(world.state().await, (0, 0, 0));

        let results = within(world.transport.enqueue(batch(), false)).await;
        let shown: Vec<_> = results.iter().map(|result| result.as_ref().ok().map(|it| (&*it.id, it.was_there))).collect();
        let added = |id| Some((id, None));
        let expected = [
            added("a"),
            added("later"),
            added("held"),
            Some(("held", Some(TaskState::Waiting))),
            None,
            added("mail"),
        ];
        assert_eq!(shown, expected);
        assert_eq!(world.state().await, (2, 1, 0));
        assert_eq!(waiting(&world, &other, "mail:eu").await, ["mail"]);

        let mut all: Vec<NewTask> = ["x", "y", "z"].map(|id| world.task(HIGH, id)).into();
        all[1].due = Due::In(HOUR);
        let results = within(world.transport.enqueue(all, true)).await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        assert_eq!(ids(&world.hand("one").take(10).await), ["a", "x", "z", "held"]);
        assert!(within(world.transport.enqueue(Vec::new(), true)).await.is_empty());
    }

    async fn a_large_batch_keeps_its_order(world: World) {
        let named: Vec<String> = (0..3_000).map(|number| number.to_string()).collect();
        world.enqueue(HIGH, &named.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let mut hand = world.hand("one");
        let mut found = Vec::new();
        while found.len() < named.len() {
            let taken = hand.take(100).await;
            assert_eq!(taken.len(), 100);
            let settlements = taken.iter().map(|entry| settlement(entry, done())).collect();
            let settled = within(world.transport.settle(&world.spec.name, settlements)).await.unwrap();
            assert_eq!(settled, [Settled::Counted; 100]);
            found.extend(taken.into_iter().map(|entry| entry.id.to_string()));
        }
        assert_eq!(found, named);
    }

    async fn follow_ups_are_there_exactly_once_with_the_end_of_what_they_follow(world: World) {
        world.enqueue(HIGH, &["a"]).await;
        let mut hand = world.hand("one");
        let entry = hand.take_one().await;
        let unique = Some(Unique { key: "k".to_owned(), window: HOUR });
        let follow_ups = vec![
            world.task(LOW, "now"),
            NewTask { due: Due::In(Duration::from_millis(30)), ..world.task(NORMAL, "later") },
            NewTask { unique: unique.clone(), ..world.task(HIGH, "held") },
            NewTask { unique, ..world.task(HIGH, "again") },
            // It has to go somewhere.
            NewTask { max_length: Some(0), ..world.task(LOW, "full") },
        ];
        let settlement = settlement(&entry, Verdict::Done { follow_ups });
        for expected in [Settled::Counted, Settled::Stale] {
            assert_eq!(world.settle(settlement.clone()).await, expected);
        }
        world.pass(Duration::from_millis(40)).await;
        assert_eq!(ids(&hand.take(10).await), ["held", "later", "now", "full"]);
        assert_eq!(world.counts().await.ended.completed, 1);
    }

    async fn follow_ups_may_be_of_other_queues(world: World) {
        world.enqueue(HIGH, &["a"]).await;
        let entry = world.hand("one").take_one().await;
        let other = QueueName { template: "mail:<region>", namespace: "shop:".into() };
        // They have to go somewhere, however many wait there.
        let mail = |id| {
            let (queue, channel) = (other.clone(), "mail:eu".to_owned());
            NewTask { queue, channel, max_length: Some(1), ..world.task(HIGH, id) }
        };
        let settlement = settlement(&entry, Verdict::Done { follow_ups: vec![mail("mail"), mail("copy")] });
        for expected in [Settled::Counted, Settled::Stale] {
            assert_eq!(world.settle(settlement.clone()).await, expected);
        }
        assert_eq!(waiting(&world, &other, "mail:eu").await, ["mail", "copy"]);
    }
}
