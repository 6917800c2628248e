use tidings::ChannelParam;

#[derive(ChannelParam)]
enum Region {
    Eu,
}

fn main() {}
