//! Where a Redis server is, and how to sign in.

use crate::{
    config::Config,
    error::ConnectError,
    transport::redis::{
        login::Login,
        topology::{Endpoint, Topology},
    },
};

/// A parsed `redis://` or `rediss://` URL, with what the configuration says instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerAddress {
    pub(super) topology: Topology,
    pub(super) encrypted: bool,
    pub(super) login: Login,
}

const DEFAULT_PORT: u16 = 6379;

const NO_PASSWORD: &str =
    "a user needs a password: `redis://user:password@host`, or `redis://:password@host` for the default user";

impl ServerAddress {
    /// `redis[s]://[[user]:password@]host[:port]`; user and password are percent-encoded, an IPv6 address stands in brackets.
    pub(super) fn parse(url: &str, config: &Config) -> Result<Self, ConnectError> {
        let invalid = |reason: &str| ConnectError::InvalidUrl { url: redacted(url), reason: reason.to_owned() };
        let (encrypted, rest) = match url.split_once("://") {
            Some(("redis", rest)) => (false, rest),
            Some(("rediss", rest)) => (true, rest),
            _ => return Err(invalid("write `redis://host:port`, `rediss://host:port` for TLS, or `memory:`")),
        };
        let (authority, path) = match rest.find(['/', '?', '#']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if path.contains('@') {
            return Err(invalid("percent-encode `/`, `?`, `#` and `@` in user and password"));
        }
        if !matches!(path, "" | "/") {
            return Err(invalid(
                "a database number does not separate publish/subscribe: leave the path away and set a namespace",
            ));
        }
        let (credentials, host) = match authority.rsplit_once('@') {
            Some((credentials, host)) => (Some(credentials), host),
            None => (None, authority),
        };
        let (host, port) = split_host(host).map_err(invalid)?;
        let (username, password) = split_credentials(credentials).map_err(invalid)?;
        let username = config.username.clone().or(username);
        let password = config.password.clone().or(password);
        if username.is_some() && password.is_none() {
            return Err(invalid(NO_PASSWORD));
        }
        let topology = Topology::Single(Endpoint { host, port });
        Ok(Self { topology, encrypted, login: Login { username, password } })
    }
}

fn split_host(host: &str) -> Result<(String, u16), &'static str> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or("the bracket of the IPv6 address is not closed")?,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    if name.is_empty() {
        return Err("the host is missing");
    }
    let port = match port.strip_prefix(':') {
        Some(digits) => digits.parse().map_err(|_| "the port is no number from 1 to 65535")?,
        None if port.is_empty() => DEFAULT_PORT,
        None => return Err("after the host, only a port may follow"),
    };
    if port == 0 {
        return Err("the port is no number from 1 to 65535");
    }
    Ok((name.to_owned(), port))
}

type Credentials = (Option<String>, Option<String>);

fn split_credentials(credentials: Option<&str>) -> Result<Credentials, &'static str> {
    let Some(credentials) = credentials else { return Ok((None, None)) };
    let (user, password) = match credentials.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (credentials, None),
    };
    let user = if user.is_empty() { None } else { Some(decode(user)?) };
    Ok((user, password.map(decode).transpose()?))
}

fn decode(text: &str) -> Result<String, &'static str> {
    const PROBLEM: &str = "user or password is not percent-encoded UTF-8";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2).ok_or(PROBLEM)?;
        let digits = std::str::from_utf8(digits).map_err(|_| PROBLEM)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(PROBLEM);
        }
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| PROBLEM)?);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| PROBLEM)
}

/// The URL without what may be a user or password.
fn redacted(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) if !scheme.contains('@') => format!("{scheme}://{host}"),
        (_, Some((_, host))) => host.to_owned(),
        _ => url.to_owned(),
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
        let ServerAddress { topology, encrypted, login } = parse("redis://example.org").unwrap();
        assert_eq!((topology.endpoint().to_string().as_str(), encrypted), ("example.org:6379", false));
        assert_eq!(login.user(), "default");
        let ServerAddress { topology, encrypted, login } = parse("rediss://us%65r:p%40ss:w%2Frd@[::1]:7000/").unwrap();
        assert_eq!((topology.endpoint().to_string().as_str(), encrypted), ("[::1]:7000", true));
        assert_eq!((login.username.as_deref(), login.password.as_deref()), (Some("user"), Some("p@ss:w/rd")));
        let login = parse("redis://:secret@10.0.0.1:1").unwrap().login;
        assert_eq!((login.username, login.password.as_deref()), (None, Some("secret")));
    }

    #[test]
    fn the_configuration_overrides_the_url() {
        let config = Config { username: Some("u".into()), password: Some("p".into()), ..Config::default() };
        let login = ServerAddress::parse("redis://a@host", &config).unwrap().login;
        assert_eq!((login.username.as_deref(), login.password.as_deref()), (Some("u"), Some("p")));
    }

    #[test]
    fn says_what_to_write_and_never_the_password() {
        let cases = [
            ("localhost:6379", "redis://host:port"),
            ("http://u:hunter2@host", "redis://host:port"),
            ("redis://u:hunter2@host/3", "set a namespace"),
            ("redis://:hunter2/3@host", "percent-encode"),
            ("redis://:hunter2@", "host is missing"),
            ("redis://:hunter2@host:0", "port"),
            ("redis://:hunter2@host:99999", "port"),
            ("redis://:hunter2@[::1", "bracket"),
            ("redis://:hunter2@[::1]x", "only a port"),
            ("redis://hunter2@host", "needs a password"),
            ("redis://:hunter2%zz@host", "percent-encoded"),
            ("redis://:hunter2%+1@host", "percent-encoded"),
            ("redis://:hunter2%f@host", "percent-encoded"),
            ("redis://host?db=3", "set a namespace"),
        ];
        for (url, expected) in cases {
            let error = parse(url).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains(expected), "{url}: {text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
        assert!(!format!("{:?}", parse("redis://u:hunter2@host").unwrap()).contains("hunter2"));
    }
}
