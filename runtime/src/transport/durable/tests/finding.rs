use std::collections::BTreeSet;

use super::*;

async fn page(world: &World, state: TaskState, from: Option<&str>, limit: usize) -> Page {
    within(world.transport.list(&world.spec, state, from, limit)).await.unwrap()
}

/// Page by page, until there is none.
async fn all(world: &World, state: TaskState, limit: usize) -> Vec<Seen> {
    let (mut found, mut from) = (Vec::new(), None);
    for _ in 0..1_000 {
        let Page { tasks, next } = page(world, state, from.as_deref(), limit).await;
        assert!(tasks.iter().all(|task| task.state == state), "{tasks:?}");
        found.extend(tasks);
        from = next;
        if from.is_none() {
            return found;
        }
    }
    panic!("there is no end of it");
}

fn ids_of(seen: &[Seen]) -> Vec<&str> {
    seen.iter().map(|seen| seen.id.as_str()).collect()
}

on_both! {
    async fn a_task_is_found_wherever_it_is(world: World) {
        assert!(world.find("a").await.is_none());
        world.enqueue_one(NewTask { due: Due::In(Duration::from_millis(60)), ..world.task(NORMAL, "a") }).await.unwrap();
        let seen = world.find("a").await.unwrap();
        assert_eq!((seen.id.as_str(), &*seen.channel, seen.state), ("a", NORMAL, TaskState::Delayed));
        assert_eq!((seen.name.as_deref(), seen.version), (Some("Resize"), Some(2)));
        assert_eq!((&*seen.payload, seen.instance, seen.progress), (&b"payload of a"[..], None, None));
        let (enqueued, due) = (seen.enqueued_at.unwrap(), seen.due.unwrap());
        assert!((60..10_000).contains(&(due - enqueued)), "{enqueued} {due}");
        world.pass(Duration::from_millis(70)).await;
        let mut hand = world.hand("one");
        let entry = hand.take_one().await;
        let seen = world.find("a").await.unwrap();
        assert_eq!((seen.state, seen.instance.as_deref(), seen.due), (TaskState::Running, Some("one"), None));
        assert_eq!((seen.enqueued_at, &*seen.payload), (Some(enqueued), &b"payload of a"[..]));
        let record = Record { failures: 2, error: Some("no disk".into()), ..moved(&entry) };
        let failed = Verdict::Again { why: Why::Failed, after: Some(Duration::from_millis(50)), record: record.clone() };
        world.settle(settlement(&entry, failed)).await;
        let seen = world.find("a").await.unwrap();
        assert_eq!((seen.state, seen.record, seen.instance), (TaskState::Delayed, record, None));
        world.pass(Duration::from_millis(60)).await;
        let entry = hand.take_one().await;
        world.settle(again(&entry, Why::HandedBack, None)).await;
        let seen = world.find("a").await.unwrap();
        assert_eq!((seen.state, seen.record.owners, &*seen.channel), (TaskState::Waiting, 2, NORMAL));
        let entry = hand.take_one().await;
        world.settle(park(&entry)).await;
        assert_eq!(world.find("a").await.map(|seen| (seen.state, seen.record.owners)), Some((TaskState::Parked, 3)));
        within(world.transport.unpark(&world.spec.name, "Resize", 2)).await.unwrap();
        let entry = hand.take_one().await;
        world.settle(dead(&entry, DeadReason::Failed)).await;
        let seen = world.find("a").await.unwrap();
        assert_eq!((seen.state, seen.record.error.as_deref(), &*seen.channel), (TaskState::Dead, Some("no disk"), NORMAL));
        assert_eq!((&*seen.payload, seen.enqueued_at), (&b"payload of a"[..], Some(enqueued)));
        let letter = within(world.transport.dead(&world.spec.name, None, 9)).await.unwrap().remove(0);
        within(world.transport.mend(&world.spec.name, &[letter.entry], Mend::Replay)).await.unwrap();
        assert_eq!(world.find("a").await.map(|seen| seen.state), Some(TaskState::Waiting));
        let entry = hand.take_one().await;
        world.done(&entry).await;
        assert!(world.find("a").await.is_none());
    }

    async fn what_has_left_the_dead_letters_is_not_found(world: World) {
        let mut world = world;
        world.spec.dead = DeadLetterBounds { count: 1, ..DeadLetterBounds::DEFAULT };
        within(world.transport.declare(&world.spec)).await.unwrap();
        world.enqueue(HIGH, &["a", "b"]).await;
        let mut hand = world.hand("one");
        for entry in hand.take(2).await {
            world.settle(dead(&entry, DeadReason::Failed)).await;
        }
        assert!(world.find("a").await.is_none() && world.find("b").await.is_some());
        let letter = within(world.transport.dead(&world.spec.name, None, 9)).await.unwrap().remove(0);
        within(world.transport.mend(&world.spec.name, &[letter.entry], Mend::Delete)).await.unwrap();
        assert!(world.find("b").await.is_none());
        assert_eq!((world.ask("b", None).await, world.cancel("b").await), (Known::Nothing, Cancelling::Nothing));
        // What was refused was never there.
        let full = NewTask { max_length: Some(0), ..world.task(HIGH, "c") };
        let refused = within(world.transport.enqueue(vec![world.task(HIGH, "d"), full], true)).await;
        assert!(refused.iter().all(Result::is_err), "{refused:?}");
        assert!(world.find("c").await.is_none() && world.find("d").await.is_none());
    }

    async fn a_task_of_another_program_is_found_by_its_entry(world: World) {
        let Behind::Redis(server) = &world.server else { return };
        let add = format!("XADD {}new:{HIGH} * payload foreign", world.spec.name.base());
        let entry: String = redis::from_redis_value(server.run(&add)).unwrap();
        let seen = world.find(&entry).await;
        assert_eq!(seen.map(|seen| (seen.state, seen.id)), Some((TaskState::Waiting, entry.clone())));
        assert_eq!(world.ask(&entry, None).await, Known::Open(TaskState::Waiting));
        let mut hand = world.hand("one");
        let taken = hand.take_one().await;
        assert_eq!(*taken.id, *entry);
        let seen = world.find(&entry).await.unwrap();
        assert_eq!((seen.state, seen.instance.as_deref(), &*seen.payload), (TaskState::Running, Some("one"), &b"foreign"[..]));
        world.settle(again(&taken, Why::Failed, Some(HOUR))).await;
        assert_eq!(world.find(&entry).await.map(|seen| (seen.state, seen.id)), Some((TaskState::Delayed, entry.clone())));
        assert_eq!(world.cancel(&entry).await, Cancelling::Cancelled(TaskState::Delayed));
        assert!(world.find(&entry).await.is_none());
        let entry: String = redis::from_redis_value(server.run(&add)).unwrap();
        assert_eq!(world.cancel(&entry).await, Cancelling::Cancelled(TaskState::Waiting));
        assert_eq!(world.state().await, (0, 0, 0));
        for nonsense in ["7-7", "0-1", "-", "*", "1718000000000", "18446744073709551615-18446744073709551615", ""] {
            assert!(world.find(nonsense).await.is_none(), "{nonsense}");
            assert_eq!(world.cancel(nonsense).await, Cancelling::Nothing, "{nonsense}");
        }
    }

    async fn tasks_are_listed_by_their_state_page_by_page(world: World) {
        let mut expected = Vec::new();
        for channel in [HIGH, NORMAL, LOW] {
            let ids: Vec<String> = (0..70).map(|number| format!("{channel}-{number}")).collect();
            world.enqueue(channel, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
            expected.extend(ids);
        }
        let states = [TaskState::Waiting, TaskState::Delayed, TaskState::Running, TaskState::Parked, TaskState::Dead];
        let mut hand = world.hand("one");
        for state in states {
            // All of them are in this state.
            if state != TaskState::Waiting {
                let taken = hand.take(210).await;
                assert_eq!(taken.len(), 210);
                let settlements = taken.iter().filter_map(|entry| match state {
                    TaskState::Delayed => Some(again(entry, Why::Failed, Some(HOUR))),
                    TaskState::Parked => Some(park(entry)),
                    TaskState::Dead => Some(dead(entry, DeadReason::Failed)),
                    _ => None,
                });
                within(world.transport.settle(&world.spec.name, settlements.collect())).await.unwrap();
            }
            for limit in [7, 100, 210, 1_000] {
                let found = all(&world, state, limit).await;
                let found_ids: BTreeSet<&str> = found.iter().map(|task| task.id.as_str()).collect();
                assert_eq!((found.len(), found_ids.len()), (210, 210), "{state:?} in pages of {limit}");
                assert!(expected.iter().all(|id| found_ids.contains(id.as_str())));
                assert!(found.iter().all(|task| task.payload.starts_with(b"payload of ")));
                assert!(found.iter().all(|task| task.due.is_some() == (state == TaskState::Delayed)));
                if state == TaskState::Waiting {
                    assert_eq!(ids_of(&found), expected, "as they will be taken");
                }
                if state == TaskState::Running {
                    assert!(found.iter().all(|task| task.instance.as_deref() == Some("one")));
                }
            }
            for other in states.into_iter().filter(|other| *other != state) {
                assert_eq!(all(&world, other, 100).await.len(), 0, "{other:?}");
            }
            // They wait again.
            match state {
                TaskState::Delayed => {
                    world.forget_all(TaskState::Delayed).await;
                    for id in &expected {
                        let channel = id.rsplit_once('-').unwrap().0;
                        world.enqueue(channel, &[id]).await;
                    }
                }
                TaskState::Running => {
                    let entries = within(world.transport.keeper().pending(&world.spec, "one")).await.unwrap();
                    let settlements = entries.iter().map(|entry| again(entry, Why::HandedBack, None)).collect();
                    within(world.transport.settle(&world.spec.name, settlements)).await.unwrap();
                }
                TaskState::Parked => {
                    within(world.transport.unpark(&world.spec.name, "Resize", 2)).await.unwrap();
                }
                _ => {}
            }
        }
    }

    async fn what_is_no_token_of_a_page_does_no_harm(world: World) {
        world.enqueue(HIGH, &["a", "b", "c"]).await;
        world.enqueue_one(NewTask { due: Due::In(HOUR), ..world.task(LOW, "d") }).await.unwrap();
        let mut hand = world.hand("one");
        let taken = hand.take(2).await;
        world.settle(dead(&taken[0], DeadReason::Failed)).await;
        let tokens = ["", "-", "x", "0", "7-7", "1-2-3-4", "999999999999999999999-0-0", "\u{0}", "a:b:c", "(", "+inf"];
        for state in [TaskState::Waiting, TaskState::Delayed, TaskState::Running, TaskState::Parked, TaskState::Dead] {
            for token in tokens {
                // Whatever it says, it says it, and of this state alone.
                if let Ok(page) = within(world.transport.list(&world.spec, state, Some(token), 10)).await {
                    assert!(page.tasks.iter().all(|task| task.state == state), "{token}: {:?}", page.tasks);
                }
            }
            let expected = usize::from(state != TaskState::Parked);
            assert_eq!(all(&world, state, 10).await.len(), expected, "{state:?}");
            let few = page(&world, state, None, 0).await;
            assert!(few.tasks.len() <= 10, "{few:?}");
        }
        for state in [TaskState::Completed, TaskState::Discarded, TaskState::Expired, TaskState::Cancelled] {
            assert_eq!(all(&world, state, 10).await.len(), 0);
        }
    }
}

impl World {
    /// Cancels all tasks of a state.
    async fn forget_all(&self, state: TaskState) {
        for task in all(self, state, 100).await {
            assert_eq!(self.cancel(&task.id).await, Cancelling::Cancelled(state));
        }
    }
}
