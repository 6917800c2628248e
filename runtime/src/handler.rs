//! Handlers: what they take, what they return, and the layers around them.

pub(crate) mod contract;
pub(crate) mod extract;
pub(crate) mod incoming;
#[cfg(feature = "tower")]
pub mod layer;
#[cfg(not(feature = "tower"))]
#[path = "handler/no_layer.rs"]
pub(crate) mod layer;
pub(crate) mod outcome;
pub(crate) mod returned;
pub(crate) mod stub;

pub use self::{
    contract::{Handler, Router},
    extract::{Context, Extract, ExtractError, FromState, State},
    returned::{IntoOutcome, Publish},
};
