use tidings::handler;

struct Shop;

#[handler]
impl Shop {}

fn main() {}
