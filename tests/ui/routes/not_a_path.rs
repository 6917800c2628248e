use tidings::{Bus, routes};

async fn serve(bus: Bus) {
    let _service = bus.serve(routes!["placed"]).await.unwrap();
}

fn main() {}
