use std::time::Duration;

use tidings::Outcome;

#[derive(Outcome)]
enum ResizeError {
    #[outcome(retry_after = after)]
    Busy { after: u64 },
    #[outcome(retry_after = 1)]
    Waits(Duration, Option<Duration>),
}

fn main() {}
