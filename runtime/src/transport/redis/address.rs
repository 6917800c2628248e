//! Where a Redis server is, and how to sign in.

use std::{net::Ipv6Addr, path::PathBuf};

use crate::{
    config::Config,
    error::ConnectError,
    transport::redis::{
        login::Login,
        topology::{Endpoint, Topology},
    },
};

/// A parsed address, with what the configuration says instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerAddress {
    pub(super) topology: Topology,
    pub(super) encrypted: bool,
    pub(super) login: Login,
}

const DEFAULT_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26_379;

const SCHEMES: &str = "write `redis://host:port`, `rediss://host:port` for TLS, `redis+sentinel://host:port,host:port/name` for a master that Sentinels know, \
     `redis+cluster://host:port,host:port` for a cluster, `unix:///path` for a unix socket, or `memory:`";
const DATABASE: &str =
    "a database number does not separate publish/subscribe: leave it away or write 0, and set a namespace";
const NO_PASSWORD: &str =
    "a user needs a password: `redis://user:password@host`, or `redis://:password@host` for the default user";
const ENCODE: &str = "percent-encode `/`, `?`, `#` and `@` in user and password";
const NO_PORT: &str = "the port is no number from 1 to 65535";

/// An address in its parts, none of them understood yet.
struct Parts<'a> {
    kind: Kind,
    credentials: Option<&'a str>,
    /// Host and port, or the path of a socket.
    place: &'a str,
    /// What comes behind.
    rest: &'a str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Encrypted,
    Socket,
    Sentinel,
    EncryptedSentinel,
    Cluster,
    EncryptedCluster,
}

impl Kind {
    fn scheme(self) -> &'static str {
        match self {
            Self::Plain => "redis://",
            Self::Encrypted => "rediss://",
            Self::Socket => "unix:",
            Self::Sentinel => "redis+sentinel://",
            Self::EncryptedSentinel => "rediss+sentinel://",
            Self::Cluster => "redis+cluster://",
            Self::EncryptedCluster => "rediss+cluster://",
        }
    }
}

impl ServerAddress {
    /// `redis[s]://[[user]:password@]host[:port][/0]`, or `unix://[[user]:password@]/path`, which may be called `redis+unix`. User, password
    /// and path are percent-encoded, an IPv6 address stands in brackets.
    pub(super) fn parse(url: &str, config: &Config) -> Result<Self, ConnectError> {
        let parts = Parts::split(url);
        let named = match &parts {
            Ok(parts) => parts.named(config)?,
            Err(_) => None,
        };
        let parsed = parts.as_ref().map_err(|reason| *reason).and_then(|parts| Self::understand(parts, named, config));
        parsed.map_err(|reason| ConnectError::InvalidUrl { url: shown(parts.ok()), reason: reason.to_owned() })
    }

