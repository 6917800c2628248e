//! A request is executed by one of many instances, whichever of them can take it; instances come and go, and tell of themselves.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tidings::{Bounds, Bus, Delivery, HealthWarning, Message, Overflow, RequestError, Service, ServiceGroup, router};
use tidings_tests::{Recorder, World, eventually, on_each};
use tokio::task::JoinSet;

use crate::support::{Gate, SOON, handler, message};

/// Work that is to be done once.
#[derive(Clone, Debug, Message, Serialize, Deserialize)]
#[channel("work:<n>")]
#[reply(Done)]
struct Work {
    n: u64,
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Done {
    by: u64,
}

/// Asks somebody else to do it, and tells how long that one had.
#[derive(Message, Serialize, Deserialize)]
#[channel("delegate")]
#[reply(u64)]
struct Delegate {}

/// Everything that anybody publishes.
#[derive(Message, Serialize, Deserialize)]
#[channel("<all..>")]
struct Anything {
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    all: Vec<String>,
}

#[derive(Clone)]
struct Worker {
    me: u64,
    gate: Gate,
    /// Which work was begun.
    begun: Recorder<u64>,
}

impl Worker {
    fn new(me: u64) -> Self {
        let gate = Gate::closed();
        gate.open();
        Self { gate, ..Self::held(me) }
    }

    /// Whose work ends when its gate is opened.
    fn held(me: u64) -> Self {
        Self { me, gate: Gate::closed(), begun: Recorder::new() }
    }
}

#[router]
impl Worker {
    #[handler(concurrency = 4)]
    async fn work(&self, work: Work) -> Done {
        self.begun.record(work.n);
        self.gate.pass().await;
        Done { by: self.me }
    }
}

/// Work of which an instance takes only what it likes.
#[derive(Message, Serialize, Deserialize)]
#[channel("choosy:<n>")]
#[reply(u64)]
struct Choosy {
    n: u64,
}

struct Even;

#[router]
impl Even {
    #[handler(filter = choosy.n % 2 == 0)]
    async fn choosy(&self, choosy: Choosy) -> u64 {
        choosy.n
    }
}

struct Odd;

#[router]
impl Odd {
    #[handler(filter = choosy.n % 2 == 1)]
    async fn choosy(&self, choosy: Choosy) -> u64 {
        choosy.n
    }
}

mod newer {
    use super::{Deserialize, Message, Serialize, router};

    /// The same work, as a newer program asks for it.
    #[derive(Message, Serialize, Deserialize)]
    #[channel("work:<n>")]
    #[message(name = "Work", version = 2)]
    #[reply(super::Done)]
    pub(super) struct Work {
        pub(super) n: u64,
    }

    pub(super) struct Worker {
        pub(super) me: u64,
    }

    #[router]
    impl Worker {
        #[handler]
        async fn work(&self, _work: Work) -> super::Done {
            super::Done { by: self.me }
        }
    }
}

struct Delegates {
    bus: Bus,
}

#[router]
impl Delegates {
    #[handler]
    async fn delegate(&self, _delegate: Delegate) -> u64 {
        let left = Asked {}.request(&self.bus).await;
        match left {
            Ok(millis) => millis,
            Err(error) => panic!("{error}"),
        }
    }
}

/// How much time is left.
#[derive(Message, Serialize, Deserialize)]
#[channel("asked")]
#[reply(u64)]
struct Asked {}

struct Tells;

#[router]
impl Tells {
    #[handler]
    async fn asked(&self, _asked: Asked, delivery: &Delivery) -> u64 {
        let left = delivery.remaining().expect("a request has a time");
        u64::try_from(left.as_millis()).unwrap()
    }
}

async fn instance(world: &World, worker: &Worker) -> Service {
    world.bus().await.serve(worker.clone()).await.unwrap()
}

fn begins(bus: &Bus, n: u64, timeout: Duration) -> JoinSet<Result<Done, RequestError<tidings::NoError>>> {
    let bus = bus.clone();
    let mut set = JoinSet::new();
    set.spawn(async move { Work { n }.request(&bus).timeout(timeout).await });
    set
}

async fn ended<T: 'static>(mut set: JoinSet<T>) -> T {
    set.join_next().await.unwrap().unwrap()
}

