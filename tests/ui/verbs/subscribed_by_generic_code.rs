use tidings::{Bus, Event, Message};

async fn watch<M: Message>(bus: &Bus) {
    let mut arriving = bus.subscribe(M::any()).await.unwrap();
    while let Some(Event::Message(_)) = arriving.next().await {}
}

fn main() {}
