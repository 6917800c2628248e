use tidings::ChannelParam;

#[derive(ChannelParam, Clone)]
struct Sku<'a>(&'a str);

fn main() {}
