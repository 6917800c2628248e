//! In place of encryption where the feature `tls` is off: no value of it exists.

use tokio::net::TcpStream;

use crate::transport::redis::stream::Unencrypted;

#[derive(Clone, Debug)]
pub(super) enum Tls {}

impl Tls {
    pub(super) fn new(_host: &str, _authority: Option<&[u8]>) -> Result<Self, String> {
        Err("the feature `tls` is off".to_owned())
    }

    pub(super) async fn wrap(&self, _stream: TcpStream) -> Result<Unencrypted, String> {
        match *self {}
    }
}
