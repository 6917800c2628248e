//! Options of the derives through every kind of fragment that a `macro_rules!` can take them as.

#![deny(warnings)]
#![allow(dead_code)]

use serde::{Deserialize, Serialize};
use tidings::{ChannelParam, Message, codec::CloudEvents};

#[derive(Serialize, Deserialize)]
pub struct Quote;

/// The runtime, as a company's own crate may re-export it.
mod own {
    pub use tidings::*;
}

macro_rules! literals {
    ($channel:literal, $name:literal, $version:literal, $format:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Message, Serialize, Deserialize)]
        #[channel($channel)]
        #[message(name = $name, version = $version, format = $format)]
        pub struct Literals {
            id: u64,
        }
    };
}
literals!("literals:<id>", "literals.name", 7, "plain", "Documented.");

macro_rules! expressions {
    ($channel:expr, $name:expr, $version:expr, $format:expr, $codec:expr, $reply:expr, $doc:expr) => {
        #[doc = $doc]
        #[derive(Message, Serialize, Deserialize)]
        #[channel($channel)]
        #[message(name = $name, version = $version, format = $format)]
        pub struct Expressions {
            id: u64,
        }

        #[derive(Message, Serialize, Deserialize)]
        #[channel($channel)]
        #[message(codec = $codec)]
        #[reply($reply, error = $reply)]
        pub struct PathExpressions {
            id: u64,
        }
    };
}
expressions!("expressions:<id>", "expressions.name", 7, "plain", tidings::codec::CloudEvents, Quote, "Documented.");

macro_rules! trees {
    ($channel:tt, $name:tt, $version:tt, $format:tt, $codec:tt, $reply:tt) => {
        #[derive(Message, Serialize, Deserialize)]
        #[channel($channel)]
        #[message(name = $name, version = $version, format = $format)]
        #[reply($reply, error = $reply)]
        pub struct Trees {
            id: u64,
        }

        #[derive(Message, Serialize, Deserialize)]
        #[channel($channel)]
        #[message(codec = $codec)]
        pub struct PathTrees {
            id: u64,
        }
    };
}
trees!("trees:<id>", "trees.name", 7, "plain", CloudEvents, Quote);

macro_rules! paths {
    ($codec:path, $reply:path, $root:path, $key:ident, $version:literal) => {
        #[derive(Message, Serialize, Deserialize)]
        #[channel("paths:<id>")]
        #[message(codec = $codec, $key = $version)]
        #[reply($reply, error = $reply)]
        #[tidings(crate = $root)]
        pub struct Paths {
            id: u64,
        }
    };
}
paths!(tidings::codec::CloudEvents, crate::Quote, crate::own, version, 7);

macro_rules! types {
    ($codec:ty, $reply:ty, $error:ty, $root:path, $ident:ident) => {
        #[derive(Message, Serialize, Deserialize)]
        #[channel("types:<id>")]
        #[message(codec = $codec)]
        #[reply($reply, error = $error)]
        #[tidings(crate = $root)]
        pub struct Types {
            id: u64,
        }

        #[derive(Message, Serialize, Deserialize)]
        #[channel("types:<id>")]
        #[message(codec = $ident)]
        pub struct Idents {
            id: u64,
        }
    };
}
types!(tidings::codec::CloudEvents, Vec<Quote>, Option<Quote>, ::tidings, CloudEvents);

macro_rules! whole_items {
    ($(#[$meta:meta])* $visibility:vis $name:ident<$life:lifetime> { $($field:ident: $ty:ty),* }) => {
        #[derive(Message, Serialize, Deserialize)]
        $(#[$meta])*
        $visibility struct $name<$life> { $($field: $ty,)* text: &$life str }
    };
}
whole_items! {
    #[channel("items:<id>:<path..>")]
    #[message(name = "item", version = 3)]
    #[reply(u64)]
    pub(crate) Item<'a> { id: u64, path: Vec<String> }
}

macro_rules! nested {
    ($channel:literal, $version:expr, $ty:ty) => {
        inner!($channel, $version, $ty);
    };
}
macro_rules! inner {
    ($channel:expr, $version:expr, $ty:ty) => {
        #[derive(Message, Serialize, Deserialize)]
        #[channel($channel)]
        #[message(version = $version, name = $channel)]
        #[reply($ty)]
        pub struct Nested {
            id: $ty,
        }
    };
}
nested!("nested:<id>", 7, u64);

macro_rules! params {
    ($all:literal, $literal:literal, $expression:expr, $tree:tt, $ty:ty, $root:path) => {
        #[derive(ChannelParam, Clone, Serialize, Deserialize)]
        #[param(rename_all = $all)]
        #[tidings(crate = $root)]
        pub enum Region {
            #[param(rename = $literal)]
            A,
            #[param(rename = $expression)]
            B,
            #[param(rename = $tree)]
            C,
            EuWest,
        }

        #[derive(ChannelParam, Clone, Serialize, Deserialize)]
        pub struct Number($ty);
    };
}
params!("kebab-case", "a1", "b1", "c1", u64, crate::own);

fn main() {
    for version in [Literals::VERSION, Expressions::VERSION, Trees::VERSION, Paths::VERSION, Nested::VERSION] {
        assert_eq!(version, 7);
    }
    assert_eq!([Literals::NAME, Expressions::NAME, Trees::NAME], ["literals.name", "expressions.name", "trees.name"]);
    assert_eq!([Literals::DESCRIPTION, Expressions::DESCRIPTION], ["Documented.", "Documented."]);
    assert_eq!(Nested { id: 7 }.address().to_string(), "nested:7");
    assert_eq!((Item::NAME, Item::TEMPLATE.text()), ("item", "items:<id>:<path..>"));
    let written = |region| {
        let mut text = String::new();
        ChannelParam::write(&region, &mut text).unwrap();
        text
    };
    assert_eq!([Region::A, Region::B, Region::C, Region::EuWest].map(written), ["a1", "b1", "c1", "eu-west"]);
}
