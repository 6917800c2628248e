use tidings::ChannelParam;

#[derive(ChannelParam, Clone)]
#[param(rename_all = "kebap-case")]
enum Region {
    EuWest,
}

fn main() {}