    fn understand(parts: &Parts<'_>, named: Option<Topology>, config: &Config) -> Result<Self, &'static str> {
        if parts.kind != Kind::Socket && parts.rest.contains('@') {
            return Err(ENCODE);
        }
        let topology = match named {
            Some(named) => {
                nothing_else(parts)?;
                named
            }
            None => parts.topology()?,
        };
        // Of several servers the `@` of each would be taken for a part of the password.
        let are_several = !matches!(topology, Topology::Single(_));
        if are_several && parts.credentials.is_some_and(|credentials| credentials.contains(['@', ','])) {
            return Err("user and password stand once, in front of all servers; percent-encode `@` and `,` in them");
        }
        let (username, password) = split_credentials(parts.credentials)?;
        let username = config.username.clone().or(username);
        let password = config.password.clone().or(password);
        if username.is_some() && password.is_none() {
            return Err(NO_PASSWORD);
        }
        let login = Login { username, password };
        let encrypted = matches!(parts.kind, Kind::Encrypted | Kind::EncryptedSentinel | Kind::EncryptedCluster);
        Ok(Self { topology, encrypted, login })
    }
}

impl<'a> Parts<'a> {
    fn split(url: &'a str) -> Result<Self, &'static str> {
        if url.trim() != url {
            return Err("white space stands around the address: leave it away");
        }
        let (scheme, behind) = url.split_once(':').ok_or(SCHEMES)?;
        let kind = match scheme.to_ascii_lowercase().as_str() {
            "redis" => Kind::Plain,
            "rediss" => Kind::Encrypted,
            "unix" | "redis+unix" => Kind::Socket,
            "redis+sentinel" => Kind::Sentinel,
            "rediss+sentinel" => Kind::EncryptedSentinel,
            "redis+cluster" => Kind::Cluster,
            "rediss+cluster" => Kind::EncryptedCluster,
            _ => return Err(SCHEMES),
        };
        if kind == Kind::Socket {
            let behind = behind.strip_prefix("//").unwrap_or(behind);
            let (authority, path) = behind.split_at(behind.find('/').ok_or(SOCKET)?);
            let credentials = match authority {
                "" => None,
                _ => Some(authority.strip_suffix('@').ok_or(SOCKET)?),
            };
            let (place, rest) = path.split_at(path.find(['?', '#']).unwrap_or(path.len()));
            return Ok(Self { kind, credentials, place, rest });
        }
        let behind = behind.strip_prefix("//").ok_or(SCHEMES)?;
        let (authority, rest) = behind.split_at(behind.find(['/', '?', '#']).unwrap_or(behind.len()));
        let (credentials, place) = match authority.rsplit_once('@') {
            Some((credentials, place)) => (Some(credentials), place),
            None => (None, authority),
        };
        Ok(Self { kind, credentials, place, rest })
    }

    fn topology(&self) -> Result<Topology, &'static str> {
        let several = |port| self.place.split(',').map(|place| split_host(place, port)).collect::<Result<Vec<_>, _>>();
        match self.kind {
            Kind::Plain | Kind::Encrypted | Kind::Socket => {
                let endpoint = self.endpoint()?;
                nothing_else(self)?;
                Ok(Topology::Single(endpoint))
            }
            Kind::Sentinel | Kind::EncryptedSentinel => {
                Ok(Topology::Sentinels { sentinels: several(SENTINEL_PORT)?, master: master(self)? })
            }
            Kind::Cluster | Kind::EncryptedCluster => {
                let seeds = several(DEFAULT_PORT)?;
                nothing_else(self)?;
                Ok(Topology::Cluster { seeds })
            }
        }
    }

    /// The servers that the configuration names, for which the address has to leave room.
    fn named(&self, config: &Config) -> Result<Option<Topology>, ConnectError> {
        let Some(setting) = config.names_servers() else { return Ok(None) };
        let contradiction = |reason: String| ConnectError::Contradiction { setting, reason };
        let fits = match (setting, self.kind) {
            (_, Kind::Plain | Kind::Encrypted) => true,
            ("sentinels", kind) => matches!(kind, Kind::Sentinel | Kind::EncryptedSentinel),
            (_, kind) => matches!(kind, Kind::Cluster | Kind::EncryptedCluster),
        };
        if !fits {
            let scheme = self.kind.scheme();
            let reason = format!("the address begins with `{scheme}`: write `redis://`, or `rediss://` for TLS");
            return Err(contradiction(reason));
        }
        if !self.place.is_empty() {
            let scheme = self.kind.scheme();
            let reason =
                format!("the address names a server too: write `{scheme}` alone, with credentials if there are any");
            return Err(contradiction(reason));
        }
        let several = |addresses: &[String], port| {
            let endpoint = |text: &String| {
                split_host(text, port).map_err(|reason| ConnectError::InvalidConfig(format!("`{setting}`: {reason}")))
            };
            let endpoints = addresses.iter().map(endpoint).collect::<Result<Vec<_>, _>>()?;
            match endpoints.is_empty() {
                true => Err(ConnectError::InvalidConfig(format!("`{setting}` names no address: give one at least"))),
                false => Ok(endpoints),
            }
        };
        match (&config.sentinels, &config.cluster) {
            (Some(_), Some(_)) => Err(contradiction("`cluster` was given too: a bus goes to one of them".to_owned())),
            (Some((_, master)), None) if master.is_empty() => Err(ConnectError::InvalidConfig(
                "`sentinels`: the master's name is empty: write what `sentinel monitor` calls it".to_owned(),
            )),
            (Some((addresses, master)), None) => {
                let sentinels = several(addresses, SENTINEL_PORT)?;
                Ok(Some(Topology::Sentinels { sentinels, master: master.clone() }))
            }
            (None, Some(addresses)) => Ok(Some(Topology::Cluster { seeds: several(addresses, DEFAULT_PORT)? })),
            (None, None) => Ok(None),
        }
    }

