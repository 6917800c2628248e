//! Stub.
use super::{Attachment, PublishFailure, Status, Transport, Wanted, inbox::Inbox};
use crate::{config::Config, error::SubscribeError};
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Memory;

impl Memory {
    pub(crate) fn connect(_broker: &str, _config: &Config) -> Self {
        Self
    }
}

impl Transport for Memory {
    async fn publish(&self, _channel: String, _payload: Vec<u8>) -> Result<Option<u64>, PublishFailure> {
        Err(PublishFailure::NotConnected(String::new()))
    }

    async fn attach(&self, _inbox: Arc<Inbox>, _names: Vec<Wanted>) -> Result<Attachment, SubscribeError> {
        Err(SubscribeError::NotConnected { reason: String::new() })
    }

    fn status(&self) -> Status {
        Status::Closed
    }
}
