//! Encryption for `rediss://`.

use std::{fmt, sync::Arc};

use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

use crate::transport::redis::stream::Duplex;

/// Whom to trust, made once.
#[derive(Clone)]
pub(super) struct Trust {
    connector: TlsConnector,
}

/// The same, and the server's expected name.
#[derive(Clone)]
pub(super) struct Tls {
    trust: Trust,
    name: ServerName<'static>,
}

impl Trust {
    /// Trusts the system's certificates, and those in `authority`.
    ///
    /// # Errors
    ///
    /// Says in words what is wrong with the certificates.
    pub(super) fn new(authority: Option<&[u8]>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        // A system without certificates is no error as long as the user brings one.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(authority) = authority {
            let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(authority).collect();
            // What is wrong with its form is not repeated, as that may quote a key.
            let certificates = certificates.ok().filter(|certificates| !certificates.is_empty());
            let certificates = certificates.ok_or("the certificate authority holds no certificate in PEM form")?;
            for certificate in certificates {
                roots.add(certificate).map_err(|error| format!("the certificate authority: {error}"))?;
            }
        }
        if roots.is_empty() {
            return Err("no certificate authority is known: the system has none, set your own".to_owned());
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
    }

    /// A server of this name.
    ///
    /// # Errors
    ///
    /// Says in words what is wrong with the name.
    pub(super) fn of(&self, host: &str) -> Result<Tls, String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| format!("the host's name: {error}"))?;
        Ok(Tls { trust: self.clone(), name })
    }
}

impl Tls {
    /// # Cancel safety
    ///
    /// Dropping it closes the connection.
    pub(super) async fn wrap(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, String> {
        self.trust.connector.connect(self.name.clone(), stream).await.map_err(|error| error.to_string())
    }
}

impl Duplex for TlsStream<TcpStream> {}

impl fmt::Debug for Trust {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Trust").finish_non_exhaustive()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}
