use tidings::ChannelParam;

#[derive(ChannelParam, Clone)]
enum Region {
    #[param(renam = "eu")]
    EuWest,
}

fn main() {}
