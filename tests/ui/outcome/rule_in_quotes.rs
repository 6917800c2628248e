use tidings::Outcome;

#[derive(Debug, Outcome)]
enum MailError {
    #[outcome("retry")]
    Refused,
    #[outcome(discard)]
    Unknown,
}

fn main() {}
