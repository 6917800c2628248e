//! Writes the routes of W1 with many routes: a macro would have to make a string literal for each.

use std::{env, fmt::Write, fs, path::Path};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let mut code = String::new();
    for (name, count) in [("TEN", 10), ("THOUSAND", 1_000)] {
        let _ = writeln!(code, "static {name}: [Route; {count}] = [");
        for number in 0..count {
            let _ =
                writeln!(code, "    route(Template::new(\"m{number}:<id>\", &[Segment::literal(\"m{number}\"), ID])),");
        }
        let _ = writeln!(code, "];");
    }
    let directory = env::var("OUT_DIR").unwrap_or_default();
    fs::write(Path::new(&directory).join("routes.rs"), code).unwrap_or_else(|error| panic!("{error}"));
}
