//! The transports are compiled in the library, and not once more into each program: the code of a future is generated where it is awaited,
//! so what a program awaits holds no future of a transport, which would make it kilobytes large.

use serde::{Deserialize, Serialize};
use tidings::{Bus, Message, handler, routes};

#[derive(Message, Serialize, Deserialize)]
#[channel("compiled:<id>")]
struct Compiled {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("compiled-tasks")]
struct Task {
    id: u64,
}

#[handler]
async fn compiled(_message: Compiled) {}

#[handler(idempotent, timeout = "1m")]
async fn worked(_task: Task) {}

#[tokio::test]
async fn no_future_that_a_program_awaits_holds_one_of_a_transport() {
    let bus = Bus::connect("memory:").await.unwrap();
    let (message, task) = (Compiled { id: 1 }, Task { id: 1 });
    let queue = bus.queue::<Task>();
    let futures = [
        ("connect", size_of_val(&Bus::connect("memory:"))),
        ("serve", size_of_val(&bus.serve(routes![compiled, worked]))),
        ("publish", size_of_val(&message.publish(&bus))),
        ("enqueue", size_of_val(&task.enqueue(&bus).into_future())),
        ("subscribe", size_of_val(&bus.subscribe(Compiled::any()).into_future())),
        ("health", size_of_val(&bus.health())),
        ("counts", size_of_val(&queue.counts())),
    ];
    for (what, size) in futures {
        assert!(size <= LARGEST, "{what}: {size} bytes");
    }
}

const LARGEST: usize = 1_024;
