use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
};

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
    for (pem, expected) in [
        ("", "PEM"),
        ("no certificate", "PEM"),
        ("-----BEGIN hunter2-----", "PEM"),
        ("-----BEGIN hunter2", "PEM"),
        ("-----BEGIN CERTIFICATE-----\nhunter2!\n-----END CERTIFICATE-----\n", "PEM"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate authority"),
    ] {
        let config = Config { certificate_authority: Some(pem.into()), ..config() };
        let error = Redis::connect("rediss://localhost", &config).await.unwrap_err();
        let ConnectError::InvalidConfig(words) = error else { panic!("{error:?}") };
        // In bytes too: 104 is the `h` of the secret.
        assert!(words.contains(expected) && !words.contains("hunter2") && !words.contains("104"), "{words}");
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

/// A Sentinel that is spoken to only encrypted, and speaks so to the master.
struct Sentinel {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl Sentinel {
    /// Watches over what answers encrypted at this place.
    fn start(authority: &Authority, host: &str, port: u16) -> Self {
        let own = free_port();
        let folder = std::env::temp_dir().join(format!("tidings-tls-{}-{own}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (certificate, key) = authority.sign("localhost", 2100);
        for (file, content) in [("certificate", &certificate), ("key", &key), ("authority", &authority.pem)] {
            std::fs::write(folder.join(file), content).unwrap();
        }
        let lines = format!(
            "port 0\ntls-port {own}\nbind 127.0.0.1\ntls-cert-file certificate\ntls-key-file key\ntls-ca-cert-file authority\n\
             tls-auth-clients no\ntls-replication yes\nsentinel resolve-hostnames yes\nsentinel announce-hostnames yes\n\
             sentinel monitor shop {host} {port} 1\n"
        );
        std::fs::write(folder.join("sentinel.conf"), lines).unwrap();
        let mut command = Command::new("redis-server");
        command.args(["sentinel.conf", "--sentinel"]).current_dir(&folder).stdout(Stdio::null());
        Self { child: command.spawn().unwrap(), folder, port: own }
    }

    fn url(&self) -> String {
        format!("rediss+sentinel://localhost:{}/shop", self.port)
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Connects as soon as the Sentinel answers.
async fn connected(url: &str, config: &Config) -> Redis {
    let until = tokio::time::Instant::now() + DEADLINE;
    loop {
        match Redis::connect(url, config).await {
            Ok(redis) => return redis,
            Err(error @ (ConnectError::NoSentinel { .. } | ConnectError::Unreachable { .. })) => {
                assert!(tokio::time::Instant::now() < until, "{error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn sentinels_and_the_master_that_they_name_are_spoken_to_encrypted() {
    let authority = Authority::new();
    let (server, url) = authority.serve("localhost", 2100, "no");
    let port = url.rsplit(':').next().unwrap().parse().unwrap();
    let sentinel = Sentinel::start(&authority, "localhost", port);
    let redis = connected(&sentinel.url(), &authority.trusted()).await;
    assert_eq!(redis.health().await.unwrap().server, Some(format!("localhost:{port}")));
    let mut reader = Reader::attach(&redis, vec![channel("a")]).await.unwrap();
    assert_eq!(publish(&redis, "a", "1").await.unwrap(), Some(1));
    assert_eq!(reader.message().await.1, "1");
    server.run("CLIENT KILL TYPE pubsub");
    assert!(matches!(reader.gap().await.cause, GapCause::Disconnected(_)));
    assert_eq!(publish(&redis, "a", "2").await.unwrap(), Some(1));
    assert_eq!(reader.message().await.1, "2");

    // Who vouches for the Sentinel is asked of it as well.
    let error = Redis::connect(&sentinel.url(), &Authority::new().trusted()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("UnknownIssuer") || text.contains("BadSignature"), "{text}");
    // And it is not spoken to otherwise.
    let plain = sentinel.url().replace("rediss", "redis");
    let error = Redis::connect(&plain, &config()).await.unwrap_err();
    assert!(matches!(error, ConnectError::NoSentinel { .. }), "{error:?}");
}

#[tokio::test]
async fn a_master_that_a_sentinel_names_by_its_address_is_reached_by_the_name_in_its_certificate() {
    let authority = Authority::new();
    let (_server, url) = authority.serve("localhost", 2100, "no");
    let port = url.rsplit(':').next().unwrap().parse().unwrap();
    let sentinel = Sentinel::start(&authority, "127.0.0.1", port);
    let address_map = vec![(format!("127.0.0.1:{port}"), format!("localhost:{port}"))];
    let redis = connected(&sentinel.url(), &Config { address_map, ..authority.trusted() }).await;
    assert_eq!(publish(&redis, "a", "1").await.unwrap(), Some(0));
    let text = refusal(&sentinel.url(), &authority.trusted()).await;
    assert!(text.contains("127.0.0.1") && text.contains("not valid for name"), "{text}");
}
