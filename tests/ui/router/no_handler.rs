use tidings::router;

struct Shop;

#[router]
impl Shop {

}

fn main() {}
