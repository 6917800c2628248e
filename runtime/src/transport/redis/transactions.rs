//! Batches that are published whole or not at all: MULTI and EXEC, on a connection for them alone.
//!
//! The commands are the `redis` crate's. The connection is made with the first atomic batch, and anew after each fault.

use redis::{ErrorKind, RedisError, aio::MultiplexedConnection, pipe};
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::{
    error::PublishError,
    transport::{
        contract::Parcel,
        redis::{client::client, connector::Connector, settings::Settings},
    },
};

/// What CLIENT LIST shows.
const CLIENT_NAME: &str = "tidings-transactions";

#[derive(Default)]
pub(super) struct Transactions {
    link: Mutex<Option<Client>>,
}

#[derive(Clone)]
struct Client {
    connection: MultiplexedConnection,
    /// Drives the connection, and ends with the last clone of it.
    _driver: std::sync::Arc<JoinSet<()>>,
}

impl Transactions {
    /// Publishes all messages or none; the number of receivers of each. All of it within the command timeout.
    ///
    /// [MULTI and EXEC](https://redis.io/docs/latest/develop/using-commands/transactions/)
    ///
    /// # Cancel safety
    ///
    /// Once it was polled, all of the messages may be published, or none.
    pub(super) async fn publish(
        &self,
        connector: &Connector,
        settings: &Settings,
        template: &'static str,
        parcels: &[Parcel],
    ) -> Result<Vec<u64>, PublishError> {
        let deadline = Instant::now() + settings.command_timeout;
        let connected = timeout_at(deadline, self.link(connector, settings)).await;
        let late = |_| "no connection within the command timeout".to_owned();
        let not_connected = |reason| PublishError::NotConnected { template, reason };
        let mut link = connected.map_err(late).flatten().map_err(not_connected)?;
        let mut transaction = pipe();
        transaction.atomic();
        for Parcel { channel, payload, .. } in parcels {
            transaction.cmd("PUBLISH").arg(channel).arg(payload.as_slice());
        }
        match timeout_at(deadline, transaction.query_async(&mut link.connection)).await {
            Ok(Ok(receivers)) => Ok(receivers),
            Ok(Err(error)) => {
                let failure = failed(template, &error);
                if !matches!(failure, PublishError::Server { .. }) {
                    self.link.lock().await.take();
                }
                Err(failure)
            }
            Err(_) => {
                self.link.lock().await.take();
                Err(PublishError::TimedOut { template, timeout: settings.command_timeout })
            }
        }
    }

    async fn link(&self, connector: &Connector, settings: &Settings) -> Result<Client, String> {
        let mut link = self.link.lock().await;
        if let Some(link) = &*link {
            return Ok(link.clone());
        }
        let opened = connector.open_master(CLIENT_NAME).await.map_err(|error| error.to_string())?;
        let connected = client(opened.stream, settings).await;
        let (connection, driver) = connected.map_err(|error| error.to_string())?;
        let mut tokio_task = JoinSet::new();
        tokio_task.spawn(driver);
        let made = Client { connection, _driver: std::sync::Arc::new(tokio_task) };
        *link = Some(made.clone());
        Ok(made)
    }
}

/// An error that the server answered means that nothing was published: EXEC was refused. After any other the outcome is unknown.
fn failed(template: &'static str, error: &RedisError) -> PublishError {
    let reason = error.to_string();
    let is_lost =
        error.kind() == ErrorKind::Io || error.is_io_error() || error.is_connection_dropped() || error.is_timeout();
    if is_lost { PublishError::ConnectionLost { template, reason } } else { PublishError::Server { template, reason } }
}
