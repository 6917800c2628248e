use super::*;

fn of(entry: &Entry, progress: Progress) -> Note {
    Note { at: at(entry), id: Arc::clone(&entry.id), progress, is_again: false }
}

async fn note(world: &World, instance: &str, entries: &[&Entry], progress: &Progress) -> Vec<Settled> {
    let note = |entry: &&Entry| of(entry, progress.clone());
    let notes = entries.iter().map(note).collect();
    within(world.transport.note(&world.spec.name, instance, notes)).await.unwrap()
}

async fn noted(world: &World, id: &str) -> Option<Progress> {
    within(world.transport.progress(&world.spec.name, id)).await.unwrap()
}

on_both! {
    async fn what_an_owner_notes_is_read_by_the_next_one(world: World) {
        world.enqueue(HIGH, &["a"]).await;
        assert_eq!(noted(&world, "a").await, None);
        let (mut one, mut two) = (world.hand("one"), world.hand("two"));
        let entry = one.take_one().await;
        let first = progress(1.0 / 3.0, "page 1 of 3 – \u{1f4c4} \"quoted\"\n", Some(r#"{"page":1}"#));
        assert_eq!(note(&world, "one", &[&entry], &first).await, [Settled::Counted]);
        assert_eq!(noted(&world, "a").await, Some(first.clone()));
        assert_eq!(world.find("a").await.unwrap().progress, Some(first.clone()));
        // What is not said anew stays, be it a checkpoint or a report.
        let second = Progress { reported: Some(Reported::default()), checkpoint: None };
        assert_eq!(note(&world, "one", &[&entry], &second).await, [Settled::Counted]);
        assert_eq!(noted(&world, "a").await, Some(Progress { checkpoint: first.checkpoint.clone(), ..second }));
        let third = Progress { reported: None, ..first.clone() };
        assert_eq!(note(&world, "one", &[&entry], &first).await, [Settled::Counted]);
        assert_eq!(note(&world, "one", &[&entry], &third).await, [Settled::Counted]);
        assert_eq!(noted(&world, "a").await, Some(first.clone()));
        world.settle(again(&entry, Why::Crashed, None)).await;
        let entry = two.take_one().await;
        assert_eq!(noted(&world, "a").await.unwrap().checkpoint, first.checkpoint);
        // What was not noted goes with the settlement.
        let last = progress(0.9, "almost", Some("\u{0}\u{1}[9]"));
        let failed = beside(
            again(&entry, Why::Failed, Some(Duration::from_millis(10))),
            Beside { progress: Some(last.clone()), ..Beside::default() },
        );
        assert_eq!(world.settle(failed).await, Settled::Counted);
        assert_eq!(noted(&world, "a").await, Some(last.clone()));
        world.pass(Duration::from_millis(20)).await;
        let entry = one.take_one().await;
        let parked = Beside { progress: Some(progress(0.5, "", None)), ..Beside::default() };
        world.settle(beside(park(&entry), parked)).await;
        assert_eq!(noted(&world, "a").await, Some(Progress { checkpoint: last.checkpoint, ..progress(0.5, "", None) }));
    }

    async fn a_checkpoint_alone_is_noted_without_a_report(world: World) {
        world.enqueue(HIGH, &["a"]).await;
        let entry = world.hand("one").take_one().await;
        let only = Progress { reported: None, checkpoint: Some(b"7".to_vec()) };
        assert_eq!(note(&world, "one", &[&entry], &only).await, [Settled::Counted]);
        assert_eq!(noted(&world, "a").await, Some(only.clone()));
        let failed = Beside { progress: Some(Progress { checkpoint: Some(b"8".to_vec()), ..only }), ..Beside::default() };
        world.settle(beside(again(&entry, Why::Failed, None), failed)).await;
        assert_eq!(noted(&world, "a").await, Some(Progress { reported: None, checkpoint: Some(b"8".to_vec()) }));
    }

    async fn a_stale_owner_notes_nothing(world: World) {
        world.enqueue(HIGH, &["a", "b"]).await;
        let (mut one, mut two) = (world.hand("one"), world.hand("two"));
        let taken = one.take(2).await;
        let own = progress(0.5, "mine", Some("1"));
        assert_eq!(note(&world, "two", &[&taken[0]], &own).await, [Settled::Stale], "it is not its own");
        world.settle(again(&taken[0], Why::Crashed, None)).await;
        assert_eq!(note(&world, "one", &[&taken[0], &taken[1]], &own).await, [Settled::Stale, Settled::Counted]);
        let entry = two.take_one().await;
        let other = progress(0.1, "begun anew", None);
        assert_eq!(note(&world, "two", &[&entry], &other).await, [Settled::Counted]);
        assert_eq!(note(&world, "one", &[&taken[0]], &own).await, [Settled::Stale]);
        let stale = Beside { progress: Some(own.clone()), ..Beside::default() };
        assert_eq!(world.settle(beside(again(&taken[0], Why::Failed, None), stale)).await, Settled::Stale);
        assert_eq!((noted(&world, "a").await, noted(&world, "b").await), (Some(other), Some(own)));
    }

    async fn a_task_that_ends_loses_its_progress(world: World) {
        world.enqueue(HIGH, &["a", "b", "c", "d", "e"]).await;
        let mut hand = world.hand("one");
        let taken = hand.take(5).await;
        let all: Vec<&Entry> = taken.iter().collect();
        assert_eq!(note(&world, "one", &all, &progress(0.5, "half", Some("1"))).await, [Settled::Counted; 5]);
        let last = Beside { progress: Some(progress(1.0, "all", None)), ..Beside::default() };
        world.settle(beside(settlement(&taken[0], done()), last.clone())).await;
        world.done(&taken[1]).await;
        world.settle(beside(dead(&taken[2], DeadReason::Failed), last)).await;
        world.settle(settlement(&taken[3], Verdict::Discarded)).await;
        world.cancel("e").await;
        for id in ["a", "b", "c", "d", "e", "never"] {
            assert_eq!(noted(&world, id).await, None, "{id}");
        }
        assert_eq!(note(&world, "one", &all, &progress(0.5, "late", None)).await, [Settled::Stale; 5]);
        assert_eq!(noted(&world, "a").await, None);
        let letter = within(world.transport.dead(&world.spec.name, None, 9)).await.unwrap().remove(0);
        within(world.transport.mend(&world.spec.name, &[letter.entry], Mend::Replay)).await.unwrap();
        assert_eq!(noted(&world, "c").await, None, "it begins anew");
    }
}
