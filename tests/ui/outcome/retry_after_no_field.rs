use std::time::Duration;

use tidings::Outcome;

#[derive(Outcome)]
enum ResizeError {
    #[outcome(retry_after = afer)]
    Busy { after: Duration },
    #[outcome(retry_after = 1)]
    Waits(Duration),
    #[outcome(retry_after = after)]
    Unit,
    #[outcome(retry_after = "5s")]
    Later { time: Duration },
    #[outcome(retry_after)]
    Missing { time: Duration },
}

fn main() {}
