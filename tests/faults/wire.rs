//! Silent, closed and garbled connections, with and without TLS.

use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tidings::{Bus, BusBuilder, ConnectError, Event, Overflow, PublishError, SubscribeError};
use tidings_tests::{RedisServer, eventually};

use crate::{
    ledger::{Entry, Ledger, SOON},
    outages::{SLACK, bus, bus_with},
    proxy::{Damage, Mode, Proxy},
    report::Report,
    seed::{Random, sized},
};

const TIMEOUT: Duration = Duration::from_millis(300);

fn impatient(builder: BusBuilder) -> BusBuilder {
    builder.connect_timeout(TIMEOUT).command_timeout(TIMEOUT)
}

/// The error of a connection, which must come in time.
async fn connect_error(builder: BusBuilder) -> ConnectError {
    let start = Instant::now();
    let error = impatient(builder).connect().await.unwrap_err();
    assert!(start.elapsed() < TIMEOUT + SLACK, "{:?}: {error}", start.elapsed());
    error
}

/// T7: a network that swallows everything, at each step.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_step_into_a_black_hole_ends_in_time_with_a_typed_error() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port()).await;
    let bus = bus_with(proxy.url(), impatient).await;
    let mut entries = bus.subscribe(Entry::channel(1_u64)).await.unwrap();

    proxy.set(Mode::Blackhole);
    let error = connect_error(Bus::builder(proxy.url())).await;
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error}");
    let error = connect_error(Bus::builder(format!("rediss://localhost:{}", proxy.port()))).await;
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error}");

    let start = Instant::now();
    let error = bus.subscribe(Entry::channel(2_u64)).await.unwrap_err();
    assert!(matches!(error, SubscribeError::TimedOut { .. }), "{error}");
    let error = Entry::new(1, 1).publish(&bus).await.unwrap_err();
    assert!(matches!(error, PublishError::TimedOut { .. }), "{error}");
    assert!(start.elapsed() < 2 * (TIMEOUT + SLACK), "{:?}", start.elapsed());

    // What was swallowed arrives late, and nothing is left of what was given up.
    proxy.set(Mode::Pass);
    eventually(SOON, async || Entry::new(1, 2).publish(&bus).await.is_ok_and(|receipt| receipt.receivers == Some(1)))
        .await;
    loop {
        match tokio::time::timeout(SOON, entries.next()).await.unwrap() {
            Some(Event::Message(entry)) if entry.n == 2 => break,
            Some(Event::Message(_) | Event::Gap(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    eventually(SOON, async || server.numsub("ledger:2").await == 0).await;
    Report::new("T7", "steps", 4).close();
}

/// Connecting and subscribing together take no longer than one timeout, however slow each of them is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_with_a_connection_of_its_own_has_one_deadline() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port()).await;
    let timeout = Duration::from_secs(1);
    let bus = bus_with(proxy.url(), |builder| builder.command_timeout(timeout)).await;
    // The greeting takes 0.8 s, and so does the confirmation.
    for mode in [Mode::Delay(Duration::from_millis(400)), Mode::Blackhole, Mode::Refuse] {
        proxy.set(mode);
        let start = Instant::now();
        let subscribed = bus.subscribe(Entry::channel(1_u64)).overflow(Overflow::BackPressure).await;
        let error = subscribed.unwrap_err();
        assert!(matches!(&error, SubscribeError::TimedOut { channel, .. } if channel == "ledger:1"), "{error}");
        assert!(start.elapsed() < timeout + SLACK, "{mode:?}: {:?}", start.elapsed());
    }
    proxy.set(Mode::Pass);
    drop(bus.subscribe(Entry::channel(1_u64)).overflow(Overflow::BackPressure).await.unwrap());
}

/// T22: line ends are garbled and pieces truncated. Each is found, reported as a gap, and survived.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_garbled_protocol_is_a_gap_and_never_a_wrong_message() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port()).await;
    let mut random = Random::of("T22");
    let (from, to) = (bus(server.url()).await, bus(proxy.url()).await);
    let ledger = Ledger::open(&from, &to, 2, 1).await;
    ledger.under_way().await;
    let damages = sized(30, 1_000);
    for damage in 0..damages {
        let gaps = ledger.gaps();
        proxy.damage(if damage % 3 == 2 { Damage::Truncate } else { Damage::Framing }, random.next());
        ledger.recovered(gaps + 1).await;
    }
    assert_eq!(proxy.damaged(), damages);
    let mut report = Report::new("T22", "damages", usize::try_from(damages).unwrap());
    for verdict in ledger.close(&from).await {
        report.add(&verdict);
    }
    report.close();
}

/// T22: whatever byte is hit, no message comes out that nobody sent, and none vanishes without a report.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_anywhere_is_reported_and_makes_no_wrong_message() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port()).await;
    let mut random = Random::of("T22-bits");
    let (from, to) = (bus(server.url()).await, bus(proxy.url()).await);
    let ledger = Ledger::open(&from, &to, 2, 1).await;
    ledger.under_way().await;
    let flips: u64 = sized(100, 5_000);
    for flip in 1..=flips {
        proxy.damage(Damage::AnyByte, random.next());
        eventually(SOON, async || proxy.damaged() == flip).await;
    }
    let mut report = Report::new("T22-bits", "flips", usize::try_from(flips).unwrap());
    for verdict in ledger.close(&from).await {
        report.add(&verdict);
    }
    report.close();
}

