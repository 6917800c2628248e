use tidings::router;

struct Shop;

#[router]
impl Shop {
    async fn placed(&self) {}
}

fn main() {}
