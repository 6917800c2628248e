//! Stub.
mod resp;
use super::{Attachment, PublishFailure, Status, Transport, Wanted, inbox::Inbox};
use crate::{
    config::Config,
    error::{ConnectError, SubscribeError},
};
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Redis;

impl Redis {
    pub(crate) async fn connect(_url: &str, _config: &Config) -> Result<Self, ConnectError> {
        Ok(Self)
    }
}

impl Transport for Redis {
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