    /// Of an address that names one server.
    fn endpoint(&self) -> Result<Endpoint, &'static str> {
        match self.kind {
            Kind::Socket if !cfg!(unix) => Err("this system has no unix sockets"),
            Kind::Socket => {
                Ok(Endpoint::Local(PathBuf::from(decode(self.place, "the path is not percent-encoded UTF-8")?)))
            }
            Kind::Plain | Kind::Encrypted if self.place.is_empty() && self.rest.len() > 1 => {
                Err("the host is missing; for a unix socket write `unix:///path`")
            }
            Kind::Plain | Kind::Encrypted => match split_host(self.place, DEFAULT_PORT) {
                Err(_) if self.place.split(',').all(|place| split_host(place, DEFAULT_PORT).is_ok()) => Err(SEVERAL),
                endpoint => endpoint,
            },
            _ => Err("these are several servers"),
        }
    }
}

const SEVERAL: &str = "several servers are Sentinels, `redis+sentinel://…`, or nodes of a cluster, `redis+cluster://…`";
const SOCKET: &str = "a unix socket is written `unix:///path`, or `unix://user:password@/path`";

/// The name of the master, behind the Sentinels.
fn master(parts: &Parts<'_>) -> Result<String, &'static str> {
    const NO_MASTER: &str =
        "the master's name is missing, as `sentinel monitor` gives it: `redis+sentinel://host:port,host:port/mymaster`";
    if parts.rest.contains('#') {
        return Err(FRAGMENT);
    }
    let (path, options) = parts.rest.split_once('?').unwrap_or((parts.rest, ""));
    no_options(options)?;
    let name = path.strip_prefix('/').unwrap_or(path);
    let name = name.strip_suffix("/0").unwrap_or(name);
    match name.split_once('/') {
        _ if name.is_empty() => Err(NO_MASTER),
        Some((_, database)) if database.bytes().all(|byte| byte.is_ascii_digit()) => Err(DATABASE),
        Some(_) => Err("nothing may follow the master's name"),
        None => decode(name, "the master's name is not percent-encoded UTF-8"),
    }
}

const IPV6: &str = "an IPv6 address stands in brackets: `redis://[::1]:6379`";
const FRAGMENT: &str = "`#` means nothing here: leave it away, or percent-encode it in user and password";

/// Behind host or path comes nothing that would change something.
fn nothing_else(parts: &Parts<'_>) -> Result<(), &'static str> {
    if parts.rest.contains('#') {
        return Err(FRAGMENT);
    }
    let (path, options) = parts.rest.split_once('?').unwrap_or((parts.rest, ""));
    match path {
        "" | "/" | "/0" => {}
        _ if path[1..].bytes().all(|byte| byte.is_ascii_digit()) => return Err(DATABASE),
        _ => return Err("nothing may follow the port; for a unix socket write `unix:///path`"),
    }
    no_options(options)
}

fn no_options(options: &str) -> Result<(), &'static str> {
    for option in options.split('&').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match (name.to_ascii_lowercase().as_str(), value) {
            ("protocol", "3" | "resp3" | "RESP3") | ("db" | "database", "0") => {}
            ("protocol", _) => return Err("only RESP3 is spoken: leave `protocol` away"),
            ("db" | "database", _) => return Err(DATABASE),
            ("user" | "username" | "pass" | "password" | "auth", _) => {
                return Err(
                    "user and password stand in front: `redis://user:password@host`, `unix://user:password@/path`",
                );
            }
            ("ssl" | "tls", _) => return Err("for TLS write `rediss://`"),
            _ => return Err("options are not read from the address: set them on `Bus::builder`"),
        }
    }
    Ok(())
}

