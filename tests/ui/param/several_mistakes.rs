use tidings::ChannelParam;

#[derive(ChannelParam, Clone)]
#[param(rename_al = "kebab-case")]
enum Region {
    Eu(u8),
    Us { state: String },
}

fn main() {}
