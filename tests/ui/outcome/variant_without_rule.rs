use tidings::Outcome;

#[derive(Outcome)]
enum ResizeError {
    #[outcome(retry)]
    DiskFull,
    NoImage,
    #[outcome()]
    TooOld,
}

#[derive(Outcome)]
struct Refused;

fn main() {}
