//! What a handler can know of a message beyond its value.

use crate::{error::Rejection, message::Message, transport::frame::Frame};

/// The metadata of one received message.
#[derive(Debug)]
pub struct Delivery {
    frame: Frame,
    headers: Headers,
}

/// The headers of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    entries: Vec<(String, String)>,
}

impl Delivery {
    /// The channel, without the bus's namespace.
    #[must_use]
    pub fn channel(&self) -> &str {
        str::from_utf8(self.frame.channel()).unwrap_or_default()
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Decodes the message and checks it against the channel. Called by generated code, once, before the metadata is read.
    #[doc(hidden)]
    pub fn decode<M: Message>(&mut self) -> Result<M, Rejection> {
        crate::message::read(&mut serde_json::Deserializer::from_slice(self.frame.payload()))
            .map_err(|error: serde_json::Error| Rejection::Undecodable { name: M::NAME, reason: error.to_string() })
    }
}
