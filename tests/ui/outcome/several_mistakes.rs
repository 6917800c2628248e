use tidings::Outcome;

#[derive(Outcome)]
#[outcome(retry)]
enum ResizeError {
    #[outcome(retry, discard)]
    DiskFull,
    #[outcome(retrie)]
    NoImage,
    #[outcome(dead_letter = 7)]
    TooOld,
    #[outcome]
    Nothing,
    #[outcome(retry)]
    #[outcome(retry)]
    Twice,
}

#[derive(Outcome)]
union Both {
    one: u8,
    other: u8,
}

fn main() {}
