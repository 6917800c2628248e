use crate::transport::durable::look::{Dead, PartCounts};

use super::*;

async fn letters(world: &World) -> Vec<Dead> {
    within(world.transport.dead(&world.spec.name, None, 100)).await.unwrap()
}

fn entries_of(letters: &[Dead]) -> Vec<String> {
    letters.iter().map(|letter| letter.entry.clone()).collect()
}

fn ids_of(letters: &[Dead]) -> Vec<&str> {
    letters.iter().map(|letter| letter.id.as_str()).collect()
}

/// Has tasks of these ids end as dead letters.
async fn bury(world: &World, ids: &[&str]) {
    world.enqueue(HIGH, ids).await;
    let settlements: Vec<Settlement> =
        world.hand("one").take(ids.len()).await.iter().map(|entry| dead(entry, DeadReason::Failed)).collect();
    let settled = within(world.transport.settle(&world.spec.name, settlements)).await.unwrap();
    assert_eq!(settled, vec![Settled::Counted; ids.len()]);
}

on_both! {
    async fn tasks_are_counted_by_part_and_state(world: World) {
        assert_eq!(world.counts().await.parts.len(), 3, "every part has its line");
        world.enqueue(HIGH, &["a", "b"]).await;
        world.enqueue(LOW, &["c", "d", "e", "f"]).await;
        world.enqueue_one(NewTask { due: Due::In(HOUR), ..world.task(NORMAL, "g") }).await.unwrap();
        let mut hand = world.hand("one");
        let taken = hand.take_as(Take { order: vec![(2, 3), (0, 1)], want: 4, ..Take::default() }).await.entries;
        assert_eq!(ids(&taken), ["c", "d", "e", "a"]);
        world.settle(park(&taken[0])).await;
        world.settle(dead(&taken[1], DeadReason::Failed)).await;
        world.settle(settlement(&taken[2], Verdict::Discarded)).await;
        world.pass(Duration::from_millis(200)).await;
        let counts = world.counts().await;
        let part = |waiting, delayed, running| PartCounts { waiting, delayed, running };
        assert_eq!(counts.parts[HIGH], part(1, 0, 1));
        assert_eq!(counts.parts[NORMAL], part(0, 1, 0));
        assert_eq!(counts.parts[LOW], part(1, 0, 0));
        assert_eq!((counts.parked, counts.dead, counts.ended.dead, counts.ended.discarded), (1, 1, 1, 1));
        let oldest = counts.oldest.unwrap();
        assert!(oldest >= Duration::from_millis(190) && oldest < 30 * SECOND, "{oldest:?}");
        let running = within(world.transport.running(&world.spec, 10)).await.unwrap();
        assert_eq!(running.len(), 1);
        assert_eq!((&*running[0].id, &*running[0].channel, &*running[0].instance), ("a", HIGH, "one"));
        assert!(running[0].idle >= Duration::from_millis(190) && running[0].idle < 30 * SECOND);
        assert_eq!(within(world.transport.running(&world.spec, 0)).await.unwrap(), []);
        hand.take(10).await;
        assert_eq!(world.counts().await.oldest, None, "what runs does not wait");
    }

    async fn a_dead_letter_holds_the_task_as_it_was_and_why(world: World) {
        let mut hand = world.hand("one");
        let now = hand.take_as(Take::default()).await.now;
        for (id, reason) in [
            ("a", DeadReason::Failed),
            ("b", DeadReason::Refused),
            ("c", DeadReason::Crashed),
            ("d", DeadReason::Undecodable),
            ("e", DeadReason::Unfinished),
        ] {
            world.enqueue(LOW, &[id]).await;
            let entry = hand.take_one().await;
            assert_eq!(world.settle(dead(&entry, reason)).await, Settled::Counted);
            let letter = letters(&world).await.remove(0);
            assert_eq!((&*letter.id, &*letter.channel, letter.reason, &*letter.instance), (id, LOW, reason, "me"));
            assert_eq!((letter.name.as_deref(), letter.version), (Some("Resize"), Some(2)));
            assert_eq!((&letter.payload, letter.record.error.as_deref()), (&entry.payload, Some("no disk")));
            assert_eq!((letter.record.owners, letter.record.failures), (1, 4));
            assert!(letter.at >= now && letter.at < now + 30_000);
        }
        assert_eq!(ids_of(&letters(&world).await), ["e", "d", "c", "b", "a"], "the newest first");
        let page = within(world.transport.dead(&world.spec.name, None, 2)).await.unwrap();
        let next = within(world.transport.dead(&world.spec.name, Some(&page[1].entry), 2)).await.unwrap();
        assert_eq!((ids_of(&page), ids_of(&next)), (vec!["e", "d"], vec!["c", "b"]));
    }

    async fn dead_letters_are_replayed_and_deleted(world: World) {
        bury(&world, &["a", "b", "c"]).await;
        let letters_before = letters(&world).await;
        let mend = async |entries: &[String], mend| within(world.transport.mend(&world.spec.name, entries, mend)).await;
        assert_eq!(mend(&entries_of(&letters_before[..1]), Mend::Delete).await.unwrap(), 1);
        assert_eq!(mend(&entries_of(&letters_before), Mend::Replay).await.unwrap(), 2, "one is not there any more");
        assert_eq!(mend(&entries_of(&letters_before), Mend::Replay).await.unwrap(), 0);
        assert_eq!(mend(&["nonsense".to_owned()], Mend::Delete).await.unwrap_or_default(), 0);
        assert!(letters(&world).await.is_empty());
        let mut hand = world.hand("two");
        let mut taken = hand.take(10).await;
        taken.sort_by_key(|entry| entry.id.clone());
        assert_eq!(ids(&taken), ["a", "b"]);
        for entry in &taken {
            // It begins afresh, but for its token.
            assert_eq!((entry.token(), entry.record.failures, &entry.record.error), (2, 0, &None));
            assert_eq!((&*entry.at.channel, entry.name.as_deref(), entry.version), (HIGH, Some("Resize"), Some(2)));
            assert_eq!(*entry.payload, *format!("payload of {}", entry.id).as_bytes());
            world.done(entry).await;
        }
        let counts = world.counts().await;
        assert_eq!((counts.dead, counts.ended.dead, counts.ended.completed), (0, 3, 2));
    }

    async fn a_replayed_task_does_not_expire(world: World) {
        world.enqueue_one(NewTask { expires_in: Some(Duration::from_millis(1)), ..world.task(HIGH, "a") }).await.unwrap();
        let mut hand = world.hand("one");
        let entry = hand.take_one().await;
        assert!(entry.expires_at.is_some());
        world.settle(dead(&entry, DeadReason::Failed)).await;
        let letters = letters(&world).await;
        within(world.transport.mend(&world.spec.name, &entries_of(&letters), Mend::Replay)).await.unwrap();
        assert_eq!(hand.take_one().await.expires_at, None);
    }

    async fn replayed_tasks_are_given_to_whoever_waits(world: World) {
        bury(&world, &["a"]).await;
        let entries = entries_of(&letters(&world).await);
        let mut hand = world.hand("two");
        let (brought, mended) =
            tokio::join!(within(hand.reader.wait(HOUR)), world.transport.mend(&world.spec.name, &entries, Mend::Replay));
        assert_eq!((ids(&brought.unwrap().entries), mended.unwrap()), (vec!["a"], 1));
    }

    async fn dead_letters_are_bounded_by_number_bytes_and_age_and_what_leaves_is_counted(world: World) {
        let mut world = world;
        for (bounds, kept) in [
            (DeadLetterBounds { count: 2, ..DeadLetterBounds::DEFAULT }, vec!["d", "c"]),
            // "payload of x" has 12 bytes.
            (DeadLetterBounds { bytes: 36, ..DeadLetterBounds::DEFAULT }, vec!["d", "c", "b"]),
            (DeadLetterBounds { age: Duration::from_millis(100), ..DeadLetterBounds::DEFAULT }, vec![]),
        ] {
            world.spec.dead = bounds;
            within(world.transport.declare(&world.spec)).await.unwrap();
            let before = world.counts().await.ended.dead_trimmed;
            bury(&world, &["a", "b", "c", "d"]).await;
            world.pass(Duration::from_millis(150)).await;
            within(world.transport.keeper().tidy(&world.spec, None)).await.unwrap();
            assert_eq!(ids_of(&letters(&world).await), kept, "{bounds:?}");
            let counts = world.counts().await;
            assert_eq!((counts.dead, counts.ended.dead_trimmed - before), (kept.len() as u64, 4 - kept.len() as u64));
            let entries = entries_of(&letters(&world).await);
            within(world.transport.mend(&world.spec.name, &entries, Mend::Delete)).await.unwrap();
        }
        assert_eq!(world.counts().await.ended.dead, 12);
    }

    async fn a_parked_task_waits_for_whoever_knows_its_name_and_version(world: World) {
        for (id, name, version) in [("old", "Resize", 1), ("new", "Resize", 3), ("other", "Rotate", 1)] {
            let task = NewTask { name, version, ..world.task(LOW, id) };
            world.enqueue_one(task).await.unwrap();
        }
        let mut hand = world.hand("one");
        for entry in hand.take(3).await {
            assert_eq!(world.settle(park(&entry)).await, Settled::Counted);
        }
        assert_eq!((world.state().await, world.counts().await.parked), ((0, 0, 0), 3));
        assert!(hand.take(10).await.is_empty());
        let unpark = async |name, version| within(world.transport.unpark(&world.spec.name, name, version)).await.unwrap();
        assert_eq!(unpark("Resize", 2).await, 1);
        let entry = hand.take_one().await;
        assert_eq!((&*entry.id, entry.version, entry.token(), &*entry.at.channel), ("old", Some(1), 2, LOW));
        assert_eq!(*entry.payload, *b"payload of old");
        assert_eq!((unpark("Resize", 2).await, unpark("Crop", 9).await), (0, 0));
        assert_eq!((unpark("Rotate", 1).await, unpark("Resize", 3).await), (1, 1));
        assert_eq!((hand.take(10).await.len(), world.counts().await.parked), (2, 0));
    }
}
