use tidings::ChannelParam;

#[derive(ChannelParam, Clone)]
struct Region;

fn main() {}
