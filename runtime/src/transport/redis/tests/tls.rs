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

/// A cluster of one node that has a certificate for `localhost`, announces `endpoint`, and has its address.
fn cluster(authority: &Authority, endpoint: &[&str]) -> (Server, u16) {
    let (certificate, key) = authority.sign("localhost", 2100);
    let folder = std::env::temp_dir().join(format!("tidings-tls-{}-{}", std::process::id(), free_port()));
    std::fs::create_dir_all(&folder).unwrap();
    let files = [("tls-cert-file", &certificate), ("tls-key-file", &key), ("tls-ca-cert-file", &authority.pem)];
    let port = free_port();
    let mut options =
        ["--cluster-enabled yes --tls-cluster yes --tls-auth-clients no", &format!("--tls-port {port}")].join(" ");
    for (option, content) in files {
        let path = folder.join(option);
        std::fs::write(&path, content).unwrap();
        options.push_str(&format!(" --{option} {}", path.display()));
    }
    options.push_str(&format!(" --cluster-port {}", free_port()));
    let server = Server::start_with(&options.split(' ').chain(endpoint.iter().copied()).collect::<Vec<_>>());
    std::fs::remove_dir_all(&folder).unwrap();
    server.run("CLUSTER ADDSLOTSRANGE 0 16383");
    (server, port)
}

#[tokio::test]
async fn a_cluster_is_reached_by_the_names_that_its_nodes_announce() {
    let authority = Authority::new();
    let announced = ["--cluster-announce-hostname", "localhost", "--cluster-preferred-endpoint-type", "hostname"];
    let (server, port) = cluster(&authority, &announced);
    eventually("a cluster", || server.text("CLUSTER INFO").contains("cluster_state:ok")).await;
    let redis = Redis::connect(&format!("rediss+cluster://localhost:{port}"), &authority.trusted()).await.unwrap();
    assert_eq!(publish(&redis, "a", "1").await.unwrap(), None);
    let to_shard = Parcel { reach: Reach::ShardChannel, ..parcel("b", "2") };
    assert_eq!(redis.publish(to_shard).await.unwrap(), Some(0));
    assert_eq!(redis.health().await.unwrap().server, Some(format!("localhost:{port}")));

    // The certificate is for no address, so one that is announced has to be reached by the name.
    let (server, port) = cluster(&authority, &["--cluster-announce-ip", "127.0.0.1"]);
    eventually("a cluster", || server.text("CLUSTER INFO").contains("cluster_state:ok")).await;
    let url = format!("rediss+cluster://localhost:{port}");
    let text = refusal(&url, &authority.trusted()).await;
    assert!(text.contains("127.0.0.1") && text.contains("not valid for name"), "{text}");
    let address_map = vec![(format!("127.0.0.1:{port}"), format!("localhost:{port}"))];
    let redis = Redis::connect(&url, &Config { address_map, ..authority.trusted() }).await.unwrap();
    assert_eq!(publish(&redis, "a", "1").await.unwrap(), None);
}
