use tidings::ChannelParam;

#[derive(ChannelParam, Clone)]
enum Region {
    #[param(rename = "eu:west")]
    EuWest,
}

fn main() {}
