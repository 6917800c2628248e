//! Types, fields and variants may have whatever name they have.

#![deny(warnings)]

use serde::{Deserialize, Serialize};
use tidings as messaging;
use tidings::{ChannelParam, Message};

mod alloc {}
mod core {}
mod std {}
mod __tidings {}

/// What the generated code must not lean on.
#[allow(dead_code)]
mod shadows {
    pub struct Address;
    pub struct Box;
    pub struct Bus;
    pub struct Err;
    pub struct None;
    pub struct Ok;
    pub struct Option;
    pub struct Params;
    pub struct Result;
    pub struct Send;
    pub struct Sized;
    pub struct Some;
    pub struct String;
    pub struct Sync;
    pub struct Vec;
}
#[allow(unused_imports)]
use shadows::*;

type Text = ::std::string::String;

#[derive(Message, Serialize, Deserialize)]
#[channel("a:<id>")]
pub struct Order_ {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("b:<name_>:<r#type>:<gen>:<__channel>:<__bus>:<self_>:<bus>:<address>:<Größe>:<rest..>")]
#[allow(non_snake_case)]
pub struct __Order {
    name_: Text,
    r#type: Text,
    r#gen: Text,
    __channel: Text,
    __bus: Text,
    self_: Text,
    bus: Text,
    address: Text,
    Größe: Text,
    rest: ::std::vec::Vec<Text>,
}

#[allow(non_camel_case_types)]
#[derive(messaging::Message, Serialize, Deserialize)]
#[channel("c:<kind>:<a: r#enum>")]
pub struct order_ {
    kind: r#enum,
}

#[derive(messaging::ChannelParam, Clone, Copy, Serialize, Deserialize)]
#[allow(non_camel_case_types)]
pub enum r#enum {
    r#type,
    Self_,
    __X,
    größe,
    Some,
    Ok,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("d:<größe>")]
#[reply(Text, error = Text)]
#[allow(non_camel_case_types)]
pub struct HTTP_Größe_2 {
    größe: Text,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("e:<id: r#struct>")]
pub struct Self_<'tidings> {
    #[serde(borrow)]
    text: &'tidings ::core::primitive::str,
}

#[derive(ChannelParam, Clone, Serialize, Deserialize)]
#[allow(non_camel_case_types)]
pub struct r#struct(Text);

fn main() {
    assert_eq!(<Order_ as Message>::NAME, "Order_");
    assert_eq!(order_::channel(r#enum::größe, r#enum::r#type).to_string(), "c:größe:type");
    assert_eq!(HTTP_Größe_2 { größe: "x".into() }.address().to_string(), "d:x");
    let _ = (__Order::any().r#type("x").__bus("x").Größe("y"), Self_::channel(r#struct("x".into())));
}
