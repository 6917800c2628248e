use tidings::ChannelParam;

#[derive(ChannelParam, Clone)]
enum Region {
    Eu,
    Other(String),
}

fn main() {}
