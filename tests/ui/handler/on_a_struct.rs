use tidings::handler;

#[handler]
struct Shop;

fn main() {}
