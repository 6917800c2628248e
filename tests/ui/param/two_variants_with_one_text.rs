use tidings::ChannelParam;

#[derive(ChannelParam, Clone)]
enum Region {
    Europe,
    #[param(rename = "europe")]
    Eu,
}

fn main() {}
