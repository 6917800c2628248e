//! Everything a message may be.

#![deny(warnings)]
#![warn(unused_qualifications)]

use serde::{Deserialize, Serialize};
use tidings::{Address, Bus, ChannelParam, Message};

#[derive(ChannelParam, Serialize, Deserialize, Clone, Copy)]
#[param(rename_all = "kebab-case")]
pub enum Region {
    EuWest,
    #[param(rename = "usa")]
    Us,
}

/// An order.
///
/// With lines.
#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<region>:<type>:<path..>")]
pub struct OrderPlaced {
    region: Region,
    r#type: String,
    path: Vec<u8>,
    total: f64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("pair:<left: u8>:<rest..: Vec<std::net::IpAddr>>")]
struct Pair(u8, u8);

#[derive(Message, Serialize, Deserialize)]
#[channel("<only>")]
struct Only {
    only: String,
}

/// What borrows from nothing but the program is owned.
#[derive(Message, Serialize, Deserialize)]
#[channel("shared:<name>:<other: std::borrow::Cow<'static, str>>")]
struct Shared {
    name: std::borrow::Cow<'static, str>,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("unit")]
struct Unit;

async fn verbs(bus: Bus, order: OrderPlaced) {
    let address: Address<OrderPlaced> = OrderPlaced::channel(Region::Us, "x", vec![1]);
    let _ = (&address.region, &address.r#type, &address.path);
    order.publish(&bus).await.unwrap();
    order.publish_to(&address, &bus).await.unwrap();
    order.publish_to(address, &bus).await.unwrap();
    order.publish_to(order.address(), &bus).await.unwrap();
    let _ = OrderPlaced::any().region(Region::Us).r#type("x".to_owned()).path(vec![1]);
    Pair(1, 2).publish_to(Pair::channel(1, vec![]), &bus).await.unwrap();
    Unit.publish(&bus).await.unwrap();
    let _ = Only::channel(&String::new());
    let shared = Shared { name: "x".into() };
    shared.publish_to(Shared::channel("x", "y"), &bus).await.unwrap();
}

fn main() {
    let _ = verbs;
    assert_eq!(OrderPlaced::TEMPLATE.text(), "orders:<region>:<type>:<path..>");
    assert_eq!(OrderPlaced::DESCRIPTION, "An order.\n\nWith lines.");
    assert_eq!(OrderPlaced::channel(Region::EuWest, "a:b", vec![]).to_string(), "orders:eu-west:a%3Ab:%.");
    let order = OrderPlaced { region: Region::Us, r#type: String::new(), path: vec![1, 2], total: 0.5 };
    assert_eq!(order.address().to_string(), "orders:usa:%_:1:2");
    assert_eq!(Unit::channel().to_string(), "unit");
    let address = Address::<Pair>::parse("pair:7:%3A%3A1").unwrap();
    assert_eq!((address.left, address.rest.len()), (7, 1));
    assert!(Address::<Pair>::parse("pair:seven:%.").is_err());
}
