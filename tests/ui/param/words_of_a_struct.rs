use tidings::ChannelParam;

#[derive(ChannelParam, Clone)]
#[param(rename_all = "kebab-case")]
struct OrderId(u64);

fn main() {}
