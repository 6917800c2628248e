use tidings::Bus;

struct Shop;

async fn serve(bus: Bus) {
    bus.serve(Shop).await;
}

fn main() {}
