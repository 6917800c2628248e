//! The `redis` crate's client, on a connection of our own making.
//!
//! Our own [`Connector`](super::connector::Connector) knows about TLS, log-in and timeouts, so that crate never sees a credential.

use std::{pin::Pin, time::Duration};

use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisResult, aio::MultiplexedConnection};

use crate::transport::redis::{settings::Settings, stream::Stream};

/// Drives the connection of a client, for as long as there is one.
pub(super) type ClientDriver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A client, and what drives its connection.
///
/// # Cancel safety
///
/// Dropping it closes the connection.
pub(super) async fn client(stream: Stream, settings: &Settings) -> RedisResult<(MultiplexedConnection, ClientDriver)> {
    client_with(stream, Some(settings.command_timeout)).await
}

/// The same, where whoever asks says how long an answer may take.
///
/// # Cancel safety
///
/// As of [`client`].
pub(super) async fn patient_client(stream: Stream) -> RedisResult<(MultiplexedConnection, ClientDriver)> {
    client_with(stream, None).await
}

async fn client_with(stream: Stream, timeout: Option<Duration>) -> RedisResult<(MultiplexedConnection, ClientDriver)> {
    // Logged in and named by the greeting, in RESP3, whose answers the crate reads without being told.
    let signed_in = RedisConnectionInfo::default().set_skip_set_lib_name();
    let config = AsyncConnectionConfig::new().set_response_timeout(timeout);
    let (connection, driver) = MultiplexedConnection::new_with_config(&signed_in, stream, config).await?;
    Ok((connection, Box::pin(driver)))
}
