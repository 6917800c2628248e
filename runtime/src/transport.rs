//! What carries bytes. Nothing above this module knows which transport it is, nothing below knows about messages.

pub(crate) mod any;
pub(crate) mod contract;
pub(crate) mod events;
pub(crate) mod frame;
pub(crate) mod glob;
pub(crate) mod health;
pub(crate) mod inbox;
pub(crate) mod life;
pub(crate) mod memory;
pub(crate) mod redis;
pub(crate) mod registry;
pub(crate) mod status;
