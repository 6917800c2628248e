//! Channels: templates, parameters, addresses, and the encoding that keeps each value in its segment.

pub(crate) mod address;
pub(crate) mod encoding;
pub(crate) mod param;
pub(crate) mod shape;
pub(crate) mod template;

pub use self::{
    address::{Address, ChannelReader, ChannelWriter, Params, Selector},
    param::{ChannelParam, IntoParam, InvalidParam, RestParam},
    shape::Shape,
    template::{Segment, Template},
};
