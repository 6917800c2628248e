use tidings::{handler, routes};

#[handler]
async fn placed(_order: String) {}

async fn serve(bus: tidings::Bus) {
    bus.serve(routes![placed]).await;
}

fn main() {}
