use serde::{Deserialize, Serialize};
use tidings::ChannelParam;

#[derive(ChannelParam, Serialize, Deserialize, Clone, Copy)]
enum Region {
    #[param("eu")]
    Europe,
    America,
}

fn main() {}
