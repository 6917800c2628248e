//! A subscription with an idle timeout ends when nothing arrives, and not before.

use std::time::{Duration, Instant};

use tidings::{EndReason, Event};
use tidings_tests::{eventually, on_each};

use tokio::task::JoinSet;

use crate::support::{News, SOON, Step, event, message};

on_each! {
    async fn silence_ends_it_and_unsubscribes(world: World) {
        let bus = world.bus().await;
        let mut other = bus.subscribe(Step::any()).await.unwrap();
        let timeout = Duration::from_millis(150);
        let start = Instant::now();
        let mut news = bus.subscribe(News::channel()).idle_timeout(timeout).await.unwrap();
        match event(&mut news).await {
            Event::Ended(EndReason::Idle(after)) => assert_eq!(after, timeout),
            other => panic!("{other:?}"),
        }
        assert!(start.elapsed() >= timeout);
        assert!(news.next().await.is_none());
        assert!(news.next().await.is_none());
        eventually(SOON, async || world.subscriptions("news").await == 0).await;
        Step { line: 1, n: 1 }.publish(&bus).await.unwrap();
        assert_eq!(message(&mut other).await.n, 1);
    }

    async fn traffic_keeps_it_alive(world: World) {
        let bus = world.bus().await;
        let timeout = Duration::from_secs(2);
        let start = Instant::now();
        let mut news = bus.subscribe(News::channel()).idle_timeout(timeout).await.unwrap();
        let mut heard = start;
        for n in 0..6 {
            tokio::time::sleep(timeout / 4).await;
            News { n }.publish(&bus).await.unwrap();
            assert_eq!(message(&mut news).await.n, n);
            heard = Instant::now();
        }
        assert!(matches!(event(&mut news).await, Event::Ended(EndReason::Idle(_))));
        assert!(heard.elapsed() >= timeout - Duration::from_millis(50), "{:?}", heard.elapsed());
    }

    async fn nothing_follows_the_last_event(world: World) {
        let bus = world.bus().await;
        let mut tasks = JoinSet::new();
        for line in 0..100_u64 {
            let bus = bus.clone();
            tasks.spawn(async move {
                let timeout = Duration::from_millis(20 + line % 10);
                let mut steps = bus.subscribe(Step::channel(line)).idle_timeout(timeout).await.unwrap();
                let start = Instant::now();
                let publishing = async {
                    // What is published around the timeout is what may come behind the end.
                    for n in 0.. {
                        tokio::time::sleep(timeout - Duration::from_millis(1)).await;
                        while start.elapsed() < (timeout + Duration::from_millis(1)) * (n + 1) {
                            Step { line, n: u64::from(n) }.publish(&bus).await.unwrap();
                        }
                    }
                };
                let reading = async {
                    let deadline = start + Duration::from_secs(2);
                    loop {
                        match event(&mut steps).await {
                            Event::Message(_) if Instant::now() < deadline => {}
                            Event::Message(_) => break,
                            Event::Ended(EndReason::Idle(_)) => {
                                for _ in 0..3 {
                                    let behind = steps.next().await;
                                    assert!(behind.is_none(), "{behind:?} after the end");
                                }
                                break;
                            }
                            other => panic!("{other:?}"),
                        }
                    }
                };
                tokio::select! {
                    () = publishing => {}
                    () = reading => {}
                }
            });
        }
        tasks.join_all().await;
    }

    async fn messages_of_other_templates_do_not_keep_it_alive(world: World) {
        let bus = world.bus().await;
        let timeout = Duration::from_millis(200);
        let mut steps = bus.subscribe(Step::any()).idle_timeout(timeout).await.unwrap();
        let talking = async {
            loop {
                world.publish_raw("line:1:deeper", "{}").await;
                tokio::time::sleep(timeout / 20).await;
            }
        };
        let ended = tokio::select! {
            () = talking => None,
            event = event(&mut steps) => Some(event),
        };
        assert!(matches!(ended, Some(Event::Ended(EndReason::Idle(_)))), "{ended:?}");
        assert!(steps.stats().unmatched > 0);
    }

    async fn what_has_arrived_is_read_before_the_end(world: World) {
        let bus = world.bus().await;
        let timeout = Duration::from_millis(100);
        let mut news = bus.subscribe(News::channel()).idle_timeout(timeout).await.unwrap();
        for n in 0..3 {
            News { n }.publish(&bus).await.unwrap();
        }
        tokio::time::sleep(timeout * 2).await;
        for n in 0..3 {
            assert_eq!(message(&mut news).await.n, n);
        }
        assert!(matches!(event(&mut news).await, Event::Ended(EndReason::Idle(_))));
    }
}
