//! Writes the many routes and handlers that are measured: a macro would have to make a string literal for each.

use std::{env, fmt::Write, fs, path::Path};

/// Tables of so many routes, with one handler for all of them.
const TABLES: [(&str, usize); 4] = [("TEN", 10), ("HUNDRED", 100), ("THOUSAND", 1_000), ("TEN_THOUSAND", 10_000)];
/// Routers of so many handlers, each with a message of its own, as a program has them.
const ROUTERS: [(&str, usize); 2] = [("ten", 10), ("hundred", 100)];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let directory = env::var("OUT_DIR").unwrap_or_default();
    let write = |name: &str, code: String| {
        fs::write(Path::new(&directory).join(name), code).unwrap_or_else(|error| panic!("{error}"));
    };
    write("routes.rs", TABLES.iter().map(|(name, count)| table(name, *count)).collect());
    write("handlers.rs", handlers());
}

fn table(name: &str, count: usize) -> String {
    let mut code = format!("static {name}: [Route; {count}] = [\n");
    for number in 0..count {
        let _ = writeln!(code, "    route(Template::new(\"m{number}:<id>\", &[Segment::literal(\"m{number}\"), ID])),");
    }
    code + "];\n"
}

fn handlers() -> String {
    let mut code = String::new();
    for number in 0..100 {
        let _ = writeln!(code, "#[derive(Message, Serialize, Deserialize)]\n#[channel(\"m{number}:<id>\")]");
        let _ = writeln!(code, "struct Ping{number} {{ id: u64 }}");
        let _ = writeln!(code, "impl Numbered for Ping{number} {{ fn id(&self) -> u64 {{ self.id }} }}");
        let _ = writeln!(code, "#[handler]\nasync fn take{number}(ping: Ping{number}) {{ seen(ping.id); }}");
    }
    // By hand too each route has a type of its own, as a program has it.
    let each = |what: &str| -> String { (0..100).map(|number| format!("{what}::<Ping{number}>, ")).collect() };
    let _ = writeln!(code, "static BY_HAND: [Start; 100] = [{}];", each("start"));
    let _ = writeln!(code, "static FROM_SLICE: [fn(&str); 100] = [{}];", each("from_slice"));
    let _ = writeln!(code, "static FROM_TEXT: [fn(&str); 100] = [{}];", each("from_text"));
    for (name, count) in ROUTERS {
        let names: Vec<String> = (0..count).map(|number| format!("take{number}")).collect();
        let _ = writeln!(code, "pub fn {name}() -> impl Router {{ routes![{}] }}", names.join(", "));
    }
    code
}
