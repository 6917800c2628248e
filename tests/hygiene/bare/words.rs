//! What needs a feature of tidings says which one, in a program that has none.
//!
//! trybuild would build tidings and what it needs once more in a folder of its own, which takes longer than all other wrong programs. Cargo alone
//! checks the library of this package, and has what it needs from the gate's step for no feature, or leaves it there.

use std::process::Command;

/// The errors of a program, and what else is said with them.
fn assert_told(program: &str, errors: &[&str], advice: &[&str]) {
    let asks_for = format!("asks_for=\"{program}\"");
    let check = ["rustc", "--offline", "--color=never", "--package=tidings-hygiene-bare", "--lib", "--profile=check"];
    let output = Command::new(env!("CARGO")).args(check).args(["--", "--cfg", &asks_for]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let lines = said.lines().filter(|line| line.starts_with("error") && !line.starts_with("error: could not compile"));
    let mut told: Vec<&str> = lines.collect();
    told.sort_unstable();
    assert_eq!(told, errors, "{said}");
    for words in advice {
        assert!(said.contains(words), "{words} in\n{said}");
    }
}

#[test]
fn a_layer_names_its_feature() {
    let error = "error[E0277]: a layer needs the feature `tower` of `tidings`";
    assert_told(
        "layers",
        &[error, error],
        &["write `tidings = { version = \"…\", features = [\"tower\"] }` in `Cargo.toml`"],
    );
}

#[test]
fn a_format_names_its_feature() {
    let error = "error[E0308]: mismatched types";
    assert_told("formats", &[error, error], &["found `NeedsTheFeatureCbor`", "found `NeedsTheFeatureMessagepack`"]);
}

#[test]
fn a_codec_names_its_feature() {
    let errors = ["Cbor", "MessagePack"]
        .map(|codec| format!("error[E0425]: cannot find type `{codec}` in module `tidings::codec`"));
    let features =
        ["the item is gated behind the `cbor` feature", "the item is gated behind the `messagepack` feature"];
    assert_told("codecs", &errors.each_ref().map(String::as_str), &features);
}

#[test]
fn what_needs_no_feature_compiles() {
    assert_told("nothing", &[], &[]);
}
