//! The floors of the runtime: each `runtime/src/name.rs` with its folder is one, and knows only the floors below it.
//!
//! Read as text, line by line: comments, strings and what stands under `#[cfg(test)]` are left out. ARCHITECTURE.md has the same table.

use std::{fs, path::Path};

/// From top to bottom.
const FLOORS: [&str; 17] = [
    "testing",
    "operate",
    "serve",
    "publish",
    "subscribe",
    "handler",
    "bus",
    "route",
    "message",
    "transport",
    "channel",
    "error",
    "config",
    "time",
    "future",
    "observe",
    "codec",
];

/// Files that are modules, by their path without `.rs`, and their code.
type House = Vec<(String, String)>;

#[test]
fn every_file_imports_only_from_below() {
    let house = runtime();
    let violations = violations(&house);
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
    for floor in FLOORS {
        assert!(house.iter().any(|(file, _)| file == floor), "there is no runtime/src/{floor}.rs");
    }
}

#[test]
fn architecture_has_the_same_table() {
    let text = read(Path::new("../ARCHITECTURE.md"));
    let rows =
        text.lines().skip_while(|line| !line.starts_with("| floor |")).skip(2).take_while(|line| line.starts_with('|'));
    let documented: Vec<&str> = rows.filter_map(|row| row.split('`').nth(1)).collect();
    assert_eq!(documented, FLOORS);
}

#[test]
fn only_the_driver_has_time_and_only_one_transport_knows_redis() {
    let may = [
        "serve/driver",
        "serve/sources",
        "serve/services",
        "serve/spawned",
        "serve/call",
        "serve/queues",
        "serve/keeper",
        "serve/work/pull",
    ];
    let starts = [".spawn(", "tokio::spawn(", " sleep(", "::sleep(", "sleep_until(", "timeout(", "interval("];
    for (file, code) in runtime() {
        let is_service = file == "serve" || file.starts_with("serve/");
        for line in code.lines().filter(|line| !line.contains("fn ")) {
            let has_time = starts.iter().any(|call| line.contains(call)) && !line.contains(".timeout(");
            assert!(!has_time || !is_service || may.contains(&file.as_str()), "{file}.rs spawns or sleeps:{line}");
            // `any` imports the transport of that name.
            let knows_redis =
                file.starts_with("transport/redis") || file == "transport/any" || file == "transport/durable/any";
            let names_redis = line
                .match_indices("redis::")
                .any(|(at, _)| !line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_'));
            assert!(!names_redis || knows_redis, "{file}.rs knows Redis:{line}");
        }
        assert!(code.lines().count() <= 600, "{file}.rs has more than 600 lines");
    }
}

/// What is generic over routers is compiled into each program, once for each of its routers.
#[test]
fn only_what_calls_handlers_and_what_begins_a_service_is_generic_over_routers() {
    let may = ["serve", "serve/call", "serve/queues", "serve/service"];
    let house = runtime();
    let is_of_serving = |file: &str| file == "serve" || file.starts_with("serve/");
    let serving = house.iter().filter(|(file, _)| is_of_serving(file));
    let mut generic: Vec<&str> =
        serving.filter(|(_, code)| code.contains("<R: Router>")).map(|(file, _)| file.as_str()).collect();
    generic.sort_unstable();
    assert_eq!(generic, may);
    let (_, service) = house.iter().find(|(file, _)| file == "serve/service").unwrap();
    assert_eq!(service.matches("R: Router").count(), 1, "a service knows of its router only where it is made");
}

#[test]
fn finds_what_is_wrong_and_only_that() {
    for (file, code, expected) in [
        (
            "error",
            "use crate::{\n    observe::label::Label,\n    bus::{handle::Bus as B},\n};",
            "`bus` is no floor below",
        ),
        ("error", "fn f(bus: &crate::bus::handle::Bus) {}", "`bus` is no floor below"),
        ("error", "use crate::Bus;", "`Bus` is no floor below"),
        ("error", "use super::bus;", "`bus` is no floor below"),
        ("error", "tidings::Bus", "outside"),
        ("transport/contract", "use crate::transport::Name;", "face"),
        ("transport/redis/wire", "use crate::transport::redis::{stream::Stream, Redis};", "face"),
        ("transport/redis/wire", "use super::Redis;", "face"),
        ("transport/redis/wire", "use super::super::contract::Name;", "beyond its folder"),
    ] {
        let found = violations(&small_house(file, code));
        assert!(found.len() == 1 && found[0].contains(expected), "{code}: {found:?}");
    }
    for (file, code) in [
        (
            "bus",
            "use crate::{error::Error, transport::{contract::Name, redis::stream::Stream}};\npub(crate) use self::x;",
        ),
        ("transport/redis/wire", "use super::stream::Stream;\nuse crate::transport::contract::{self, Name};"),
        ("transport", "pub(crate) use crate::transport::contract::Name;"),
        ("error", "// crate::bus\n/// [`Bus`](crate::bus)\nlet text = \"crate::bus\";"),
        ("error", "#[cfg(test)]\nuse crate::bus;\n#[cfg(test)]\nmod tests {\n    use super::*;\n}\n"),
    ] {
        assert_eq!(violations(&small_house(file, code)), [""; 0], "{code}");
    }
}

fn small_house(file: &str, source: &str) -> House {
    let others =
        ["error", "bus", "observe", "transport", "transport/contract", "transport/redis", "transport/redis/stream"];
    let mut house: House =
        others.iter().filter(|other| **other != file).map(|other| (other.to_string(), String::new())).collect();
    house.push((file.to_owned(), code(source)));
    house
}

/// Every file of the runtime but `lib.rs` and those of tests.
fn runtime() -> House {
    let (mut folders, mut house) = (vec![String::new()], House::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).expect("the runtime's sources are there") {
            let entry = entry.expect("a file");
            let name = format!("{folder}{}", entry.file_name().display());
            match name.strip_suffix(".rs") {
                Some("lib") => {}
                Some(file) if file.split('/').any(|part| part == "tests") => {}
                Some(file) => house.push((file.to_owned(), code(&read(&root().join(&name))))),
                None if entry.path().is_dir() => folders.push(name + "/"),
                // The scripts of queues.
                None => assert!(name.ends_with(".lua"), "what is runtime/src/{name}?"),
            }
        }
    }
    house
}

