//! Messages: the traits that `#[derive(Message)]` implements, addresses, and what was received of one.

pub(crate) mod address;
pub(crate) mod contract;
pub(crate) mod delivery;
pub(crate) mod facts;
pub(crate) mod kind;
pub(crate) mod reading;

pub use self::{
    address::Address,
    contract::{BorrowedMessage, Message, OwnedMessage},
    delivery::Delivery,
    facts::{Facts, Kind},
    kind::{NoError, Request},
};
