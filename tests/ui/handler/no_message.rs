use tidings::handler;

#[handler]
async fn placed() {}

fn main() {}