on_each! {
    async fn each_request_is_executed_by_one_instance_and_the_load_is_even(world: World) {
        let workers: Vec<Worker> = (0..3).map(Worker::new).collect();
        let _services = join_all(workers.iter().map(|worker| instance(&world, worker))).await;
        let asking = [world.bus().await, world.bus().await];
        let one = async |n: u64| Work { n }.request(&asking[n as usize % 2]).timeout(SOON).await.unwrap().by;
        let mut by = HashMap::new();
        for first in (0..600).step_by(20) {
            for worker in join_all((first..first + 20).map(one)).await {
                *by.entry(worker).or_insert(0_u32) += 1;
            }
        }
        let mut begun: Vec<u64> = workers.iter().flat_map(|worker| worker.begun.all()).collect();
        begun.sort_unstable();
        assert_eq!(begun, (0..600).collect::<Vec<_>>(), "each of them once");
        assert!(by.values().all(|&count| (154..=260).contains(&count)), "{by:?}");
    }

    async fn one_instance_of_each_group_answers_who_collects(world: World) {
        let workers: Vec<Worker> = (0..4).map(Worker::new).collect();
        let mut services = Vec::new();
        for worker in &workers {
            let group = if worker.me < 2 { "north" } else { "south" };
            services.push(world.bus().await.serve(worker.clone()).group(group).await.unwrap());
        }
        let bus = world.bus().await;
        for n in 0..10 {
            let begun = Instant::now();
            let answers = Work { n }.request(&bus).timeout(SOON).collect(5).await.unwrap();
            let mut by: Vec<u64> = answers.into_iter().map(|answer| answer.unwrap().by / 2).collect();
            by.sort_unstable();
            assert_eq!(by, [0, 1]);
            assert!(begun.elapsed() < SOON / 2, "nobody is left to wait for");
        }
        assert_eq!(workers.iter().map(|worker| worker.begun.len()).sum::<usize>(), 20);
        let warnings = bus.health().await.unwrap().warnings;
        let both = |groups: &[String]| groups == ["north", "south"];
        assert!(
            warnings.iter().any(|warning| matches!(
                warning,
                HealthWarning::SeveralGroups { message, groups, .. } if message == "Work" && both(groups)
            )),
            "{warnings:?}"
        );
    }

    async fn who_only_watches_does_not_answer(world: World) {
        let (bus, watching) = (world.bus().await, world.bus().await);
        let _everything = watching.subscribe(Anything::any()).await.unwrap();
        for n in 0..3 {
            let begun = Instant::now();
            let error = Work { n }.request(&bus).timeout(SOON).await.unwrap_err();
            assert!(matches!(error, RequestError::NobodyListens { .. }) && error.is_retryable(), "{error}");
            assert!(begun.elapsed() < SOON / 2);
        }
        let worker = Worker::new(7);
        let service = instance(&world, &worker).await;
        assert_eq!(Work { n: 4 }.request(&bus).await.unwrap(), Done { by: 7 });
        service.shutdown().await.unwrap();
        let error = Work { n: 5 }.request(&bus).timeout(SOON).await.unwrap_err();
        assert!(matches!(error, RequestError::NobodyListens { .. }), "{error}");
    }

    async fn a_full_instance_leaves_requests_to_others_and_when_all_are_full_it_is_said(world: World) {
        for overflow in [Overflow::DropOldest, Overflow::DropNewest, Overflow::BackPressure] {
            let workers = [Worker::held(0), Worker::held(1)];
            let mut services = Vec::new();
            for worker in &workers {
                let serving = world.bus().await.serve(worker.clone()).overflow(overflow);
                services.push(serving.buffer(Bounds::messages(1).bytes(1 << 20)).await.unwrap());
            }
            let bus = world.bus().await;
            let mut all = JoinSet::new();
            // Four run in each, and one waits.
            for n in 0..10 {
                let bus = bus.clone();
                all.spawn(async move { Work { n }.request(&bus).timeout(SOON).await });
                let taken = || services.iter().map(|service| handler(service, "work")).map(|stats| stats.running + stats.waiting);
                eventually(SOON, async || taken().sum::<usize>() as u64 == n + 1).await;
            }
            all.spawn({
                let bus = bus.clone();
                async move { Work { n: 10 }.request(&bus).timeout(SOON).await }
            });
            // Whichever is dropped was not begun.
            let error = all.join_next().await.unwrap().unwrap().unwrap_err();
            assert!(matches!(error, RequestError::Busy { .. }) && error.is_retryable(), "{overflow:?}: {error}");
            workers.iter().for_each(|worker| worker.gate.open());
            while let Some(done) = all.join_next().await {
                done.unwrap().unwrap();
            }
            assert_eq!(workers.iter().map(|worker| worker.begun.len()).sum::<usize>(), 10, "{overflow:?}");
            for service in services {
                service.shutdown().await.unwrap();
            }
        }
    }

    async fn what_one_instance_filters_out_another_may_take(world: World) {
        let (even, odd) = (world.bus().await, world.bus().await);
        let even = even.serve(Even).await.unwrap();
        let bus = world.bus().await;
        let error = Choosy { n: 1 }.request(&bus).timeout(SOON).await.unwrap_err();
        assert!(matches!(error, RequestError::NotHandled { reason, .. } if reason.contains("filter")), "{error}");
        let _odd = odd.serve(Odd).await.unwrap();
        if world.is_cluster() {
            // What it says of itself goes from node to node.
            eventually(SOON, async || Choosy { n: 1 }.request(&bus).timeout(SOON).await.is_ok()).await;
        }
        for n in 0..20 {
            assert_eq!(Choosy { n }.request(&bus).timeout(SOON).await.unwrap(), n);
        }
        assert_eq!(handler(&even, "choosy").handled, 10);
    }

    async fn a_rolling_deploy_rejects_no_request(world: World) {
        let asked = AtomicU64::new(0);
        let (old, new) = (world.bus().await, world.bus().await);
        let ask = async |stop: &AtomicU64| {
            while stop.load(Ordering::Relaxed) == 0 {
                let n = asked.fetch_add(2, Ordering::Relaxed);
                let (one, two) = tokio::join!(
                    async { Work { n }.request(&old).timeout(SOON).await },
                    async { newer::Work { n: n + 1 }.request(&new).timeout(SOON).await },
                );
                one.unwrap();
                assert!(two.unwrap().by >= 100, "only the new ones know it");
                tokio::task::yield_now().await;
            }
        };
        let stop = AtomicU64::new(0);
        let deploy = async {
            let first = newer::Worker { me: 100 };
            let mut service = world.bus().await.serve(first).await.unwrap();
            let mut olds = join_all([Worker::new(0), Worker::new(1)].iter().map(|worker| instance(&world, worker))).await;
            tokio::join!(ask(&stop), async {
                for me in 101..110 {
                    let next = world.bus().await.serve(newer::Worker { me }).await.unwrap();
                    std::mem::replace(&mut service, next).shutdown().await.unwrap();
                    if let Some(old) = olds.pop() {
                        old.shutdown().await.unwrap();
                    }
                    let before = asked.load(Ordering::Relaxed);
                    eventually(SOON, async || asked.load(Ordering::Relaxed) > before + 40).await;
                }
                stop.store(1, Ordering::Relaxed);
            });
        };
        deploy.await;
    }

    async fn an_instance_that_is_gone_fails_only_what_it_had(world: World) {
        let (doomed, other) = (Worker::held(0), Worker::new(1));
        let bus = world.bus().await;
        let service = instance(&world, &doomed).await;
        let had: Vec<_> = (0..3).map(|n| begins(&bus, n, Duration::from_secs(60))).collect();
        doomed.begun.wait_for(3).await;
        let again = {
            let bus = bus.clone();
            let mut set = JoinSet::new();
            set.spawn(async move { Work { n: 3 }.request(&bus).timeout(Duration::from_secs(60)).idempotent().await });
            set
        };
        doomed.begun.wait_for(4).await;
        let _other = instance(&world, &other).await;
        drop(service);
        // Found out by what is sent next, or by a look.
        for had in had {
            let error = ended(had).await.unwrap_err();
            assert!(matches!(error, RequestError::InstanceLost { .. }) && !error.is_retryable(), "{error}");
        }
        assert_eq!(ended(again).await.unwrap(), Done { by: 1 });
        for n in 10..20 {
            assert_eq!(Work { n }.request(&bus).timeout(SOON).await.unwrap(), Done { by: 1 });
        }
    }

    async fn an_instance_that_stops_finishes_what_it_has(world: World) {
        let (stopping, other) = (Worker::held(0), Worker::new(1));
        let bus = world.bus().await;
        let service = instance(&world, &stopping).await;
        let had = begins(&bus, 0, Duration::from_secs(60));
        stopping.begun.wait_for(1).await;
        let _other = instance(&world, &other).await;
        let mut shutdown = JoinSet::new();
        shutdown.spawn(service.shutdown());
        eventually(SOON, async || {
            let services = bus.services().await.unwrap();
            let done = Work { n: 1 }.request(&bus).timeout(SOON).await.unwrap();
            !services.is_empty() && done == Done { by: 1 }
        })
        .await;
        for n in 10..20 {
            assert_eq!(Work { n }.request(&bus).timeout(SOON).await.unwrap(), Done { by: 1 });
        }
        stopping.gate.open();
        assert_eq!(ended(had).await.unwrap(), Done { by: 0 });
        ended(shutdown).await.unwrap();
    }

    async fn whoever_let_the_time_pass_is_asked_last_until_it_answers(world: World) {
        let (hangs, other) = (Worker::held(0), Worker::new(1));
        let bus = world.bus().await;
        let _hangs = instance(&world, &hangs).await;
        let error = Work { n: 0 }.request(&bus).timeout(Duration::from_millis(300)).await.unwrap_err();
        assert!(matches!(error, RequestError::TimedOut { .. }) && !error.is_retryable(), "{error}");
        let _other = instance(&world, &other).await;
        let short = Duration::from_millis(300);
        eventually(SOON, async || Work { n: 0 }.request(&bus).timeout(short).await.is_ok()).await;
        // All that it had was cancelled, so it has nothing to do: that is no reason to ask it.
        for n in 1..30 {
            assert_eq!(Work { n }.request(&bus).timeout(SOON).await.unwrap(), Done { by: 1 });
        }
    }

    async fn an_instance_whose_inbox_is_in_another_namespace_gets_nothing(world: World) {
        let namespaced = async |name: &'static str| world.bus_in(name, |builder| builder).await;
        let (other, worker) = (namespaced("beta").await, Worker::new(0));
        let _service = other.serve(worker.clone()).await.unwrap();
        let instance = other.services().within(SOON).await.unwrap()[0].instances[0].instance.clone();
        let bus = namespaced("shop").await;
        let begun = Instant::now();
        for inbox in [format!("beta:tidings:inbox:{instance}"), "shop:work:1".to_owned()] {
            let inbox = world.name(&inbox);
            let error = Work { n: 0 }.request(&bus).timeout(SOON).await.unwrap_err();
            assert!(matches!(error, RequestError::NobodyListens { .. }), "{error}");
            let takes = r#"[{"template":"work:<>","message":"Work","version":1}]"#;
            let said = format!(r#"{{"inbox":"{inbox}","group":"Worker","state":"serving","requests":{takes}}}"#);
            assert_eq!(world.publish_raw("shop:tidings:instances", said).await, world.receivers(1));
        }
        let error = Work { n: 1 }.request(&bus).timeout(SOON).await.unwrap_err();
        assert!(matches!(error, RequestError::NobodyListens { .. }), "{error}");
        assert!(begun.elapsed() < SOON / 2);
        assert_eq!(worker.begun.len(), 0);
    }

    async fn whoever_let_the_time_of_one_request_pass_is_asked_again_after_a_while(world: World) {
        let (slow, other) = (Worker::held(0), Worker::new(1));
        let bus = world.bus().await;
        let _slow = instance(&world, &slow).await;
        let short = Duration::from_millis(300);
        eventually(SOON, async || {
            let error = Work { n: 0 }.request(&bus).timeout(short).await.unwrap_err();
            assert!(matches!(error, RequestError::TimedOut { .. }), "{error}");
            !slow.begun.is_empty()
        })
        .await;
        let _other = instance(&world, &other).await;
        // Until that one is known, which takes a moment where it has told another node, there is nobody else to ask.
        eventually(SOON, async || Work { n: 0 }.request(&bus).timeout(short).await.is_ok()).await;
        slow.gate.open();
        // Whoever asks one request after the other needs nobody else, and does so all the same.
        eventually(SOON, async || Work { n: 1 }.request(&bus).timeout(SOON).await.unwrap() == Done { by: 0 }).await;
        let mut by = HashMap::new();
        for n in 0..20 {
            *by.entry(Work { n }.request(&bus).timeout(SOON).await.unwrap().by).or_insert(0) += 1;
        }
        assert_eq!((by[&0], by[&1]), (10, 10));
    }

    async fn a_request_of_another_program_is_executed_by_one_instance(world: World) {
        let workers: Vec<Worker> = (0..3).map(Worker::new).collect();
        let services = join_all(workers.iter().map(|worker| instance(&world, worker))).await;
        let watching = world.bus().await;
        let mut answers = watching.subscribe(Foreign::any()).await.unwrap();
        let inbox = world.name("tidings:replies:foreign:1");
        let ask = async |n: u64, more: &str| {
            let request = format!(r#"{{"id":"a{n}","type":"Work"{more},"data":{{"n":{n}}}}}"#);
            world.publish_raw(&format!("work:{n}"), request).await
        };
        for n in 0..20 {
            let more = format!(r#","correlation_id":"c{n}","reply_to":"{inbox}","time_left":60000"#);
            assert_eq!(ask(n, &more).await, world.receivers(3));
            assert!(message(&mut answers).await.ok.is_some());
        }
        let sum = |count: fn(&tidings::HandlerStats) -> u64| services.iter().map(|service| count(&handler(service, "work"))).sum::<u64>();
        eventually(SOON, async || sum(|stats| stats.left_to_others) == 40).await;
        assert_eq!(sum(|stats| stats.handled), 20);
        // The same once more: it was taken.
        ask(3, &format!(r#","correlation_id":"c3","reply_to":"{inbox}","time_left":60000"#)).await;
        eventually(SOON, async || sum(|stats| stats.left_to_others) == 43).await;
        // Nobody could be answered.
        let long = format!(r#","correlation_id":"{}","reply_to":"{inbox}""#, "x".repeat(600));
        let far = format!(r#","correlation_id":"c","reply_to":"{inbox}{}""#, "x".repeat(600));
        for more in ["", r#","correlation_id":"c""#, r#","correlation_id":"c","reply_to":"elsewhere""#, &long, &far] {
            ask(50, more).await;
        }
        eventually(SOON, async || sum(|stats| stats.rejected) == 15).await;
        assert_eq!(sum(|stats| stats.handled), 20);
    }

    async fn what_a_handler_asks_for_has_no_more_time_than_its_own_requester(world: World) {
        let bus = world.bus().await;
        let _delegates = bus.serve(Delegates { bus: bus.clone() }).await.unwrap();
        let _tells = world.bus().await.serve(Tells).await.unwrap();
        let direct = Asked {}.request(&bus).timeout(Duration::from_secs(60)).await.unwrap();
        assert!((5_001..=60_000).contains(&direct), "{direct}");
        let alone = Delegate {}.request(&bus).timeout(Duration::from_secs(60)).await.unwrap();
        assert!((1..=5_000).contains(&alone), "its own default counts where more is left: {alone}");
        let within = Delegate {}.request(&bus).timeout(Duration::from_millis(2_500)).await.unwrap();
        assert!((1..=2_500).contains(&within), "{within}");
    }

    async fn services_tell_of_themselves_while_they_come_and_go(world: World) {
        let named = async |program: &'static str| world.bus_with(|builder| builder.program(program, "1.2.3")).await;
        let bus = world.bus().await;
        assert_eq!(bus.services().await.unwrap(), []);
        let worker = Worker::new(0);
        let shop = named("shop").await;
        let one = shop.serve(worker.clone()).await.unwrap();
        // Two on one connection: both of them answer.
        let _two = shop.serve(worker.clone()).await.unwrap();
        let _tells = named("tells").await.serve(Tells).group("telling").await.unwrap();
        for n in 0..10 {
            Work { n }.request(&bus).timeout(SOON).await.unwrap();
        }
        let services = bus.services().within(SOON).await.unwrap();
        let names: Vec<_> = services.iter().map(|group| (group.name.as_str(), group.instances.len())).collect();
        assert_eq!(names, [("Worker", 2), ("telling", 1)]);
        let instance = &services[0].instances[0];
        assert_eq!((instance.program.as_deref(), instance.version.as_deref()), (Some("shop"), Some("1.2.3")));
        let work = &instance.handlers[0];
        assert_eq!((work.template.as_str(), work.message.as_str(), work.version), ("work:<n>", "Work", 1));
        assert!(work.is_request && work.errors == 0 && work.running == 0, "{work:?}");
        let calls = |services: &[ServiceGroup]| services[0].instances.iter().map(|one| one.handlers[0].calls).sum::<u64>();
        assert_eq!(calls(&services), 10);
        one.shutdown().await.unwrap();
        eventually(SOON, async || bus.services().await.unwrap()[0].instances.len() == 1).await;
    }

    async fn after_a_gap_all_instances_are_known_again(world: World) {
        let bus = world.bus().await;
        let _first = instance(&world, &Worker::new(0)).await;
        assert_eq!(Work { n: 0 }.request(&bus).timeout(SOON).await.unwrap(), Done { by: 0 });
        world.disconnect_everything().await;
        let _second = instance(&world, &Worker::new(1)).await;
        let both = async || {
            let by = join_all((0..8).map(|n| {
                let bus = bus.clone();
                async move { Work { n }.request(&bus).timeout(SOON).await }
            }))
            .await;
            let by: Vec<u64> = by.into_iter().flatten().map(|done| done.by).collect();
            by.contains(&0) && by.contains(&1)
        };
        eventually(SOON, both).await;
    }
}

/// An answer, as another program sees it.
#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("tidings:replies:foreign:<n: u64>")]
#[message(name = "reply")]
struct Foreign {
    ok: Option<serde_json::Value>,
}
