use tidings::{Bus, routes};

async fn serve(bus: Bus) {
    bus.serve(routes![]).await;
}

fn main() {}
