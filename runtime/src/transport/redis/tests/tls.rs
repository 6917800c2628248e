use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

use crate::{config::Config, error::ConnectError, transport::redis::Redis};

use super::*;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn sign(&self, host: &str, last_year: i32) -> (String, String) {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(last_year, 1, 1);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// A server with a certificate for `host`, and its address.
    fn serve(&self, host: &str, last_year: i32, clients: &str) -> (Server, String) {
        let server = Server::start();
        let (certificate, key) = self.sign(host, last_year);
        let port = server.encrypt(&certificate, &key, &self.pem, clients);
        (server, format!("rediss://localhost:{port}"))
    }

    fn trusted(&self) -> Config {
        Config { certificate_authority: Some(self.pem.clone().into_bytes()), ..config() }
    }
}

async fn refusal(url: &str, config: &Config) -> String {
    let error = tokio::time::timeout(DEADLINE, Redis::connect(url, config)).await.unwrap().unwrap_err();
    assert!(matches!(error, ConnectError::Tls { .. }), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn works_over_tls_and_reconnects() {
    let authority = Authority::new();
    let (server, url) = authority.serve("localhost", 2100, "no");
    let redis = Redis::connect(&url, &authority.trusted()).await.unwrap();
    let health = redis.health().await.unwrap();
    assert!(health.is_well() && health.server_version.is_some(), "{health:?}");
    let mut reader = Reader::attach(&redis, vec![channel("a")]).await.unwrap();
    let large = "x".repeat(1_000_000);
    for payload in ["1", &large, "2"] {
        assert_eq!(publish(&redis, "a", payload).await.unwrap(), Some(1));
        assert!(reader.message().await.1 == payload);
    }
    server.run("CLIENT KILL TYPE pubsub");
    assert!(matches!(reader.gap().await.cause, GapCause::Disconnected(_)));
    assert_eq!(publish(&redis, "a", "3").await.unwrap(), Some(1));
    assert_eq!(reader.message().await.1, "3");
}

#[tokio::test]
async fn trusts_no_other_authority_name_or_time() {
    let authority = Authority::new();
    let (_server, url) = authority.serve("localhost", 2100, "no");
    let text = refusal(&url, &Authority::new().trusted()).await;
    assert!(text.contains("UnknownIssuer") || text.contains("BadSignature"), "{text}");
    refusal(&url, &config()).await;

    let (_server, url) = authority.serve("elsewhere", 2100, "no");
    let text = refusal(&url, &authority.trusted()).await;
    assert!(text.contains("not valid for name"), "{text}");

    let (_server, url) = authority.serve("localhost", 2010, "no");
    let text = refusal(&url, &authority.trusted()).await;
    assert!(text.contains("expired"), "{text}");
}

#[tokio::test]
async fn says_that_the_server_wants_a_certificate() {
    let authority = Authority::new();
    let (_server, url) = authority.serve("localhost", 2100, "yes");
    refusal(&url, &authority.trusted()).await;
}

#[tokio::test]
async fn never_falls_back_to_plain_text() {
    let authority = Authority::new();
    let (server, url) = authority.serve("localhost", 2100, "no");
    // Redis takes the handshake for the beginning of a command and waits for its end.
    let config = Config { connect_timeout: Duration::from_millis(300), ..authority.trusted() };
    let error = Redis::connect(&format!("rediss://localhost:{}", server.port), &config).await.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut { .. } | ConnectError::Tls { .. }), "{error:?}");

    let error = Redis::connect(&url.replace("rediss", "redis"), &super::config()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unusable { .. } | ConnectError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_never_answers_the_handshake_times_out() {
    let (url, _tokio_task) = listener(b"").await;
    let config = Config { connect_timeout: Duration::from_millis(100), ..Authority::new().trusted() };
    let error = Redis::connect(&url.replace("redis", "rediss"), &config).await.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error:?}");
}

#[tokio::test]
async fn a_certificate_authority_that_is_none_is_said_to_be_none() {
    for pem in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let config = Config { certificate_authority: Some(pem.into()), ..config() };
        let error = Redis::connect("rediss://localhost", &config).await.unwrap_err();
        assert!(matches!(error, ConnectError::InvalidConfig(_)), "{error:?}");
    }
}
