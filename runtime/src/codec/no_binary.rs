//! What stands in for the binary formats without their features: names that say which feature is missing, where rustc would say that there is no
//! such format.

use crate::codec::contract::Format;

/// No [`Format`].
#[cfg(not(feature = "messagepack"))]
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct NeedsTheFeatureMessagepack;

/// No [`Format`].
#[cfg(not(feature = "cbor"))]
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct NeedsTheFeatureCbor;

#[allow(non_upper_case_globals, reason = "they stand in for variants")]
impl Format {
    #[cfg(not(feature = "messagepack"))]
    #[doc(hidden)]
    pub const MessagePack: NeedsTheFeatureMessagepack = NeedsTheFeatureMessagepack;

    #[cfg(not(feature = "cbor"))]
    #[doc(hidden)]
    pub const Cbor: NeedsTheFeatureCbor = NeedsTheFeatureCbor;
}
