//! Requests beside each other and within each other: whose time ends a call, what waits for what, and what is counted of it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tidings::{Bus, Delivery, HandlerStats, Message, NoError, RequestError, router};
use tidings_tests::{Recorder, eventually, on_each};
use tokio::task::JoinSet;

use crate::support::{Gauge, SOON, handler};

type Asked<T> = Result<T, RequestError<NoError>>;

#[derive(Message, Serialize, Deserialize)]
#[channel("accounts:<account>")]
#[reply(u64)]
struct Balance {
    account: u64,
    n: u64,
}

/// Waits for so long.
#[derive(Message, Serialize, Deserialize)]
#[channel("waits")]
#[reply(u64)]
struct Wait {
    millis: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("waits-to-the-end")]
#[reply(u64)]
struct WaitToTheEnd {
    millis: u64,
}

/// Asks itself, so many times.
#[derive(Message, Serialize, Deserialize)]
#[channel("deep")]
#[reply(u64)]
struct Deep {
    left: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("first:<name>")]
#[reply(u64)]
struct First {
    name: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("second")]
#[reply(u64)]
struct Second {}

#[derive(Message, Serialize, Deserialize)]
#[channel("third")]
#[reply(u64)]
struct Third {}

const HANDLER: Duration = Duration::from_millis(300);

#[derive(Default)]
struct Bank {
    of_account: [Gauge; 3],
    of_all: Gauge,
    order: Recorder<(u64, u64)>,
}

#[router]
impl Bank {
    #[handler(order = account, concurrency = 2, spawn)]
    async fn balance(&self, balance: Balance) -> u64 {
        let _inside = (self.of_account[balance.account as usize].enter(), self.of_all.enter());
        self.order.record((balance.account, balance.n));
        tokio::time::sleep(Duration::from_millis(2)).await;
        balance.n
    }

    #[handler(concurrency = 2, timeout = "300ms")]
    async fn wait(&self, wait: Wait) -> u64 {
        tokio::time::sleep(Duration::from_millis(wait.millis)).await;
        wait.millis
    }

    #[handler(run_to_end, timeout = "300ms")]
    async fn wait_to_the_end(&self, wait: WaitToTheEnd) -> u64 {
        tokio::time::sleep(Duration::from_millis(wait.millis)).await;
        wait.millis
    }
}

/// One place each.
struct Chain;

#[router]
impl Chain {
    #[handler(concurrency = 1)]
    async fn deep(&self, deep: Deep, bus: &Bus) -> Asked<u64> {
        if deep.left == 0 { Ok(1) } else { Ok(1 + Deep { left: deep.left - 1 }.request(bus).await?) }
    }

    #[handler(concurrency = 1)]
    async fn first(&self, _first: First, bus: &Bus) -> Asked<u64> {
        Ok(1 + Second {}.request(bus).await?)
    }

    #[handler(concurrency = 1)]
    async fn second(&self, _second: Second, bus: &Bus) -> Asked<u64> {
        Ok(1 + Third {}.request(bus).await?)
    }

    #[handler(concurrency = 1)]
    async fn third(&self, _third: Third, delivery: &Delivery) -> u64 {
        assert!(delivery.remaining().is_some_and(|left| left <= SOON));
        1
    }
}

/// However a message can have ended.
fn ended(stats: &HandlerStats) -> u64 {
    stats.handled + stats.failed + stats.timed_out + stats.expired + stats.cancelled + stats.dropped
}

