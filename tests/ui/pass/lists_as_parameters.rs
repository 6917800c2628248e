//! What fills all remaining segments may be given as a list, an array or a slice.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidings::{Bus, Message};

#[derive(Message, Serialize, Deserialize)]
#[channel("files:<path..>")]
struct FileChanged {
    path: Vec<String>,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("versions:<numbers..: Vec<u32>>")]
struct Released;

#[derive(Message, Serialize, Deserialize)]
#[channel("tags:<tags..: Vec<Arc<str>>>")]
struct Tagged;

async fn subscribe(bus: &Bus, path: &[String], numbers: &Vec<u32>) {
    let _ = bus.subscribe(FileChanged::channel(["etc", "hosts"])).await;
    let _ = bus.subscribe(FileChanged::channel(path)).await;
    let _ = bus.subscribe(FileChanged::channel(path.to_vec())).await;
    let _ = bus.subscribe(FileChanged::any().path([String::from("etc")])).await;
    let _ = bus.subscribe(Released::channel([1, 2, 3])).await;
    let _ = bus.subscribe(Released::channel(numbers)).await;
    let _ = bus.subscribe(Released::channel(&numbers[..])).await;
    let _ = bus.subscribe(Tagged::channel(["a", "b"])).await;
}

fn main() {
    let path = [String::from("etc"), String::from("hosts")];
    let files = [FileChanged::channel(["etc", "hosts"]), FileChanged::channel(&path[..]), FileChanged::channel(path)];
    assert_eq!(files.map(|address| address.to_string()), ["files:etc:hosts"; 3]);
    let versions = [Released::channel([1, 2, 3]), Released::channel(&vec![1, 2, 3])];
    assert_eq!(versions.map(|address| address.to_string()), ["versions:1:2:3"; 2]);
}
