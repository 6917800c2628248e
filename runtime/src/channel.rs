//! Channels: templates, parameters, addresses, and the encoding that keeps each value in its segment.

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
