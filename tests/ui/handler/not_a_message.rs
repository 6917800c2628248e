use tidings::{handler, routes};

#[handler]
async fn placed(_order: String) {}

async fn serve(bus: tidings::Bus) {
    let _service = bus.serve(routes![placed]).await.unwrap();
}

fn main() {}
