use tidings::{Bus, routes};

async fn serve(bus: Bus) {
    bus.serve(routes!["placed"]).await;
}

fn main() {}
