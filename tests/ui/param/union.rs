use tidings::ChannelParam;

#[derive(ChannelParam, Clone, Copy)]
union Number {
    whole: u64,
    signed: i64,
}

fn main() {}
