use tidings::Delivery;

fn delivery() -> Delivery {
    Delivery::new("orders:7")
}

fn main() {}
