//! What is named after a word of the language is named so in options too, raw or not.

#![deny(warnings)]
#![allow(dead_code)]

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::{Bus, ChannelParam, Message, Outcome, Turns, handler, router, routes};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<type>:<async>")]
pub struct OrderPlaced {
    r#type: u64,
    r#async: u64,
}

#[handler(order = type)]
async fn placed(_: OrderPlaced) {}

#[handler(order = r#async)]
async fn r#match(_: OrderPlaced) {}

#[derive(ChannelParam, Clone, Copy, Serialize, Deserialize)]
pub enum Priority {
    High,
    Low,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:<type>", strict = type)]
pub struct Resize {
    r#type: Priority,
    r#mod: String,
}

#[handler(once = mod, timeout = "1m")]
async fn resize(_: Resize) -> Result<(), Busy> {
    Ok(())
}

#[derive(Debug, Outcome, thiserror::Error)]
#[error("busy")]
pub enum Busy {
    #[outcome(retry_after = in)]
    Later { r#in: Duration },
}

macro_rules! queue {
    ($name:ident, $option:ident = $word:ident, $once:ident) => {
        #[derive(Message, Serialize, Deserialize)]
        #[queue("words:<type>", $option = $word, weights = [3, 1])]
        pub struct $name {
            $word: Priority,
            r#fn: String,
        }

        struct Words;

        #[router]
        impl Words {
            #[handler(once = $once, timeout = "1m")]
            async fn word(self: &Self, _: $name) {}
        }
    };
}
queue!(Word, weighted = r#type, fn);

fn main() {
    assert_eq!(Resize::QUEUE.unwrap().turns, Turns::Strict("type"));
    assert_eq!(Word::QUEUE.unwrap().turns, Turns::Weighted("type", &[3, 1]));
    let _ = |bus: Bus| (bus.serve(routes![placed]), bus.serve(routes![r#match, resize]), bus.serve(Words));
}
