use tidings::Bus;

struct Shop;

async fn serve(bus: Bus) {
    let _service = bus.serve(Shop).await.unwrap();
}

fn main() {}
