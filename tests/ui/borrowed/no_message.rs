use tidings::handler;

struct OrderView<'a> {
    customer: &'a str,
}

#[handler]
async fn ordered(order: OrderView<'_>) {
    let _ = order.customer;
}

fn main() {}
