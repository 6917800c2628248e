use tidings::ChannelParam;

#[derive(Clone, ChannelParam)]
#[param(rename_all = "lisp")]
enum Region {
    EastAsia,
}

fn main() {}
