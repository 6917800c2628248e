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
            Subscriber::start(connector, settings),
        )?;
        Ok(Self { commands: Box::new(commands), subscriber })
    }
}

impl Transport for Redis {
    async fn publish(&self, channel: String, payload: Vec<u8>) -> Result<Option<u64>, PublishFailure> {
        self.commands.publish(&channel, &payload).await
    }

    async fn publish_all(&self, messages: Vec<(String, Vec<u8>)>) -> Vec<Result<Option<u64>, PublishFailure>> {
        self.commands.publish_all(&messages).await
    }

    async fn attach(&self, inbox: Arc<Inbox>, names: Vec<Wanted>) -> Result<Attachment, SubscribeError> {
        self.subscriber.attach(inbox, names).await
    }

    fn status(&self) -> Status {
        self.subscriber.status()
    }
}
