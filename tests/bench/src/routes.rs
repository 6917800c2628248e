//! W1 with many routes.

use crate::measure::Report;

pub async fn run(program: &str, _url: &str) -> Report {
    panic!("no such program: {program}");
}
