use tidings::router;

#[router]
struct Shop;

fn main() {}
