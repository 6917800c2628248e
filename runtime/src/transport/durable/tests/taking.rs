use super::*;

on_both! {
    async fn a_task_is_taken_once_and_is_gone_when_it_is_done(world: World) {
        world.enqueue(HIGH, &["a", "b", "c"]).await;
        let (mut one, mut other) = (world.hand("one"), world.hand("other"));
        let taken = one.take_as(Take { order: vec![(0, 10)], want: 10, ..Take::default() }).await;
        assert_eq!((ids(&taken.entries), taken.next_due), (vec!["a", "b", "c"], None));
        let first = &taken.entries[0];
        assert_eq!((&*first.at.channel, first.at.is_back, first.token()), (HIGH, false, 1));
        assert_eq!((first.name.as_deref(), first.version), (Some("Resize"), Some(2)));
        assert_eq!((&*first.payload, &first.record), (&b"payload of a"[..], &Record::default()));
        assert_eq!((first.unique.as_deref(), first.expires_at), (None, None));
        let waited = taken.now - first.enqueued_at().unwrap();
        assert!(waited < 10_000, "{waited} ms");
        assert!(other.take(10).await.is_empty());
        assert_eq!(world.state().await, (0, 0, 3));

        // Settlements travel with the next take.
        let settlements = taken.entries.iter().map(|entry| settlement(entry, done())).collect();
        let settled = one.take_as(Take { settlements, order: vec![(0, 10)], want: 10, ..Take::default() }).await;
        assert_eq!((settled.settled, settled.entries.len()), (vec![Settled::Counted; 3], 0));
        assert_eq!(world.state().await, (0, 0, 0));
        assert_eq!(world.counts().await.ended.completed, 3);
        assert_eq!((one.reader.connections(), other.reader.connections()), (1, 1));
    }

    async fn parts_are_asked_in_order_with_a_limit_each_and_then_once_more_without(world: World) {
        for (part, channel) in [HIGH, NORMAL, LOW].into_iter().enumerate() {
            let named: Vec<String> = (0..5).map(|number| format!("{part}{number}")).collect();
            world.enqueue(channel, &named.iter().map(String::as_str).collect::<Vec<_>>()).await;
        }
        let mut hand = world.hand("one");
        let take = |order: &[(usize, usize)], want| Take { order: order.to_vec(), want, ..Take::default() };
        let taken = hand.take_as(take(&[(0, 2), (1, 1), (2, 0)], 6)).await.entries;
        assert_eq!(ids(&taken), ["00", "01", "10", "02", "03", "04"]);
        let taken = hand.take_as(take(&[(2, 1), (0, 7), (1, 1)], 3)).await.entries;
        assert_eq!(ids(&taken), ["20", "11", "21"]);
        // One that is not named is not asked, and one may be named twice.
        let taken = hand.take_as(take(&[(2, 1), (1, 1), (2, 10), (1, 10)], 4)).await.entries;
        assert_eq!(ids(&taken), ["22", "12", "23", "24"]);
        assert_eq!(ids(&hand.take_as(take(&[(0, 9)], 9)).await.entries), [""; 0]);
        assert_eq!(ids(&hand.take_as(take(&[(0, 9), (1, 9), (2, 9)], 9)).await.entries), ["13", "14"]);
    }

    async fn further_ones_are_taken_of_the_first_parts_alone(world: World) {
        world.enqueue(HIGH, &["h0", "h1", "h2"]).await;
        world.enqueue(LOW, &["l0", "l1", "l2", "l3", "l4"]).await;
        let order = vec![(0, 9), (1, 9), (2, 9)];
        let mut hand = world.hand("one");
        let take = Take { order: order.clone(), want: 0, further: (2, 2), ..Take::default() };
        assert_eq!(ids(&hand.take_as(take).await.entries), ["h0", "h1"]);
        let take = Take { order: order.clone(), want: 2, further: (2, 2), ..Take::default() };
        assert_eq!(ids(&hand.take_as(take).await.entries), ["h2", "l0"]);
        let take = Take { order, want: 1, further: (2, 2), ..Take::default() };
        assert_eq!(ids(&hand.take_as(take).await.entries), ["l1"]);
    }

    async fn what_comes_back_is_taken_before_what_is_new_and_has_a_larger_token(world: World) {
        world.enqueue(HIGH, &["a", "b"]).await;
        let mut hand = world.hand("one");
        let first = hand.take(1).await.remove(0);
        assert_eq!(world.settle(again(&first, Why::HandedBack, None)).await, Settled::Counted);
        let taken = hand.take(2).await;
        assert_eq!(ids(&taken), ["a", "b"]);
        assert_eq!((taken[0].at.is_back, taken[0].token(), taken[1].token()), (true, 2, 1));
        assert_eq!((&taken[0].payload, &taken[0].name), (&first.payload, &first.name));
        assert_eq!(taken[0].enqueued_at(), first.enqueued_at());
        assert_ne!(taken[0].at, first.at);
        assert_eq!(world.counts().await.ended.handed_back, 1);
    }

    async fn a_better_part_comes_first_on_every_way_back(world: World) {
        world.enqueue(LOW, &["low"]).await;
        world.enqueue(HIGH, &["back", "later"]).await;
        let mut hand = world.hand("one");
        let taken = hand.take(3).await;
        assert_eq!(ids(&taken), ["back", "later", "low"]);
        let settlements = vec![
            again(&taken[2], Why::HandedBack, None),
            again(&taken[0], Why::Crashed, None),
            again(&taken[1], Why::Failed, Some(Duration::from_millis(20))),
        ];
        within(world.transport.settle(&world.spec.name, settlements)).await.unwrap();
        world.pass(Duration::from_millis(30)).await;
        assert_eq!(ids(&hand.take(2).await), ["back", "later"]);
        assert_eq!(ids(&hand.take(2).await), ["low"]);
    }

    async fn a_delayed_task_is_not_taken_before_it_is_due(world: World) {
        let delay = Duration::from_millis(300);
        let mut hand = world.hand("one");
        let now = hand.take_as(Take::default()).await.now;
        world.enqueue_one(NewTask { due: Due::In(delay), ..world.task(LOW, "low") }).await.unwrap();
        world.enqueue_one(NewTask { due: Due::At(now + 200), ..world.task(HIGH, "high") }).await.unwrap();
        world.enqueue_one(NewTask { due: Due::At(now - 200), ..world.task(HIGH, "past") }).await.unwrap();
        world.enqueue_one(NewTask { due: Due::In(HOUR), ..world.task(HIGH, "hour") }).await.unwrap();
        let everything = || Take { order: vec![(0, 9), (1, 9), (2, 9)], want: 9, ..Take::default() };
        let mut taken = hand.take_as(everything()).await;
        assert_eq!(ids(&taken.entries), ["past"]);
        assert!(taken.next_due.is_some_and(|due| due <= delay), "{:?}", taken.next_due);
        let mut found = Vec::new();
        while found.len() < 2 {
            world.pass(taken.next_due.unwrap()).await;
            taken = hand.take_as(everything()).await;
            for entry in &taken.entries {
                let due = if &*entry.id == "low" { 300 } else { 200 };
                assert!(taken.now >= now + due, "{} at {}", entry.id, taken.now - now);
                assert!(entry.at.is_back && entry.token() == 1 && entry.record.attempt() == 1);
                assert!(entry.enqueued_at().unwrap() < now + due, "it was enqueued before it was due");
                found.push(entry.id.to_string());
            }
        }
        found.sort();
        assert_eq!(found, ["high", "low"]);
        assert!(taken.next_due.is_some_and(|due| due > HOUR / 2));
        assert_eq!(world.state().await, (0, 1, 3));
    }

    async fn a_failed_attempt_is_repeated_after_its_pause_with_what_it_has_been_through(world: World) {
        world.enqueue(HIGH, &["a"]).await;
        let mut hand = world.hand("one");
        let entry = hand.take_one().await;
        let record = Record {
            failures: 1,
            crashes: 2,
            died: vec!["x".to_owned(), "\"y\"\n".to_owned()],
            error: Some("no disk: \u{e9}\0\"".to_owned()),
            ..moved(&entry)
        };
        let verdict = Verdict::Again { why: Why::Failed, after: Some(Duration::from_millis(50)), record: record.clone() };
        assert_eq!(world.settle(settlement(&entry, verdict)).await, Settled::Counted);
        assert!(hand.take(1).await.is_empty());
        assert_eq!(world.state().await, (0, 1, 0));
        world.pass(Duration::from_millis(60)).await;
        let entry = hand.take_one().await;
        assert_eq!((&entry.record, entry.token(), entry.record.attempt()), (&record, 2, 4));
        assert_eq!(world.counts().await.ended.failed_attempts, 1);
    }

    async fn a_task_says_when_it_expires_counted_from_when_it_is_due(world: World) {
        let mut hand = world.hand("one");
        let now = hand.take_as(Take::default()).await.now;
        let task = NewTask { expires_in: Some(HOUR), ..world.task(HIGH, "now") };
        world.enqueue_one(task).await.unwrap();
        let task = NewTask { expires_in: Some(HOUR), due: Due::At(now + 100), ..world.task(LOW, "later") };
        world.enqueue_one(task).await.unwrap();
        world.pass(Duration::from_millis(110)).await;
        let taken = hand.take(2).await;
        let [first, later] = [&taken[0], &taken[1]].map(|entry| entry.expires_at.unwrap() - now - 3_600_000);
        assert!(first < 10_000 && later == 100, "{first} {later}");
        assert_eq!(world.settle(settlement(&taken[0], Verdict::Expired)).await, Settled::Counted);
        assert_eq!(world.settle(again(&taken[1], Why::HandedBack, None)).await, Settled::Counted);
        assert_eq!(world.counts().await.ended.expired, 1);
        assert_eq!(hand.take_one().await.expires_at, taken[1].expires_at, "it goes with the task");
    }

    async fn where_a_loss_is_better_than_a_second_run_a_task_is_done_when_it_is_taken(world: World) {
        let mut world = world;
        world.spec.at_most_once = true;
        world.enqueue(HIGH, &["a", "b"]).await;
        let mut hand = world.hand("one");
        let entry = hand.take(1).await.remove(0);
        assert_eq!(ids(&within(hand.reader.wait(HOUR)).await.unwrap().entries), ["b"]);
        assert_eq!(world.state().await, (0, 0, 0));
        assert_eq!(world.counts().await.ended.completed, 2);
        assert_eq!(world.settle(again(&entry, Why::Failed, None)).await, Settled::Stale);
        world.pass(LEASE * 2).await;
        let overdue = within(world.transport.keeper().overdue(&world.spec, Duration::MAX, 10)).await.unwrap();
        assert_eq!((overdue.entries.len(), overdue.next), (0, None));
    }

    async fn names_that_look_like_keys_and_patterns_are_names(world: World) {
        let mut world = world;
        let parts = ["a:{b}:*", "a:[c]:?", "a:\\:\"'\u{e9}%3A", "a: \r\n$:1", "a:back:new:"];
        world.spec.name = QueueName { template: "a:<b>:{c}}:<*>", namespace: "n{x}*?[1]:".into() };
        world.spec.parts = parts.map(Arc::from).to_vec();
        within(world.transport.declare(&world.spec)).await.unwrap();
        for part in parts {
            let unique = Some(Unique { key: format!("key {part}"), window: HOUR });
            let due = Due::In(Duration::from_millis(10));
            world.enqueue_one(NewTask { unique, due, ..world.task(part, &format!("delayed {part}")) }).await.unwrap();
            world.enqueue(part, &[part]).await;
        }
        world.pass(Duration::from_millis(20)).await;
        let mut hand = world.hand("{one}*");
        let entries = hand.take(99).await;
        assert_eq!(entries.len(), 10);
        for (entry, part) in entries.iter().zip(parts.iter().flat_map(|part| [part, part])) {
            assert_eq!((&*entry.at.channel, entry.id.ends_with(part)), (*part, true));
            assert_eq!(world.settle(dead(entry, DeadReason::Failed)).await, Settled::Counted);
        }
        let letters = within(world.transport.dead(&world.spec.name, None, 99)).await.unwrap();
        assert_eq!(letters.len(), 10);
        let entries: Vec<String> = letters.iter().map(|letter| letter.entry.clone()).collect();
        let replayed = world.transport.mend(&world.spec.name, &entries, Mend::Replay);
        assert_eq!(within(replayed).await.unwrap(), 10);
        let entries = hand.take(99).await;
        assert_eq!(entries.len(), 10);
        let keep = within(world.transport.keeper().keep(
            &world.spec.name,
            "{one}*",
            "{}",
            &entries.iter().map(at).collect::<Vec<_>>(),
        ))
        .await;
        assert_eq!(keep.unwrap().lost, []);
        for entry in &entries {
            world.done(entry).await;
        }
        assert_eq!(world.state().await, (0, 0, 0));
    }

    async fn any_bytes_are_a_payload(world: World) {
        let payload: Vec<u8> = (0..=255).chain(b"\r\n$5\r\n".iter().copied()).collect();
        world.enqueue_one(NewTask { payload: payload.clone(), ..world.task(HIGH, "a") }).await.unwrap();
        let due = Due::In(Duration::from_millis(10));
        world.enqueue_one(NewTask { payload: payload.clone(), due, ..world.task(HIGH, "b") }).await.unwrap();
        world.pass(Duration::from_millis(20)).await;
        let mut hand = world.hand("one");
        for entry in hand.take(2).await {
            assert_eq!(*entry.payload, payload);
            world.settle(again(&entry, Why::Failed, Some(Duration::from_millis(10)))).await;
        }
        world.pass(Duration::from_millis(20)).await;
        for entry in hand.take(2).await {
            assert_eq!(*entry.payload, payload);
            world.settle(dead(&entry, DeadReason::Refused)).await;
        }
        for letter in within(world.transport.dead(&world.spec.name, None, 9)).await.unwrap() {
            assert_eq!(*letter.payload, payload);
        }
    }
}