fn root() -> &'static Path {
    Path::new("../runtime/src")
}

fn read(file: &Path) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The code of a file, each line in its place: without comments, strings and what only tests see.
fn code(source: &str) -> String {
    let mut lines = source.lines();
    let mut code = String::new();
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]" {
            // An item ends on its first line, or with the brace that closes it.
            let first = lines.next().unwrap_or_default();
            if !first.ends_with(';') && !first.ends_with('}') {
                lines.by_ref().find(|line| *line == "}");
            }
            continue;
        }
        let without_strings: String = line.split('"').step_by(2).collect();
        code.push_str(without_strings.split("//").next().unwrap_or_default());
        code.push('\n');
    }
    code
}

fn violations(house: &House) -> Vec<String> {
    let mut found = Vec::new();
    for (file, code) in house {
        for path in paths(code) {
            if let Some(wrong) = judge(house, file, &path) {
                found.push(format!("runtime/src/{file}.rs: `{}`: {wrong}", path.join("::")));
            }
        }
    }
    found
}

/// What is wrong with a path in a file.
fn judge(house: &House, file: &str, path: &[String]) -> Option<String> {
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    let own: Vec<&str> = file.split('/').collect();
    let target = match parts[..] {
        ["crate", ref rest @ ..] => rest.to_vec(),
        ["super", "super", ..] => return Some("leads beyond its folder".to_owned()),
        ["super", ref rest @ ..] => [&own[..own.len() - 1], rest].concat(),
        _ => return Some("names the crate from outside: write `crate::`".to_owned()),
    };
    let place = |part: &&str| FLOORS.iter().position(|floor| floor == part);
    let (mine, theirs) = (place(&own[0])?, target.first().and_then(place));
    if theirs.is_none_or(|theirs| theirs < mine) {
        return Some(format!("`{}` is no floor below `{}`", target.first().unwrap_or(&"crate"), own[0]));
    }
    // The file that the path leads into: the longest one of which it names each part.
    let depth =
        (1..=target.len()).rev().find(|&depth| house.iter().any(|(other, _)| *other == target[..depth].join("/")))?;
    let is_face = depth < own.len() && own[..depth] == target[..depth];
    is_face.then(|| "is its own face: import from the room that defines it".to_owned())
}

/// Every path that begins with `crate`, `super` or `tidings`, groups taken apart.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for root in ["crate", "super", "tidings"] {
        for (at, _) in code.match_indices(&format!("{root}::")) {
            let before = &code[..at];
            if !before.ends_with(is_name) && !before.ends_with("::") {
                expand(&code[at..], Vec::new(), &mut found);
            }
        }
    }
    found
}

/// Takes one path with its groups; returns what follows it.
fn expand<'a>(mut text: &'a str, mut path: Vec<String>, found: &mut Vec<Vec<String>>) -> &'a str {
    loop {
        text = text.trim_start();
        if let Some(mut group) = text.strip_prefix('{') {
            while !group.trim_start().starts_with('}') && !group.trim_start().is_empty() {
                let rest = expand(group, path.clone(), found).trim_start().trim_start_matches(',');
                assert!(rest.len() < group.len(), "a group that cannot be read: {group:.60}");
                group = rest;
            }
            let group = group.trim_start();
            return group.strip_prefix('}').unwrap_or(group);
        }
        let end = text.find(|character| !is_name(character)).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        if word != "self" || path.is_empty() {
            path.push(word.to_owned());
        }
        match rest.strip_prefix("::") {
            Some(rest) => text = rest,
            None => {
                found.push(path);
                let alias = rest.trim_start().strip_prefix("as ").map(|alias| alias.trim_start_matches(is_name));
                return alias.unwrap_or(rest.strip_prefix('*').unwrap_or(rest));
            }
        }
    }
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}