/// An address as servers announce it, or as it is written for them: `host:port`.
pub(super) fn announced(text: &str) -> Result<Endpoint, &'static str> {
    split_host(text, DEFAULT_PORT)
}

fn split_host(place: &str, default_port: u16) -> Result<Endpoint, &'static str> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or("the bracket of the IPv6 address is not closed")?,
        None => place.split_at(place.find(':').unwrap_or(place.len())),
    };
    if place.contains('@') || place.contains("//") {
        return Err("write `host:port` alone: what stands before it in an address is no part of it");
    }
    if host.is_empty() {
        let is_ipv6 = port.bytes().filter(|&byte| byte == b':').count() > 1;
        return Err(if is_ipv6 { IPV6 } else { "the host is missing" });
    }
    let plain = |text: &str| text.chars().all(|character| character.is_alphanumeric() || "-._".contains(character));
    if place.starts_with('[') {
        let (address, zone) = host.split_once('%').unwrap_or((host, ""));
        if address.parse::<Ipv6Addr>().is_err() || !plain(zone) {
            return Err("in the brackets is no IPv6 address");
        }
    } else if !plain(host) {
        return Err("the host has a character that no host's name has");
    }
    let port = match port.strip_prefix(':') {
        Some(digits) if digits.contains(':') => return Err(IPV6),
        // `parse` takes a plus sign.
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().map_err(|_| NO_PORT)?,
        Some(_) => return Err(NO_PORT),
        None if port.is_empty() => default_port,
        None => return Err("after the host, only a port may follow"),
    };
    if port == 0 {
        return Err(NO_PORT);
    }
    Ok(Endpoint::Network { host: host.to_owned(), port })
}

type Credentials = (Option<String>, Option<String>);

fn split_credentials(credentials: Option<&str>) -> Result<Credentials, &'static str> {
    const PROBLEM: &str = "user or password is not percent-encoded UTF-8";
    let Some(credentials) = credentials else { return Ok((None, None)) };
    let (user, password) = match credentials.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (credentials, None),
    };
    let user = if user.is_empty() { None } else { Some(decode(user, PROBLEM)?) };
    Ok((user, password.map(|password| decode(password, PROBLEM)).transpose()?))
}

fn decode(text: &str, problem: &'static str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2).ok_or(problem)?;
        let digits = std::str::from_utf8(digits).map_err(|_| problem)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(problem);
        }
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| problem)?);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| problem)
}

