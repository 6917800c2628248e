//! The transport on a Redis server: one connection for subscriptions, one for commands.

mod address;
mod commands;
mod connection;
mod pipeline;
mod resp;
mod session;
mod settings;
mod subscriber;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "redis/tls_missing.rs"]
mod tls;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::{
    config::Config,
    error::{ConnectError, SubscribeError},
};

use self::{commands::Commands, connection::Connector, settings::Settings, subscriber::Subscriber};

use super::{Attachment, PublishFailure, Status, Transport, Wanted, inbox::Inbox};

/// The only handle to the connections: dropping it ends their tasks and every inbox.
#[derive(Debug)]
pub(crate) struct Redis {
    /// Boxed: the other transport is small.
    commands: Box<Commands>,
    subscriber: Subscriber,
    /// For subscriptions that get a connection of their own.
    connector: Connector,
    settings: Arc<Settings>,
}

impl Redis {
    /// Makes both connections, within the connect timeout.
    ///
    /// # Errors
    ///
    /// When the URL cannot be understood, or the server cannot be reached, refuses the credentials, is no Redis or a replica.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes what was made so far.
    pub(crate) async fn connect(url: &str, config: &Config) -> Result<Self, ConnectError> {
        let connector = Connector::new(url, config)?;
        let settings = Arc::new(Settings::new(config, connector.server().user()));
        let (commands, subscriber) = tokio::try_join!(
            Commands::start(connector.clone(), Arc::clone(&settings)),
            Subscriber::start(connector.clone(), Arc::clone(&settings)),
        )?;
        Ok(Self { commands: Box::new(commands), subscriber, connector, settings })
    }
}

impl Transport for Redis {
    async fn publish(&self, channel: String, payload: Vec<u8>) -> Result<Option<u64>, PublishFailure> {
        if let Some(reason) = self.subscriber.closed() {
            return Err(PublishFailure::Closed(reason));
        }
        self.commands.publish(&channel, &payload).await
    }

    async fn publish_all(&self, messages: Vec<(String, Vec<u8>)>) -> Vec<Result<Option<u64>, PublishFailure>> {
        self.commands.publish_all(&messages).await
    }

    async fn attach(&self, inbox: Arc<Inbox>, names: Vec<Wanted>) -> Result<Attachment, SubscribeError> {
        if !inbox.blocks() {
            return self.subscriber.attach(inbox, names).await;
        }
        // It stops reading when it is full, and must not stop anybody else's messages.
        let own = Subscriber::start(self.connector.clone(), Arc::clone(&self.settings)).await;
        let own = own.map_err(|error| SubscribeError::NotConnected { reason: error.to_string() })?;
        own.attach_owned(inbox, names).await
    }

    fn status(&self) -> Status {
        self.subscriber.status()
    }
}
