use tidings::Outcome;

#[derive(Debug, Outcome)]
#[outcome(retry)]
enum ResizeError {
    DiskFull,
    NoImage,
}

fn main() {}