/// A certificate authority of a test's own.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A server that speaks TLS on a second port, for `host`, until `last_year`, to clients with certificates or to all.
    async fn serve(&self, host: &str, last_year: i32, clients: &str) -> (RedisServer, u16) {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(last_year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let server = RedisServer::start().await;
        let folder: Vec<String> = server.command(&["CONFIG", "GET", "dir"]).await;
        let file = |name: &str, text: &str| {
            let path = format!("{}/{name}", folder[1]);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (authority, certificate) = (file("ca.pem", &self.pem), file("server.pem", &certificate.pem()));
        let key = file("server.key", &key.serialize_pem());
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let number = port.to_string();
        let settings =
            ["CONFIG", "SET", "tls-cert-file", &certificate, "tls-key-file", &key, "tls-ca-cert-file", &authority];
        let settings = [&settings[..], &["tls-auth-clients", clients, "tls-port", &number]].concat();
        let _: String = server.command(&settings).await;
        (server, port)
    }

    fn trusted(&self, port: u16) -> BusBuilder {
        Bus::builder(format!("rediss://localhost:{port}")).certificate_authority(self.pem.clone())
    }
}

/// T19: everything that may be wrong with a TLS server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_that_cannot_be_trusted_is_a_typed_error_in_time_and_never_plain_text() {
    let authority = Authority::new();
    let (server, port) = authority.serve("localhost", 2100, "no").await;
    let (_elsewhere, other_name) = authority.serve("elsewhere", 2100, "no").await;
    let (_old, expired) = authority.serve("localhost", 2010, "no").await;
    let (_strict, certificate_wanted) = authority.serve("localhost", 2100, "yes").await;
    for (what, builder) in [
        ("another authority", Authority::new().trusted(port)),
        ("another name", authority.trusted(other_name)),
        ("expired", authority.trusted(expired)),
        ("a client's certificate is missing", authority.trusted(certificate_wanted)),
    ] {
        let error = connect_error(builder.connect_timeout(Duration::from_secs(5))).await;
        assert!(matches!(error, ConnectError::Tls { .. }), "{what}: {error}");
    }
    // TLS to the port for plain text, and plain text to the port for TLS.
    let error = connect_error(authority.trusted(server.port())).await;
    assert!(matches!(error, ConnectError::Tls { .. } | ConnectError::TimedOut { .. }), "{error}");
    connect_error(Bus::builder(format!("redis://localhost:{port}"))).await;
    // Cut in the handshake.
    let proxy = Proxy::start(port).await;
    proxy.set(Mode::Refuse);
    let error = connect_error(authority.trusted(proxy.port())).await;
    assert!(matches!(error, ConnectError::Tls { .. } | ConnectError::Unreachable { .. }), "{error}");
    Report::new("T19", "handshakes", 7).close();
}

/// The ledger holds over TLS too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cuts_of_tls_connections_are_reported() {
    let authority = Authority::new();
    let (server, port) = authority.serve("localhost", 2100, "no").await;
    let proxy = Proxy::start(port).await;
    let (from, to) = (bus(server.url()).await, authority.trusted(proxy.port()).connect().await.unwrap());
    let ledger = Ledger::open(&from, &to, 1, 1).await;
    ledger.under_way().await;
    let cuts = sized(5, 100);
    for _ in 0..cuts {
        let gaps = ledger.gaps();
        proxy.cut();
        ledger.recovered(gaps + 1).await;
    }
    let mut report = Report::new("T19-cuts", "cuts", cuts);
    for verdict in ledger.close(&from).await {
        report.add(&verdict);
    }
    report.close();
}
