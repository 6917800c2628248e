use std::any::Any;

use tidings::handler;

#[handler]
async fn anything(_: Box<dyn Any + Send>) {}

fn main() {}
