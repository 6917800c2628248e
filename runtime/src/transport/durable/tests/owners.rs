use super::*;

async fn keep(keeper: &mut AnyKeeper, world: &World, instance: &str, held: &[EntryAt]) -> Vec<EntryAt> {
    within(keeper.keep(&world.spec.name, instance, r#"{"version":"1"}"#, held)).await.unwrap().lost
}

async fn reclaim(keeper: &mut AnyKeeper, world: &World, settlement: Settlement) -> Settled {
    within(keeper.reclaim(&world.spec, vec![settlement])).await.unwrap()[0]
}

on_both! {
    async fn what_was_taken_from_its_owner_is_not_its_to_settle(world: World) {
        world.enqueue(HIGH, &["a"]).await;
        let (mut one, mut two) = (world.hand("one"), world.hand("two"));
        let mut keeper = world.transport.keeper();
        let stale = one.take_one().await;
        let overdue = within(keeper.overdue(&world.spec, Duration::MAX, 10)).await.unwrap();
        assert!(overdue.entries.is_empty() && overdue.next.is_some_and(|next| next <= LEASE + SECOND / 10));
        world.pass(LEASE + Duration::from_millis(20)).await;
        let overdue = within(keeper.overdue(&world.spec, Duration::MAX, 10)).await.unwrap().entries;
        assert_eq!((overdue.len(), &*overdue[0].owner, overdue[0].has_died), (1, "one", true));
        let found = &overdue[0].entry;
        assert_eq!((&found.at, &*found.id, &found.payload), (&stale.at, "a", &stale.payload));
        assert_eq!(reclaim(&mut keeper, &world, again(found, Why::Crashed, None)).await, Settled::Counted);
        assert_eq!(world.settle(settlement(&stale, done())).await, Settled::Stale);

        let entry = two.take_one().await;
        assert_eq!((entry.token(), entry.at.is_back), (2, true));
        for verdict in [done(), Verdict::Discarded, Verdict::Expired] {
            assert_eq!(world.settle(settlement(&stale, verdict)).await, Settled::Stale);
        }
        assert_eq!(world.settle(dead(&stale, DeadReason::Failed)).await, Settled::Stale);
        assert_eq!(world.settle(again(&stale, Why::Failed, None)).await, Settled::Stale);
        assert_eq!(world.settle(park(&stale)).await, Settled::Stale);
        assert_eq!(reclaim(&mut keeper, &world, again(&stale, Why::Crashed, None)).await, Settled::Stale);
        assert_eq!(keep(&mut keeper, &world, "one", &[at(&stale)]).await, [at(&stale)], "it is not taken back");
        assert_eq!(world.state().await, (0, 0, 1));
        world.done(&entry).await;
        let ended = world.counts().await.ended;
        assert_eq!((ended.completed, ended.crashed_attempts, ended.dead, ended.discarded), (1, 1, 0, 0));
    }

    async fn what_is_settled_again_after_a_lost_answer_counts_once(world: World) {
        world.enqueue(HIGH, &["a", "b", "c"]).await;
        let mut hand = world.hand("one");
        let taken = hand.take(3).await;
        let settlements = [
            settlement(&taken[0], done()),
            again(&taken[1], Why::Failed, None),
            dead(&taken[2], DeadReason::Refused),
        ];
        for expected in [Settled::Counted, Settled::Stale, Settled::Stale] {
            let settled = within(world.transport.settle(&world.spec.name, settlements.to_vec())).await.unwrap();
            assert_eq!(settled, [expected; 3]);
        }
        let take = Take { settlements: settlements.to_vec(), ..Take::default() };
        assert_eq!(hand.take_as(take).await.settled, [Settled::Stale; 3]);
        assert_eq!(ids(&hand.take(10).await), ["b"]);
        let counts = world.counts().await;
        assert_eq!((counts.dead, counts.ended.completed, counts.ended.failed_attempts), (1, 1, 1));
    }

    async fn a_lease_that_is_renewed_is_not_over(world: World) {
        world.enqueue(HIGH, &["a", "b", "c"]).await;
        let mut hand = world.hand("one");
        let mut keeper = world.transport.keeper();
        let taken = hand.take(3).await;
        world.done(&taken[2]).await;
        let held: Vec<EntryAt> = taken.iter().map(at).collect();
        for _ in 0..4 {
            world.pass(LEASE / 2).await;
            assert_eq!(keep(&mut keeper, &world, "one", &held).await, [at(&taken[2])]);
            assert!(within(keeper.overdue(&world.spec, Duration::MAX, 10)).await.unwrap().entries.is_empty());
        }
        assert_eq!(keep(&mut keeper, &world, "two", &held[..1]).await, held[..1], "it is another one's");
        for _ in 0..3 {
            world.pass(LEASE / 2).await;
            keep(&mut keeper, &world, "one", &held[..1]).await;
        }
        // The owner lives, and has let one lease end.
        let overdue = within(keeper.overdue(&world.spec, Duration::MAX, 10)).await.unwrap();
        assert_eq!(overdue.entries.iter().map(|found| &*found.entry.id).collect::<Vec<_>>(), ["b"]);
        assert!(!overdue.entries[0].has_died && overdue.next.is_some_and(|next| next <= LEASE + SECOND / 10));
        assert_eq!(hand.take(10).await.len(), 0);
    }

    async fn an_instance_holds_its_tasks_for_as_long_as_it_says_where_that_is_longer(world: World) {
        let mut keeper = world.transport.keeper();
        for (instance, about) in [("long", r#"{"lease_millis":60000}"#), ("short", r#"{"lease_millis":1}"#), ("odd", "[")] {
            within(keeper.keep(&world.spec.name, instance, about, &[])).await.unwrap();
        }
        let mut taken = Vec::new();
        for (id, instance) in [("a", "long"), ("b", "long"), ("c", "long"), ("d", "short"), ("e", "odd")] {
            world.enqueue(HIGH, &[id]).await;
            taken.push(world.hand(instance).take_one().await);
        }
        world.pass(Duration::from_millis(20)).await;
        assert!(within(keeper.overdue(&world.spec, Duration::MAX, 10)).await.unwrap().entries.is_empty(), "it is no shorter");
        world.pass(LEASE).await;
        // Those that are not over are none of the so many.
        let overdue = within(keeper.overdue(&world.spec, Duration::MAX, 2)).await.unwrap();
        let found = |overdue: &Overdue| overdue.entries.iter().map(|found| found.entry.id.to_string()).collect::<Vec<_>>();
        assert_eq!(found(&overdue), ["d", "e"]);
        assert!(overdue.entries.iter().all(|found| found.has_died));
        for (entry, settled) in taken.iter().zip([Settled::Stale, Settled::Stale, Settled::Stale, Settled::Counted]) {
            assert_eq!(reclaim(&mut keeper, &world, again(entry, Why::Crashed, None)).await, settled);
        }
        let overdue = within(keeper.overdue(&world.spec, Duration::MAX, 10)).await.unwrap();
        assert_eq!((found(&overdue), world.state().await), (vec!["e".to_owned()], (1, 0, 4)));
        // Nor is it one that is gone.
        for entry in &taken[..3] {
            world.done(entry).await;
        }
        world.done(&taken[4]).await;
        world.pass(LEASE * 10).await;
        within(keeper.tidy(&world.spec, None)).await.unwrap();
        let workers = within(world.transport.workers(&world.spec.name)).await.unwrap();
        assert_eq!(workers.iter().map(|worker| &*worker.instance).collect::<Vec<_>>(), ["long"]);
    }

    async fn whoever_has_just_come_leaves_each_its_own_lease_to_renew_what_it_has(world: World) {
        let (mut keeper, long) = (world.transport.keeper(), LEASE + SECOND / 5);
        let about = format!(r#"{{"lease_millis":{}}}"#, long.as_millis());
        within(keeper.keep(&world.spec.name, "long", &about, &[])).await.unwrap();
        for (id, instance) in [("a", "long"), ("b", "short")] {
            world.enqueue(HIGH, &[id]).await;
            world.hand(instance).take_one().await;
        }
        world.pass(long + Duration::from_millis(20)).await;
        for (patience, found, next) in [(LEASE, vec!["b"], Some(long - LEASE)), (long, vec!["a", "b"], None)] {
            let overdue = within(keeper.overdue(&world.spec, patience, 10)).await.unwrap();
            let ids: Vec<_> = overdue.entries.iter().map(|found| &*found.entry.id).collect();
            assert_eq!((ids, overdue.next), (found, next));
        }
    }

    async fn only_so_many_overdue_tasks_are_found_at_once_and_each_of_them(world: World) {
        world.enqueue(HIGH, &["a", "b", "c"]).await;
        world.enqueue(LOW, &["d", "e"]).await;
        let mut hand = world.hand("one");
        assert_eq!(hand.take(9).await.len(), 5);
        world.pass(LEASE + Duration::from_millis(20)).await;
        let mut keeper = world.transport.keeper();
        let mut found = Vec::new();
        for expected in [2, 2, 1, 0] {
            let overdue = within(keeper.overdue(&world.spec, Duration::MAX, 2)).await.unwrap().entries;
            assert_eq!(overdue.len(), expected);
            let settlements = overdue.iter().map(|overdue| again(&overdue.entry, Why::Crashed, None)).collect();
            let settled = within(keeper.reclaim(&world.spec, settlements)).await.unwrap();
            assert_eq!(settled, vec![Settled::Counted; expected]);
            found.extend(overdue.into_iter().map(|overdue| overdue.entry.id.to_string()));
        }
        found.sort();
        assert_eq!(found, ["a", "b", "c", "d", "e"]);
        assert_eq!(world.state().await, (5, 0, 0));
    }

    async fn of_many_who_reclaim_a_task_one_does_and_none_once_it_was_renewed(world: World) {
        world.enqueue(HIGH, &["a", "b"]).await;
        let mut hand = world.hand("one");
        let taken = hand.take(2).await;
        world.pass(LEASE + Duration::from_millis(20)).await;
        let mut keepers = [(); 8].map(|()| world.transport.keeper());
        assert_eq!(keep(&mut keepers[0], &world, "one", &[at(&taken[1])]).await, []);
        let races = keepers.iter_mut().map(|keeper| {
            let settlements = taken.iter().map(|entry| again(entry, Why::Crashed, None)).collect();
            within(keeper.reclaim(&world.spec, settlements))
        });
        let settled: Vec<Vec<Settled>> =
            futures_util::future::join_all(races).await.into_iter().map(Result::unwrap).collect();
        let counted = |of: usize| settled.iter().filter(|settled| settled[of] == Settled::Counted).count();
        assert_eq!((counted(0), counted(1)), (1, 0));
        assert_eq!(ids(&hand.take(10).await), ["a"]);
    }

    async fn a_renewed_lease_leaves_since_when_a_task_runs(world: World) {
        const STEP: Duration = Duration::from_millis(150);
        world.enqueue(HIGH, &["a"]).await;
        let (mut one, mut keeper) = (world.hand("one"), world.transport.keeper());
        let taken = one.take(1).await;
        let running = async || within(world.transport.running(&world.spec, 10)).await.unwrap().remove(0);
        let mut longest = Duration::ZERO;
        for renewals in 1..=3 {
            world.pass(STEP).await;
            assert_eq!(keep(&mut keeper, &world, "one", &[at(&taken[0])]).await, []);
            let seen = running().await;
            assert!(seen.held >= renewals * STEP && seen.held < 30 * SECOND, "{renewals}: {seen:?}");
            longest = seen.held;
            assert!(seen.held >= seen.idle + renewals * STEP, "{renewals}: {seen:?}");
        }
        // The next owner has it from then on.
        world.settle(again(&taken[0], Why::HandedBack, None)).await;
        one.take(1).await;
        let seen = running().await;
        assert!(seen.held < longest && seen.held >= seen.idle, "{seen:?}");
    }

    async fn an_instance_is_told_what_it_has(world: World) {
        world.enqueue(HIGH, &["a"]).await;
        world.enqueue(LOW, &["b", "c"]).await;
        let (mut one, mut two) = (world.hand("one"), world.hand("two"));
        let taken = one.take(2).await;
        assert_eq!(two.take(10).await.len(), 1);
        let mut keeper = world.transport.keeper();
        let pending = within(keeper.pending(&world.spec, "one")).await.unwrap();
        assert_eq!(ids(&pending), ["a", "b"]);
        assert_eq!((&pending[0].at, &pending[0].payload), (&taken[0].at, &taken[0].payload));
        assert_eq!((&pending[1].name, pending[1].version), (&taken[1].name, taken[1].version));
        // Asking costs nothing: attempts are our own.
        for _ in 0..20 {
            within(keeper.pending(&world.spec, "one")).await.unwrap();
        }
        world.done(&pending[0]).await;
        assert_eq!(world.settle(again(&pending[1], Why::HandedBack, None)).await, Settled::Counted);
        let entry = one.take_one().await;
        assert_eq!((entry.record.failures, entry.record.crashes, entry.token()), (0, 0, 2));
        assert!(within(keeper.pending(&world.spec, "nobody")).await.unwrap().is_empty());
    }

    async fn whoever_has_connected_again_is_told_so_before_it_takes_tasks_from_others(world: World) {
        world.enqueue(HIGH, &["a"]).await;
        let mut hand = world.hand("one");
        let entry = hand.take_one().await;
        let mut keeper = world.transport.keeper();
        keep(&mut keeper, &world, "two", &[]).await;
        world.pass(LEASE + Duration::from_millis(20)).await;
        assert_eq!(within(keeper.overdue(&world.spec, Duration::MAX, 9)).await.unwrap().entries.len(), 1);
        world.cut();
        assert!(within(keeper.overdue(&world.spec, Duration::MAX, 9)).await.is_err());
        assert!(within(keeper.reclaim(&world.spec, vec![again(&entry, Why::Crashed, None)])).await.is_err());
        // A heartbeat says so once, and counts.
        for is_anew in [true, false] {
            let told = within(keeper.keep(&world.spec.name, "two", "{}", &[])).await;
            assert_eq!(told.unwrap(), Heartbeat { lost: Vec::new(), is_anew });
        }
        assert_eq!(within(keeper.overdue(&world.spec, Duration::MAX, 9)).await.unwrap().entries.len(), 1);
        // What its owner had stays its own, and its reader says that an answer may have been lost.
        while within(hand.reader.take(Take::default())).await.is_err() {}
        assert_eq!(hand.reader.connections(), 2);
        world.done(&entry).await;
    }

    async fn an_instance_that_leaves_is_gone_unless_it_has_tasks(world: World) {
        world.enqueue(HIGH, &["a"]).await;
        let mut keeper = world.transport.keeper();
        let mut busy = world.hand("busy");
        let entry = busy.take_one().await;
        for (instance, held) in [("busy", vec![at(&entry)]), ("idle", vec![]), ("silent", vec![])] {
            assert_eq!(keep(&mut keeper, &world, instance, &held).await, []);
        }
        let workers = within(world.transport.workers(&world.spec.name)).await.unwrap();
        let mut names: Vec<&str> = workers.iter().map(|worker| worker.instance.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["busy", "idle", "silent"]);
        assert!(workers.iter().all(|worker| worker.about == r#"{"version":"1"}"# && worker.silent < 10 * SECOND));
        within(keeper.tidy(&world.spec, Some("idle"))).await.unwrap();
        within(keeper.tidy(&world.spec, Some("busy"))).await.unwrap();
        world.pass(LEASE + Duration::from_millis(20)).await;
        let overdue = within(keeper.overdue(&world.spec, Duration::MAX, 10)).await.unwrap().entries;
        assert_eq!((&*overdue[0].owner, overdue[0].has_died), ("busy", true));
        let names = async || -> Vec<String> {
            let workers = within(world.transport.workers(&world.spec.name)).await.unwrap();
            workers.into_iter().map(|worker| worker.instance).filter(|instance| instance != "busy").collect()
        };
        assert_eq!(names().await, ["silent"]);
        world.pass(LEASE * 10).await;
        keep(&mut keeper, &world, "new", &[]).await;
        within(keeper.tidy(&world.spec, None)).await.unwrap();
        assert_eq!(names().await, ["new"]);
        // What it had is there for others still.
        assert_eq!(reclaim(&mut keeper, &world, again(&entry, Why::Crashed, None)).await, Settled::Counted);
        assert_eq!(ids(&world.hand("new").take(1).await), ["a"]);
    }
}
