//! Requests find their instance also while others hang, servers are away, names are long and strangers talk.

use std::{
    pin::pin,
    sync::mpsc,
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use futures_util::poll;
use serde::{Deserialize, Serialize};
use tidings::{Message, RequestError, router};
use tidings_tests::{Recorder, World, eventually, on_each};
use tokio::{runtime, sync::oneshot, task::yield_now};

use crate::support::{Gate, SOON};

/// Work that is to be done once.
#[derive(Message, Serialize, Deserialize)]
#[channel("trouble:<n>")]
#[reply(u64)]
struct Work {
    n: u64,
}

/// Other work, which only some want.
#[derive(Message, Serialize, Deserialize)]
#[channel("choice:<n>")]
#[reply(u64)]
struct Choice {
    n: u64,
}

/// Two kinds of work.
#[derive(Clone)]
struct Worker {
    me: u64,
    /// Which kinds it did.
    did: Recorder<&'static str>,
    gate: Gate,
}

impl Worker {
    fn new(me: u64) -> Self {
        let worker = Self::held(me);
        worker.gate.open();
        worker
    }

    /// Whose work ends when its gate is opened.
    fn held(me: u64) -> Self {
        Self { me, did: Recorder::new(), gate: Gate::closed() }
    }

    fn count(&self, kind: &str) -> usize {
        self.did.all().iter().filter(|did| **did == kind).count()
    }
}

#[router]
impl Worker {
    #[handler]
    async fn work(&self, _work: Work) -> u64 {
        self.did.record("work");
        self.gate.pass().await;
        self.me
    }

    #[handler(filter = choice.n % 2 == 0)]
    async fn choose(&self, choice: Choice) -> u64 {
        let _ = choice;
        self.did.record("choice");
        self.me
    }
}

/// An instance whose thread does nothing: the server counts it, and it answers nothing.
struct Stuck {
    _held: mpsc::Sender<()>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Stuck {
    async fn start(world: &World) -> Self {
        let (started, starts) = oneshot::channel();
        let (_held, holds) = mpsc::channel::<()>();
        let builder = world.builder();
        let thread = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let bus = builder.connect().await.unwrap();
                let _service = bus.serve(Worker::new(0)).await.unwrap();
                started.send(()).unwrap();
                let _ = holds.recv();
            });
        });
        starts.await.unwrap();
        // It has said that it starts, at one node: whoever asks for it from now on does not hear that, and knows of it only that it is counted.
        world.settle().await;
        Self { _held, thread: Some(thread) }
    }

    /// It is gone, with its connections.
    fn dies(self) {
        let Self { _held, thread } = self;
        drop(_held);
        thread.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

const SHORT: Duration = Duration::from_millis(300);

on_each! {
    async fn who_was_asked_and_is_gone_is_not_waited_for(world: World) {
        let bus = world.bus().await;
        let stuck = Stuck::start(&world).await;
        let error = Work { n: 0 }.request(&bus).timeout(SHORT).await.unwrap_err();
        assert!(matches!(error, RequestError::TimedOut { timeout: SHORT, .. }), "as it was asked for: {error}");
        stuck.dies();
        let begun = Instant::now();
        let error = Work { n: 1 }.request(&bus).timeout(SOON).await.unwrap_err();
        assert!(matches!(error, RequestError::NobodyListens { .. }), "{error}");
        assert!(begun.elapsed() < SOON / 2);
        let _service = world.bus().await.serve(Worker::new(7)).await.unwrap();
        assert_eq!(Work { n: 2 }.request(&bus).timeout(SOON).await.unwrap(), 7);
    }

    async fn an_instance_that_hangs_holds_up_nobody_else(world: World) {
        let (bus, stuck) = (world.bus().await, Stuck::start(&world).await);
        let _service = world.bus().await.serve(Worker::new(7)).group("other").await.unwrap();
        let begun = Instant::now();
        let error = Choice { n: 1 }.request(&bus).timeout(SOON).await.unwrap_err();
        assert!(matches!(error, RequestError::NotHandled { reason, .. } if reason.contains("filter")), "{error}");
        let answers = Choice { n: 2 }.request(&bus).timeout(SOON).collect(5).await.unwrap();
        assert_eq!(answers.len(), 1);
        assert!(begun.elapsed() < SOON / 2);
        stuck.dies();
    }

    async fn a_question_whose_asker_is_left_alone_is_asked_by_others(world: World) {
        let bus = world.bus().await;
        let _ = Choice { n: 0 }.request(&bus).await;
        let mut left_alone = pin!(Work { n: 0 }.request(&bus).timeout(SOON).into_future());
        let _ = poll!(&mut left_alone);
        let begun = Instant::now();
        let error = Work { n: 1 }.request(&bus).timeout(SOON).await.unwrap_err();
        assert!(matches!(error, RequestError::NobodyListens { .. }), "{error}");
        assert!(begun.elapsed() < SOON / 2);
    }

    async fn a_first_request_that_is_left_alone_holds_up_no_other(world: World) {
        let _service = world.bus().await.serve(Worker::new(7)).await.unwrap();
        let bus = world.bus().await;
        let mut left_alone = pin!(Work { n: 0 }.request(&bus).timeout(SOON).into_future());
        // Its instance may have answered it before the poll is over, on another thread.
        let first = poll!(&mut left_alone);
        assert_eq!(Work { n: 1 }.request(&bus).timeout(SOON).await.unwrap(), 7);
        let answer = match first {
            Poll::Ready(answer) => answer,
            Poll::Pending => left_alone.await,
        };
        assert_eq!(answer.unwrap(), 7);
    }

    #[one_server("it is frozen")]
    async fn a_question_that_a_frozen_server_takes_is_answered_when_it_goes_on(world: World) {
        let bus = world.bus().await;
        let _service = world.bus().await.serve(Worker::new(7)).await.unwrap();
        Choice { n: 0 }.request(&bus).timeout(SOON).await.unwrap();
        world.freeze();
        let mut request = pin!(Work { n: 0 }.request(&bus).timeout(SOON).into_future());
        assert!(poll!(&mut request).is_pending());
        yield_now().await;
        world.thaw();
        assert_eq!(request.await.unwrap(), 7);
    }

    async fn equals_take_turns_whatever_else_is_asked_of_them(world: World) {
        let workers = [Worker::new(0), Worker::new(1)];
        let _services = [
            world.bus().await.serve(workers[0].clone()).await.unwrap(),
            world.bus().await.serve(workers[1].clone()).await.unwrap(),
        ];
        let bus = world.bus().await;
        for kind in 0..2 {
            // The second is known from the answer to the question, or from now on.
            let both = || workers.iter().all(|worker| worker.count(["work", "choice"][kind]) > 0);
            eventually(SOON, async || {
                match kind {
                    0 => Work { n: 0 }.request(&bus).timeout(SOON).await.unwrap(),
                    _ => Choice { n: 0 }.request(&bus).timeout(SOON).await.unwrap(),
                };
                both()
            })
            .await;
        }
        let before = workers.each_ref().map(|worker| [worker.count("work"), worker.count("choice")]);
        for n in 0..10 {
            Work { n }.request(&bus).timeout(SOON).await.unwrap();
            Choice { n: n * 2 }.request(&bus).timeout(SOON).await.unwrap();
        }
        for n in 0..10 {
            Work { n }.request(&bus).timeout(SOON).collect(1).await.unwrap();
        }
        for (worker, [work, choice]) in workers.iter().zip(before) {
            assert_eq!([worker.count("work") - work, worker.count("choice") - choice], [10, 5], "{}", worker.me);
        }
    }

    async fn whoever_let_the_time_pass_once_is_asked_again_later(world: World) {
        let (slow, other) = (Worker::held(0), Worker::new(1));
        let bus = world.bus().await;
        let _slow = world.bus().await.serve(slow.clone()).await.unwrap();
        Work { n: 0 }.request(&bus).timeout(SHORT).await.unwrap_err();
        slow.gate.open();
        let _other = world.bus().await.serve(other).await.unwrap();
        // Nothing that it has would still be answered.
        eventually(SOON, async || Work { n: 1 }.request(&bus).timeout(SOON).await.unwrap() == 1).await;
        eventually(SOON, async || Work { n: 1 }.request(&bus).timeout(SOON).await.unwrap() == 0).await;
    }

    async fn names_of_the_protocol_do_not_count_against_the_limit_of_names(world: World) {
        let short = world.bus_in("shop", |builder| builder.name_limit(20 + world.name("").len())).await;
        let _service = short.serve(Worker::new(7)).await.unwrap();
        assert_eq!(Work { n: 0 }.request(&short).timeout(SOON).await.unwrap(), 7);
        assert_eq!(short.services().within(SOON).await.unwrap().len(), 1);
    }

    async fn a_request_stays_in_its_namespace(world: World) {
        let named = async |namespace: &str| world.bus_in(namespace, |builder| builder).await;
        let names = ["shop", "shop:east", "shop:e"];
        let mut services = Vec::new();
        for (me, name) in (0..).zip(names) {
            services.push(named(name).await.serve(Worker::new(me)).await.unwrap());
        }
        for (me, name) in (0..).zip(names) {
            let bus = named(name).await;
            let answers = Work { n: 0 }.request(&bus).timeout(SOON).collect(5).await.unwrap();
            assert_eq!(answers.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [me]);
            assert_eq!(bus.services().within(SOON).await.unwrap()[0].instances.len(), 1);
        }
        let error = Work { n: 0 }.request(&named("shop:east:1").await).timeout(SOON).await.unwrap_err();
        assert!(matches!(error, RequestError::NobodyListens { .. }), "{error}");
    }

    #[one_server("it is frozen")]
    async fn services_that_could_not_be_asked_are_an_error(world: World) {
        let bus = world.bus_with(|builder| builder.command_timeout(Duration::from_secs(1))).await;
        let _service = world.bus().await.serve(Worker::new(7)).await.unwrap();
        assert_eq!(bus.services().within(SOON).await.unwrap().len(), 1);
        world.freeze();
        assert!(matches!(bus.services().within(SHORT).await.unwrap_err(), RequestError::Publish(_)));
        world.thaw();
        eventually(SOON, async || bus.services().within(SOON).await.is_ok_and(|services| services.len() == 1)).await;
    }

    async fn what_strangers_say_of_instances_does_no_harm(world: World) {
        let bus = world.bus().await;
        let _service = world.bus().await.serve(Worker::new(7)).await.unwrap();
        assert_eq!(Work { n: 0 }.request(&bus).timeout(SOON).await.unwrap(), 7);
        let says = |inbox: &str, state: &str, requests: &str| {
            let inbox = world.name(inbox);
            format!(r#"{{"inbox":"{inbox}","group":"x","state":"{state}","requests":[{requests}]}}"#)
        };
        let work = r#"{"template":"trouble:<>","message":"Work","version":1}"#;
        // Said 40,000 times, and taken back.
        let many = [work; 40_000].join(",");
        for said in [
            "".to_owned(),
            "{".to_owned(),
            "\u{0}".to_owned(),
            says("elsewhere", "serving", work),
            says("tidings:inbox:", "serving", work),
            says("tidings:inbox:a\\nb", "serving", work),
            says(&format!("tidings:inbox:{}", "x".repeat(60_000)), "serving", work),
            says("tidings:inbox:many", "serving", &many),
            says("tidings:inbox:many", "stopping", &many),
            says("tidings:inbox:nobody", "serving", work),
        ] {
            world.publish_raw("tidings:instances", said).await;
        }
        let begun = Instant::now();
        for n in 0..20 {
            assert_eq!(Work { n }.request(&bus).timeout(SOON).await.unwrap(), 7);
        }
        assert!(begun.elapsed() < SOON / 2);
    }
}
