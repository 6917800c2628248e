use crate::transport::durable::course::Told;

use super::*;

async fn watch(world: &World) -> Listener {
    let listener = listen(world).await;
    within(world.transport.watch(&world.spec.name)).await.unwrap();
    listener
}

async fn listen(world: &World) -> Listener {
    world.listen(&[&format!("shop:{}", world.spec.name.events())]).await
}

async fn told(world: &World, listener: &mut Listener) -> Vec<Told> {
    let heard = world.heard(listener).await;
    heard.iter().map(|(_, payload)| serde_json::from_str(payload).unwrap()).collect()
}

/// Each as `what id`.
async fn briefly(world: &World, listener: &mut Listener) -> Vec<String> {
    told(world, listener).await.iter().map(|told| format!("{} {}", told.what, told.id)).collect()
}

async fn note(world: &World, entry: &Entry, progress: Progress, is_again: bool) -> Vec<Settled> {
    let notes = vec![Note { at: at(entry), id: Arc::clone(&entry.id), progress, is_again }];
    within(world.transport.note(&world.spec.name, "one", notes)).await.unwrap()
}

on_both! {
    async fn a_watcher_is_told_of_each_report_once(world: World) {
        world.enqueue(HIGH, &["a"]).await;
        let entry = world.hand("one").take_one().await;
        let mut listener = watch(&world).await;
        let half = progress(0.5, "half", Some("1"));
        note(&world, &entry, half.clone(), false).await;
        // A checkpoint says nothing of the report before, and what is noted again after its answer was lost is no other report.
        note(&world, &entry, Progress { reported: None, checkpoint: Some(b"2".to_vec()) }, false).await;
        note(&world, &entry, half.clone(), true).await;
        assert_eq!(briefly(&world, &mut listener).await, ["progress a"]);
        // The same words may be a new one; and what was not noted is told when it is.
        note(&world, &entry, half, false).await;
        note(&world, &entry, progress(0.6, "half", None), true).await;
        assert_eq!(briefly(&world, &mut listener).await, ["progress a", "progress a"]);
    }

    async fn a_watcher_is_told_of_a_task_s_whole_course(world: World) {
        let mut listener = watch(&world).await;
        world.enqueue(HIGH, &["a"]).await;
        let mut hand = world.hand("one");
        let entry = hand.take_one().await;
        let taken = told(&world, &mut listener).await.remove(0);
        let expected = Told { what: "taken".into(), id: "a".into(), channel: HIGH.into(), at: taken.at, ..Told::default() };
        assert_eq!(taken, Told { instance: Some("one".into()), ..expected });
        assert!(taken.at > 1_700_000_000_000);
        note(&world, &entry, progress(0.5, "half \"way\"", Some("1")), false).await;
        let progress = told(&world, &mut listener).await.remove(0);
        assert_eq!((progress.what.as_str(), progress.fraction, progress.text.as_deref()), ("progress", Some(0.5), Some("half \"way\"")));
        let record = Record { failures: 1, error: Some("no \"disk\"".into()), ..moved(&entry) };
        let failed = Verdict::Again { why: Why::Failed, after: Some(Duration::from_millis(20)), record };
        world.settle(settlement(&entry, failed)).await;
        let failed = told(&world, &mut listener).await.remove(0);
        assert_eq!((failed.what.as_str(), failed.error.as_deref(), failed.after), ("failed", Some("no \"disk\""), Some(20)));
        world.pass(Duration::from_millis(30)).await;
        for (why, what) in [
            (Why::Crashed, "crashed"),
            (Why::Snoozed, "returned"),
            (Why::HandedBack, "returned"),
            (Why::Unknown, "returned"),
        ] {
            let entry = hand.take_one().await;
            world.settle(again(&entry, why, None)).await;
            assert_eq!(briefly(&world, &mut listener).await, ["taken a".to_owned(), format!("{what} a")]);
        }
        let entry = hand.take_one().await;
        world.settle(park(&entry)).await;
        within(world.transport.unpark(&world.spec.name, "Resize", 2)).await.unwrap();
        assert_eq!(briefly(&world, &mut listener).await, ["taken a", "parked a"]);
        // With the next take, as most are.
        let entry = hand.take_one().await;
        let settlements = vec![dead(&entry, DeadReason::Refused)];
        hand.take_as(Take { settlements, ..Take::default() }).await;
        let dead = told(&world, &mut listener).await.remove(1);
        assert_eq!((dead.what.as_str(), dead.reason.as_deref(), dead.error.as_deref()), ("dead", Some("refused"), Some("no disk")));
        assert_eq!((dead.id.as_str(), dead.channel.as_str()), ("a", HIGH));
    }

    async fn a_watcher_is_told_of_every_ending(world: World) {
        let mut listener = watch(&world).await;
        world.enqueue(HIGH, &["a", "b", "c", "d", "e", "f"]).await;
        let mut hand = world.hand("one");
        let taken = hand.take(5).await;
        let heard = briefly(&world, &mut listener).await;
        assert_eq!(heard, ["taken a", "taken b", "taken c", "taken d", "taken e"]);
        let settlements = vec![
            settlement(&taken[0], done()),
            settlement(&taken[1], done()),
            settlement(&taken[2], Verdict::Discarded),
            settlement(&taken[3], Verdict::Expired),
        ];
        within(world.transport.settle(&world.spec.name, settlements.clone())).await.unwrap();
        let heard = briefly(&world, &mut listener).await;
        assert_eq!(heard, ["completed a", "completed b", "discarded c", "expired d"]);
        within(world.transport.settle(&world.spec.name, settlements)).await.unwrap();
        assert_eq!(briefly(&world, &mut listener).await, [""; 0], "it has happened once");
        world.cancel("e").await;
        world.cancel("f").await;
        assert_eq!(briefly(&world, &mut listener).await, ["cancelled e", "cancelled f"]);
        world.settle(beside(settlement(&taken[4], done()), kept("7"))).await;
        assert_eq!(note(&world, &taken[4], progress(0.5, "", None), false).await, [Settled::Stale]);
        assert_eq!(briefly(&world, &mut listener).await, [""; 0]);
        // By a wait, and by whoever takes it from an instance that died.
        world.enqueue(LOW, &["g"]).await;
        let entry = within(hand.reader.wait(HOUR)).await.unwrap().entries.remove(0);
        assert_eq!(briefly(&world, &mut listener).await, ["taken g"]);
        world.pass(LEASE + Duration::from_millis(20)).await;
        let mut keeper = world.transport.keeper();
        within(keeper.reclaim(&world.spec, vec![again(&entry, Why::Crashed, None)])).await.unwrap();
        assert_eq!(briefly(&world, &mut listener).await, ["crashed g"]);
    }

    async fn what_is_done_when_it_is_taken_is_told_so(world: World) {
        let mut world = world;
        world.spec.at_most_once = true;
        let mut listener = watch(&world).await;
        world.enqueue(HIGH, &["a"]).await;
        world.hand("one").take_one().await;
        assert_eq!(briefly(&world, &mut listener).await, ["taken a", "completed a"]);
    }

    async fn nothing_is_told_while_nobody_watches(world: World) {
        let mut listener = listen(&world).await;
        world.enqueue(HIGH, &["a", "b", "c"]).await;
        let mut hand = world.hand("one");
        let taken = hand.take(3).await;
        assert_eq!(note(&world, &taken[0], progress(0.5, "", None), false).await, [Settled::Counted]);
        world.settle(again(&taken[0], Why::Failed, None)).await;
        world.settle(dead(&taken[1], DeadReason::Failed)).await;
        world.done(&taken[2]).await;
        world.cancel("a").await;
        assert_eq!(world.heard(&mut listener).await, []);
        within(world.transport.watch(&world.spec.name)).await.unwrap();
        world.enqueue(HIGH, &["d"]).await;
        let entry = hand.take_one().await;
        assert_eq!(briefly(&world, &mut listener).await, ["taken d"], "as soon as somebody does");
        world.done(&entry).await;
        assert_eq!(briefly(&world, &mut listener).await, ["completed d"]);
    }
}
