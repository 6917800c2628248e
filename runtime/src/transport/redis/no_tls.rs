//! In place of encryption where the feature `tls` is off: no value of it exists.

use tokio::net::TcpStream;

use crate::transport::redis::stream::Unencrypted;

#[derive(Clone, Debug)]
pub(super) enum Trust {}

#[derive(Clone, Debug)]
pub(super) enum Tls {}

impl Trust {
    pub(super) fn new(_authority: Option<&[u8]>) -> Result<Self, String> {
        Err("the feature `tls` is off".to_owned())
    }

    pub(super) fn of(&self, _host: &str) -> Result<Tls, String> {
        match *self {}
    }
}

impl Tls {
    pub(super) async fn wrap(&self, _stream: TcpStream) -> Result<Unencrypted, String> {
        match *self {}
    }
}