on_each! {
    async fn requests_with_the_same_parameter_run_one_at_a_time_and_others_beside_them(world: World) {
        let (serving, asking) = (world.bus().await, world.bus().await);
        let bank = Bank::default();
        let (gauges, of_all, order) = (bank.of_account.clone(), bank.of_all.clone(), bank.order.clone());
        let _service = serving.serve(bank).await.unwrap();
        let mut requests = JoinSet::new();
        for n in 0..30 {
            let bus = asking.clone();
            requests.spawn(async move { Balance { account: n % 3, n }.request(&bus).timeout(SOON).await });
        }
        while let Some(answer) = requests.join_next().await {
            answer.unwrap().unwrap();
        }
        assert_eq!(gauges.each_ref().map(Gauge::most), [1; 3]);
        assert_eq!((of_all.most(), order.all().len()), (2, 30));
    }

    async fn a_chain_of_three_takes_one_place_of_each(world: World) {
        let (serving, asking) = (world.bus().await, world.bus().await);
        let _service = serving.serve(Chain).await.unwrap();
        let mut requests = JoinSet::new();
        for n in 0..20 {
            let bus = asking.clone();
            requests.spawn(async move { First { name: format!("n{n}") }.request(&bus).timeout(SOON).await });
        }
        while let Some(answer) = requests.join_next().await {
            assert_eq!(answer.unwrap().unwrap(), 3);
        }
    }

    async fn with_one_place_a_request_to_itself_waits_for_itself_until_its_time_is_over(world: World) {
        let (serving, asking) = (world.bus().await, world.bus().await);
        let service = serving.serve(Chain).await.unwrap();
        assert_eq!(Deep { left: 0 }.request(&asking).await.unwrap(), 1);
        let asked = Deep { left: 1 }.request(&asking).timeout(Duration::from_millis(300)).await;
        assert!(asked.is_err(), "{asked:?}");
        // Its place is free again, and what it has asked for was not begun.
        assert_eq!(Deep { left: 0 }.request(&asking).timeout(SOON).await.unwrap(), 1);
        eventually(SOON, async || handler(&service, "deep").expired == 1).await;
        let stats = handler(&service, "deep");
        assert_eq!((stats.handled, stats.failed + stats.cancelled), (2, 1), "{stats:?}");
    }

    async fn a_call_ends_with_its_handlers_time_or_its_requesters_whichever_is_the_shorter(world: World) {
        let (serving, asking) = (world.bus().await, world.bus().await);
        let service = serving.serve(Bank::default()).await.unwrap();
        let long = SOON.as_millis() as u64;
        let by_handler = Wait { millis: long }.request(&asking).timeout(SOON).await.unwrap_err();
        assert!(matches!(&by_handler, RequestError::Failed { reason, .. } if reason.contains("timeout")), "{by_handler}");
        let by_requester = Wait { millis: long }.request(&asking).timeout(HANDLER / 4).await.unwrap_err();
        assert!(matches!(by_requester, RequestError::TimedOut { .. }), "{by_requester}");
        eventually(SOON, async || handler(&service, "wait").cancelled == 1).await;
        assert_eq!(handler(&service, "wait").timed_out, 1);
        // One that runs to its end has its handler's time, whoever waits.
        for millis in [1, long] {
            let wait = WaitToTheEnd { millis: HANDLER.as_millis() as u64 / 3 + millis };
            assert!(wait.request(&asking).timeout(HANDLER / 6).await.is_err());
        }
        eventually(SOON, async || handler(&service, "wait_to_the_end").timed_out == 1).await;
        let stats = handler(&service, "wait_to_the_end");
        assert_eq!((stats.handled, stats.cancelled), (1, 0), "{stats:?}");
    }

    async fn statistics_add_up_under_load_and_show_nothing_after_it(world: World) {
        let (serving, asking) = (world.bus().await, world.bus().await);
        let service = serving.serve(Bank::default()).await.unwrap();
        let begun = Instant::now();
        let mut requests = JoinSet::new();
        for k in 0..60_u64 {
            let bus = asking.clone();
            requests.spawn(async move {
                let mut ends = BTreeMap::new();
                for i in 0..5 {
                    let timeout = Duration::from_millis(2 + (k * 3 + i * 5) % 40);
                    let end = match (Wait { millis: (k * 7 + i * 13) % 30 }).request(&bus).timeout(timeout).await {
                        Ok(_) => "answered",
                        Err(RequestError::TimedOut { .. }) => "timed out",
                        Err(error) => panic!("{error}"),
                    };
                    *ends.entry(end).or_insert(0_u64) += 1;
                }
                ends
            });
        }
        let mut ends = BTreeMap::new();
        while !requests.is_empty() {
            let stats = handler(&service, "wait");
            assert!(stats.running <= 2 && stats.oldest.is_none_or(|oldest| oldest <= begun.elapsed()), "{stats:?}");
            if let Ok(Some(more)) = tokio::time::timeout(Duration::from_millis(1), requests.join_next()).await {
                more.unwrap().into_iter().for_each(|(end, count)| *ends.entry(end).or_insert(0) += count);
            }
        }
        assert_eq!(ends.values().sum::<u64>(), 300);
        eventually(SOON, async || handler(&service, "wait").running + handler(&service, "wait").waiting == 0).await;
        let stats = handler(&service, "wait");
        assert_eq!(stats.oldest, None);
        // One that was not sent before its time was over is nowhere counted; what was answered is.
        assert!(ended(&stats) <= 300 && stats.handled >= ends.get("answered").copied().unwrap_or(0), "{stats:?} {ends:?}");
        assert_eq!(asking.stats().pending_requests, 0);
    }
}
