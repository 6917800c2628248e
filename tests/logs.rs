//! What goes wrong is logged with the channel's template, and the payload never is.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{
    fmt::{self, Write as _},
    sync::Mutex,
};

use serde::{Deserialize, Serialize};
use tidings::{Message, router};
use tidings_tests::{World, eventually};
use tokio::time::Duration;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

const SOON: Duration = Duration::from_secs(20);

/// Every log line of this process, as `LEVEL message field=value …`.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Lines;

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("tidings")
    }

    fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        LINES.lock().unwrap().push(line.0);
    }

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

const SECRET: &str = "swordfish";

#[derive(Message, Serialize, Deserialize)]
#[channel("vaults:<vault>")]
struct Opened {
    vault: u64,
    code: String,
}

struct Guard;

#[router]
impl Guard {
    #[handler(timeout = "50ms")]
    async fn opened(&self, opened: Opened) -> Result<(), String> {
        match opened.vault {
            1 => Err("the guard is asleep".to_owned()),
            2 => panic!("a handler of a test panics, as it should"),
            3 => std::future::pending().await,
            _ => Ok(()),
        }
    }
}

/// One test, because the subscriber is the whole process's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_is_logged_with_the_template_and_without_the_payload() {
    tracing::subscriber::set_global_default(Lines).unwrap();
    for world in [World::memory(), World::redis().await] {
        LINES.lock().unwrap().clear();
        let bus = world.bus().await;
        let service = bus.serve(Guard).await.unwrap();
        let mut subscription = bus.subscribe(Opened::any()).await.unwrap();
        for vault in 1..=3 {
            Opened { vault, code: SECRET.to_owned() }.publish(&bus).await.unwrap();
        }
        for payload in [
            format!(r#"{{"vault": "{SECRET}", "code": 1}}"#),
            format!(r#"{{"vault": 9, "code": "{SECRET}"}}"#),
            format!(r#"{{"id":"a","type":"{SECRET}","data":{{}}}}"#),
        ] {
            world.publish_raw("vaults:4", payload).await;
        }
        eventually(SOON, async || service.stats().handlers[0].rejected == 3).await;
        eventually(SOON, async || service.stats().handlers[0].timed_out == 1).await;
        for _ in 0..6 {
            subscription.next().await.unwrap();
        }
        let lines = LINES.lock().unwrap().clone();
        for expected in [
            "a handler failed",
            "a handler panicked",
            "a handler ran past its timeout",
            "undecodable payload",
            "wrong type",
            "address mismatch",
        ] {
            let mut logged = lines.iter().filter(|line| line.contains(expected));
            assert!(logged.any(|line| line.contains("template=\"vaults:<vault>\"")), "{expected}: {lines:#?}");
        }
        assert!(!lines.iter().any(|line| line.contains(SECRET)), "{lines:#?}");
    }
}
