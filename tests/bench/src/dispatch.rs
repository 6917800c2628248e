//! W5: what happens between the read buffer and the handler, in one thread and without a server.

use std::{collections::HashMap, hint::black_box, time::Instant};

use tidings::Router;

use crate::order::{Form, Order};

/// Best of several, as nothing but other work on the machine makes it slower.
fn nanos(turns: u64, mut run: impl FnMut(u64)) -> f64 {
    let turns = turns.max(1_000);
    let mut best = f64::MAX;
    for _ in 0..7 {
        let start = Instant::now();
        (0..turns).for_each(&mut run);
        best = best.min(start.elapsed().as_nanos() as f64 / turns as f64);
    }
    best
}

pub fn table(divisor: u64) -> String {
    let turns = 1_000_000 / divisor;
    let payloads: Vec<String> = (0..100).map(|number| Form::Plain.encode(&Order::new(number), number)).collect();
    let payload = |number: u64| payloads[(number % 100) as usize].as_bytes();
    let channels: Vec<Vec<u8>> = (0..1_000).map(|number| format!("m{number}:{}", 100 + number % 100).into()).collect();
    let channel = |number: u64, routes: u64| &channels[(number % routes) as usize][..];

    let mut lines = vec!["| what | ns |\n|--|--|".to_owned()];
    let mut add = |what: &str, nanos: f64| lines.push(format!("| {what} | {nanos:.1} |"));
    add("routing by hand: `HashMap` of prefixes, 10 routes", by_map(turns, 10, channel));
    add("routing by hand: `HashMap` of prefixes, 1,000 routes", by_map(turns, 1_000, channel));
    let table = crate::routes::Ten::table();
    add(
        "tidings: table of 10 routes",
        nanos(turns, |number| {
            assert!(black_box(table.find(black_box(channel(number, 10)))).is_some());
        }),
    );
    let table = crate::routes::Thousand::table();
    add(
        "tidings: table of 1,000 routes",
        nanos(turns, |number| {
            assert!(black_box(table.find(black_box(channel(number, 1_000)))).is_some());
        }),
    );
    add(
        "decoding alone: `serde_json::from_slice`",
        nanos(turns / 4, |number| {
            black_box(serde_json::from_slice::<Order>(black_box(payload(number))).expect("an order"));
        }),
    );
    add(
        "decoding alone: one UTF-8 check, `serde_json::from_str`",
        nanos(turns / 4, |number| {
            let text = str::from_utf8(black_box(payload(number))).expect("text");
            black_box(serde_json::from_str::<Order>(text).expect("an order"));
        }),
    );
    lines.join("\n")
}

fn by_map<'a>(turns: u64, routes: u64, channel: impl Fn(u64, u64) -> &'a [u8]) -> f64 {
    let map: HashMap<String, u64> = (0..routes).map(|number| (format!("m{number}"), number)).collect();
    nanos(turns, |number| {
        let name = str::from_utf8(black_box(channel(number, routes))).expect("text");
        let prefix = name.split(':').next().unwrap_or_default();
        assert!(black_box(map.get(prefix)).is_some());
    })
}
