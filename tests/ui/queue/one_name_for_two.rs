use serde::{Deserialize, Serialize};
use tidings::{ChannelParam, Message, router};

#[derive(ChannelParam, Serialize, Deserialize, Clone, Copy)]
enum Priority {
    High,
    Normal,
    Low,
}

#[derive(ChannelParam, Serialize, Deserialize, Clone, Copy)]
enum Region {
    Eu,
    Us,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:<part>")]
struct ByPriority {
    part: Priority,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:<part>")]
struct ByRegion {
    part: Region,
}

struct Tasks;

#[router]
impl Tasks {
    #[handler(idempotent, timeout = "2m")]
    async fn by_priority(&self, _: ByPriority) {}

    #[handler(idempotent, timeout = "2m")]
    async fn by_region(&self, _: ByRegion) {}
}

fn main() {}
