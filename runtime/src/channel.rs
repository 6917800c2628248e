//! Channels: templates, parameters, and the encoding that keeps each value in its segment.
//!
//! | to | see |
//! |--|--|
//! | let a type of your own stand in a channel | [`ChannelParam`], and [`Shape`] for what its text can look like |
//! | name what to subscribe to | [`Selector`]: what `M::channel(…)` and `M::any()` make |
//! | look at the channel of a message's type | [`Template`] and its [`Segment`]s |
//!
//! A value is percent-encoded where it holds `% : * ? [ ] \ { }`, white space or control characters, so that it cannot leave its segment,
//! open a glob or move a cluster slot. Every value has one spelling, and every spelling one value.
//!
//! # Inside
//!
//! `param` is what a type promises that stands in a channel, `shape` what its text can look like, `parameter` what generated code does with
//! it. `template` holds the segments of a template, `text` writes and reads a channel, `encoding` one segment, `selector` what can be subscribed
//! to. This floor uses `error` and nothing else of the crate: it knows no message, no transport and no bus.

pub(crate) mod encoding;
pub(crate) mod param;
pub(crate) mod parameter;
pub(crate) mod selector;
pub(crate) mod shape;
pub(crate) mod template;
pub(crate) mod text;

pub use self::{
    param::{ChannelParam, IntoParam, InvalidParam, RestParam},
    parameter::Params,
    selector::Selector,
    shape::Shape,
    template::{Segment, Template},
    text::{ChannelReader, ChannelWriter},
};