/// What may be shown of an address that was not understood: host and port, or the socket's path, and nothing of what could be something else.
fn shown(parts: Option<Parts<'_>>) -> String {
    let Some(parts) = parts else { return "…".to_owned() };
    let certain = parts.kind == Kind::Socket || !parts.rest.contains('@');
    if let (true, Ok(topology @ (Topology::Sentinels { .. } | Topology::Cluster { .. }))) = (certain, parts.topology())
    {
        return format!("{}{topology}", parts.kind.scheme());
    }
    match parts.endpoint() {
        Ok(endpoint @ Endpoint::Local(_)) => endpoint.to_string(),
        Ok(endpoint) if certain => format!("{}{endpoint}", parts.kind.scheme()),
        _ => format!("{}…", parts.kind.scheme()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<ServerAddress, ConnectError> {
        ServerAddress::parse(url, &Config::default())
    }

    #[test]
    fn understands_every_form_of_address() {
        for (url, place, encrypted) in [
            ("redis://example.org", "example.org:6379", false),
            ("REDIS://example.org/", "example.org:6379", false),
            ("redis://redis_1/0", "redis_1:6379", false),
            ("redis://h?protocol=resp3", "h:6379", false),
            ("redis://h:1/0?protocol=3&db=0", "h:1", false),
            ("redis://h/?", "h:6379", false),
            ("redis://[fe80::1%eth0]:7", "[fe80::1%eth0]:7", false),
            ("rediss://us%65r:p%40ss:w%2Frd@[::1]:7000/", "[::1]:7000", true),
            ("redis+sentinel://h/mymaster", "h:26379/mymaster", false),
            ("redis+sentinel://u:p@h:1,[::1],k:2/my%20master/0?protocol=3", "h:1,[::1]:26379,k:2/my master", false),
            ("rediss+sentinel://h:1/shop", "h:1/shop", true),
            ("redis+cluster://h", "h:6379", false),
            ("rediss+cluster://:p@h:1,[::1]:2/", "h:1,[::1]:2", true),
        ] {
            let address = parse(url).unwrap();
            assert_eq!((address.topology.to_string().as_str(), address.encrypted), (place, encrypted));
        }
        assert_eq!(parse("redis://example.org").unwrap().login.user(), "default");
        let login = parse("rediss://us%65r:p%40ss:w%2Frd@[::1]:7000/").unwrap().login;
        assert_eq!((login.username.as_deref(), login.password.as_deref()), (Some("user"), Some("p@ss:w/rd")));
        let login = parse("redis://:secret@10.0.0.1:1").unwrap().login;
        assert_eq!((login.username, login.password.as_deref()), (None, Some("secret")));
    }

    #[test]
    #[cfg(unix)]
    fn understands_unix_sockets() {
        for url in ["unix:///run/redis.sock", "unix:/run/redis.sock", "redis+unix:///run/redis%2esock?db=0"] {
            let address = parse(url).unwrap();
            assert_eq!(address.topology, Topology::Single(Endpoint::Local("/run/redis.sock".into())));
            assert!(!address.encrypted);
        }
        let ServerAddress { topology, login, .. } = parse("unix://anna:hunter2@/run/a@b.sock").unwrap();
        assert_eq!(topology.to_string(), "unix:/run/a@b.sock");
        assert_eq!((login.user(), login.password.as_deref()), ("anna", Some("hunter2")));
    }

    #[test]
    fn the_configuration_overrides_the_url() {
        let config = Config { username: Some("u".into()), password: Some("p".into()), ..Config::default() };
        let login = ServerAddress::parse("redis://a@host", &config).unwrap().login;
        assert_eq!((login.username.as_deref(), login.password.as_deref()), (Some("u"), Some("p")));
    }

    fn sentinels(addresses: &[&str], master: &str) -> Config {
        let addresses = addresses.iter().map(ToString::to_string).collect();
        Config { sentinels: Some((addresses, master.to_owned())), ..Config::default() }
    }

    fn cluster(addresses: &[&str]) -> Config {
        Config { cluster: Some(addresses.iter().map(ToString::to_string).collect()), ..Config::default() }
    }

    #[test]
    fn the_configuration_names_sentinels_and_nodes() {
        let masters = sentinels(&["a", "[::1]:1"], "my master");
        for (url, config, place, encrypted) in [
            ("redis://", &masters, "a:26379,[::1]:1/my master", false),
            ("rediss://u:p@/", &masters, "a:26379,[::1]:1/my master", true),
            ("rediss+sentinel://", &masters, "a:26379,[::1]:1/my master", true),
            ("redis://:p@?protocol=3", &cluster(&["a:7000", "b"]), "a:7000,b:6379", false),
            ("redis+cluster://", &cluster(&["a"]), "a:6379", false),
        ] {
            let address = ServerAddress::parse(url, config).unwrap();
            assert_eq!((address.topology.to_string().as_str(), address.encrypted), (place, encrypted), "{url}");
            assert_eq!(address.login.password.is_some(), url.contains('@'));
        }
    }

    #[test]
    fn servers_that_contradict_the_address_are_refused() {
        let both = Config { cluster: Some(vec!["b".to_owned()]), ..sentinels(&["a"], "m") };
        for (url, config, setting, expected) in [
            ("redis://:hunter2@h:1", sentinels(&["a"], "m"), "sentinels", "`redis://` alone"),
            ("rediss+sentinel://:hunter2@h:1/m", sentinels(&["a"], "m"), "sentinels", "`rediss+sentinel://` alone"),
            ("redis+cluster://:hunter2@", sentinels(&["a"], "m"), "sentinels", "begins with `redis+cluster://`"),
            ("redis+sentinel://:hunter2@", cluster(&["a"]), "cluster", "begins with `redis+sentinel://`"),
            ("unix:///run/hunter2", cluster(&["a"]), "cluster", "begins with `unix:`"),
            ("redis://:hunter2@", both, "sentinels", "`cluster` was given too"),
        ] {
            let error = ServerAddress::parse(url, &config).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains(expected) && !text.contains("hunter2"), "{url}: {text}");
            assert!(matches!(error, ConnectError::Contradiction { setting: named, .. } if named == setting), "{text}");
        }
    }

    #[test]
    fn servers_that_are_none_are_refused() {
        for (url, config, expected) in [
            ("redis://", sentinels(&[], "m"), "one at least"),
            ("redis://", sentinels(&["a"], ""), "the master's name is empty"),
            ("redis://", cluster(&[]), "one at least"),
            ("redis://", cluster(&["a", "b:x"]), "`cluster`: the port"),
            ("redis://", cluster(&["hunter2@b"]), "`host:port` alone"),
            ("redis://", cluster(&["redis://u:hunter2@b:1"]), "`host:port` alone"),
            ("redis://", sentinels(&["u:hunter2@a:1"], "m"), "`host:port` alone"),
            ("redis:///3", cluster(&["b"]), "set a namespace"),
            ("redis+sentinel:///m", sentinels(&["a"], "m"), "nothing may follow"),
        ] {
            let text = ServerAddress::parse(url, &config).unwrap_err().to_string();
            assert!(text.contains(expected) && !text.contains("hunter2"), "{url}: {text}");
        }
    }

    /// What is wrong, and what its error has to say.
    const WRONG: &[(&str, &str)] = &[
        ("localhost:6379", "redis://host:port"),
        ("hunter2", "redis://host:port"),
        ("u:hunter2@host", "redis://host:port"),
        ("redis:hunter2@host", "redis://host:port"),
        ("hunter2://host", "redis://host:port"),
        ("http://u:hunter2@host", "redis://host:port"),
        ("redis://u:hunter2@host/3", "set a namespace"),
        ("redis://u:hunter2@host/00", "set a namespace"),
        ("redis://host/hunter2", "nothing may follow"),
        ("redis://:hunter2/3@host", "percent-encode"),
        ("redis://u:1?hunter2@host", "percent-encode"),
        ("redis://u:12345#hunter2@host", "percent-encode"),
        ("redis://:hunter2@", "host is missing"),
        ("redis://:hunter2", "host is missing"),
        ("redis://u:hunter2", "port"),
        ("redis://:hunter2@host:0", "port"),
        ("redis://:hunter2@host:+1", "port"),
        ("redis://:hunter2@host:99999", "port"),
        ("redis://:hunter2@[::1", "bracket"),
        ("redis://[hunter2]", "brackets"),
        ("redis://:hunter2@[::1]x", "only a port"),
        ("redis://:hunter2@fe80::1", "brackets"),
        ("redis://:hunter2@::1:1", "brackets"),
        (" redis://:hunter2@host", "white space"),
        ("redis://:hunter2@host:1\n", "white space"),
        ("redis://hunter2@host", "needs a password"),
        ("redis://:hunter2%zz@host", "percent-encoded"),
        ("redis://:hunter2%+1@host", "percent-encoded"),
        ("redis://:hunter2%f@host", "percent-encoded"),
        ("redis://host?db=3", "set a namespace"),
        ("redis://host?db=hunter2", "set a namespace"),
        ("redis://h?password=hunter2", "redis://user:password@host"),
        ("redis://h?password=a@hunter2", "percent-encode"),
        ("redis://h/?auth=hunter2", "redis://user:password@host"),
        ("redis://h/0?x=1&pass=hunter2", "Bus::builder"),
        ("redis://h;password=hunter2", "no host's name"),
        ("redis://h,password=hunter2", "no host's name"),
        ("redis://h password=hunter2", "no host's name"),
        ("redis://h%3Fpassword=hunter2", "no host's name"),
        ("redis://h\\hunter2", "no host's name"),
        ("redis://h:6379,password=hunter2", "port"),
        ("redis://h#hunter2", "`#`"),
        ("redis://h?protocol=2", "RESP3"),
        ("redis://h?ssl=true", "rediss://"),
        ("redis:///run/redis.sock", "unix:///path"),
        ("redis://host/run/redis.sock", "unix:///path"),
        ("unix://redis.sock", "unix:///path"),
        ("unix://u:hunter2/run/redis.sock", "unix:///path"),
        ("unix:///run/redis.sock?pass=hunter2", "user:password@/path"),
        ("unix:///run/redis.sock?db=1", "set a namespace"),
        ("redis://h:1,k:2/hunter2", "several servers are Sentinels"),
        ("redis+sentinel://:hunter2@h:1", "master's name is missing"),
        ("redis+sentinel://:hunter2@h:1/", "master's name is missing"),
        ("redis+sentinel://:hunter2@/shop", "host is missing"),
        ("redis+sentinel://:hunter2@h,/shop", "host is missing"),
        ("redis+sentinel://:hunter2@h:x/shop", "port"),
        ("redis+sentinel://:hunter2@h/shop/3", "set a namespace"),
        ("redis+sentinel://:hunter2@h/shop/x", "nothing may follow the master"),
        ("redis+cluster://:hunter2@h,/", "host is missing"),
        ("redis+cluster://:hunter2@h/3", "set a namespace"),
        ("redis+cluster://:hunter2@h/shop", "nothing may follow"),
        ("redis+sentinel://h/shop?password=hunter2", "user:password@host"),
        ("redis+sentinel://u:hunter2@h:1,u:hunter2@k:1/shop", "in front of all servers"),
        ("redis+cluster://h:1,:hunter2@k:1", "in front of all servers"),
        ("redis+sentinel://:hunter2/3@h/shop", "percent-encode"),
        ("unix://hunter2@/run/redis.sock", "needs a password"),
    ];

    #[test]
    fn says_what_to_write_and_never_the_password() {
        for &(url, expected) in WRONG {
            let error = parse(url).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains(expected), "{url}: {text}");
            assert!(!text.contains("hunter2") && !text.contains("12345"), "{text}");
        }
        assert!(!format!("{:?}", parse("redis://u:hunter2@host").unwrap()).contains("hunter2"));
    }

    #[test]
    fn shows_host_and_port_where_they_are_certain() {
        for (url, expected) in [
            ("redis://u:p@host:7/3", "redis://host:7"),
            ("rediss://host?x", "rediss://host:6379"),
            ("redis://u:1?2@host", "redis://…"),
            ("unix:///run/redis.sock?db=1", "unix:/run/redis.sock"),
            ("host:6379", "…"),
        ] {
            let Err(ConnectError::InvalidUrl { url: shown, .. }) = parse(url) else { panic!("{url}") };
            assert_eq!(shown, expected);
        }
    }
}
