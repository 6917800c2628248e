//! Programs that must not compile, with the words that they are refused with, and programs that must.

#[test]
fn compile_errors() {
    let cases = trybuild::TestCases::new();
    cases.pass("ui/pass/*.rs");
    let themes = [
        "message", "param", "handler", "layer", "router", "routers", "routes", "verbs", "request", "borrowed", "queue",
        "outcome", "result",
    ];
    for theme in themes {
        cases.compile_fail(format!("ui/{theme}/*.rs"));
    }
}
