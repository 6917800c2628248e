//! `#[message(version = 2, from = …)]`: what older code wrote is read as what it was, and handled as what it is now.

use serde::{Deserialize, Serialize};
use tidings::{Format, Message, router};
use tidings_tests::{Recorder, on_each};

use crate::support::message;

/// What programs before the last two deployments know, and after the first of them, and now.
mod before {
    use super::*;

    #[derive(Message, Serialize, Deserialize)]
    #[queue("tasks:resize")]
    pub(crate) struct Resize {
        pub width: u32,
    }

    #[derive(Message, Serialize, Deserialize)]
    #[channel("resized")]
    pub(crate) struct Resized {
        pub width: u32,
    }

    #[derive(Message, Serialize, Deserialize)]
    #[channel("sizes")]
    #[reply(u32)]
    pub(crate) struct SizeOf {
        pub name: String,
    }
}

mod between {
    use super::*;

    #[derive(Message, Serialize, Deserialize)]
    #[queue("tasks:resize")]
    #[message(version = 2, from = before::Resize)]
    pub(crate) struct Resize {
        pub size: (u32, u32),
    }

    impl From<before::Resize> for Resize {
        fn from(older: before::Resize) -> Self {
            Self { size: (older.width, older.width) }
        }
    }
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:resize")]
#[message(version = 3, from = between::Resize)]
struct Resize {
    width: u32,
    height: u32,
}

impl From<between::Resize> for Resize {
    fn from(between::Resize { size: (width, height) }: between::Resize) -> Self {
        Self { width, height }
    }
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[channel("resized")]
#[message(version = 2, from = before::Resized)]
struct Resized {
    size: (u32, u32),
}

impl From<before::Resized> for Resized {
    fn from(older: before::Resized) -> Self {
        Self { size: (older.width, older.width) }
    }
}

#[derive(Message, Serialize, Deserialize)]
#[channel("sizes")]
#[reply(u32)]
#[message(version = 2, from = before::SizeOf)]
struct SizeOf {
    path: String,
}

impl From<before::SizeOf> for SizeOf {
    fn from(older: before::SizeOf) -> Self {
        Self { path: format!("/{}", older.name) }
    }
}

struct Images {
    sizes: Recorder<(u32, u32)>,
}

#[router]
impl Images {
    #[handler(idempotent, timeout = "10s")]
    async fn resize(&self, task: Resize) {
        self.sizes.record((task.width, task.height));
    }

    #[handler]
    async fn resized(&self, resized: Resized) {
        self.sizes.record(resized.size);
    }

    #[handler]
    async fn size_of(&self, request: SizeOf) -> u32 {
        u32::try_from(request.path.len()).unwrap()
    }
}

on_each! {
    async fn tasks_of_each_version_run(world: World) {
        let bus = world.bus().await;
        before::Resize { width: 7 }.enqueue(&bus).await.unwrap();
        between::Resize { size: (8, 9) }.enqueue(&bus).await.unwrap();
        Resize { width: 1, height: 2 }.enqueue(&bus).await.unwrap();
        let sizes = Recorder::new();
        let service = bus.serve(Images { sizes: sizes.clone() }).await.unwrap();
        sizes.wait_for(3).await;
        let mut seen = sizes.all();
        seen.sort_unstable();
        assert_eq!(seen, [(1, 2), (7, 7), (8, 9)]);
        service.shutdown().await.unwrap();
    }

    async fn without_an_envelope_the_entry_says_the_version(world: World) {
        let bus = world.bus_with(|builder| builder.format(Format::Plain)).await;
        before::Resize { width: 7 }.enqueue(&bus).await.unwrap();
        let sizes = Recorder::new();
        let service = bus.serve(Images { sizes: sizes.clone() }).await.unwrap();
        sizes.wait_for(1).await;
        assert_eq!(sizes.all(), [(7, 7)]);
        service.shutdown().await.unwrap();
    }

    async fn broadcasts_and_requests_are_read_too(world: World) {
        let bus = world.bus().await;
        let sizes = Recorder::new();
        let service = bus.serve(Images { sizes: sizes.clone() }).await.unwrap();
        let mut subscription = bus.subscribe(Resized::any()).await.unwrap();
        before::Resized { width: 7 }.publish(&bus).await.unwrap();
        Resized { size: (1, 2) }.publish(&bus).await.unwrap();
        assert_eq!(message(&mut subscription).await.size, (7, 7));
        assert_eq!(message(&mut subscription).await.size, (1, 2));
        sizes.wait_for(2).await;
        assert_eq!(sizes.all(), [(7, 7), (1, 2)]);
        assert_eq!(before::SizeOf { name: "cat".into() }.request(&bus).await.unwrap(), 4);
        assert_eq!(SizeOf { path: "cat".into() }.request(&bus).await.unwrap(), 3);
        service.shutdown().await.unwrap();
    }
}
