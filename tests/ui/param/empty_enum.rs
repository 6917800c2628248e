use tidings::ChannelParam;

#[derive(ChannelParam, Clone)]
enum Region {}

fn main() {}
