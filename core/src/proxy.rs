//! The proxies of the environment: which connection goes through which, and what a failure of one
//! looks like. The variables mean what they mean to kubectl (Go's `httpproxy`).

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr};

/// A proxy. It has neither Debug nor Display, since its URL may hold a password.
#[derive(Clone)]
pub struct Proxy {
    scheme: &'static str,
    authority: String,
}

/// A text that is no proxy. It quotes nothing of the text, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is no URL of a proxy: write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT"
)]
pub struct ProxyError(
    /// Where the text stands, such as `HTTPS_PROXY`.
    pub &'static str,
);

impl Proxy {
    /// Reads a URL: `http`, which may be left out, `https`, `socks5` or `socks5h`. `source` is where
    /// the text stands.
    pub fn parse(url: &str, source: &'static str) -> Result<Self, ProxyError> {
        let (scheme, rest) = url.trim().split_once("://").unwrap_or(("http", url.trim()));
        let (scheme, port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => ("http", 80),
            "https" => ("https", 443),
            // Names are resolved by the proxy in both.
            "socks5" | "socks5h" => ("socks5", 1080),
            _ => return Err(ProxyError(source)),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let authority = &rest[..end];
        let (credentials, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (host, given) = host_and_port(place).ok_or(ProxyError(source))?;
        let is_printable = authority.bytes().all(|byte| byte.is_ascii_graphic());
        let is_host = is_host(host, place.starts_with('['));
        if !is_host || !is_printable || credentials.contains('@') {
            return Err(ProxyError(source));
        }
        let authority = match given {
            Some(_) => authority.to_owned(),
            None => format!("{}:{port}", authority.trim_end_matches(':')),
        };
        Ok(Self { scheme, authority })
    }

    /// The URL, with credentials and a port; `socks5` for a proxy that resolves names itself.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.authority)
    }

    /// The URL as libraries write it for which `socks5` means that names are resolved here.
    pub fn url_with_remote_names(&self) -> String {
        let remote = if self.scheme == "socks5" { "h" } else { "" };
        format!("{}{remote}://{}", self.scheme, self.authority)
    }
}

/// The host of `HOST`, `HOST:PORT` or `[ADDRESS]:PORT`, without brackets, and the port.
fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (
                host,
                rest.strip_prefix(':').or(rest.is_empty().then_some(""))?,
            )
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    if port.is_empty() {
        return Some((host, None));
    }
    Some((host, Some(port.parse().ok()?)))
}

/// The proxies that the environment names, and the servers that are reached without one.
#[derive(Clone, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    direct: Vec<Direct>,
}

/// An entry of `NO_PROXY`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Direct {
    /// `*`.
    All,
    /// A network, or an address with all its bits.
    Network {
        address: IpAddr,
        bits: u8,
        port: Option<u16>,
    },
    /// A host and, unless the entry begins with a dot, the domain below it.
    Domain {
        name: String,
        with_itself: bool,
        port: Option<u16>,
    },
}

impl Proxies {
    /// Reads `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, or their lower-case spellings.
    pub fn of_environment() -> Result<Self, ProxyError> {
        Self::read(|name| std::env::var(name).ok())
    }

    /// The same of variables that are given by name.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ProxyError> {
        let said = |names: [&'static str; 2]| {
            names.into_iter().find_map(|name| {
                let text = variable(name).filter(|text| !text.trim().is_empty())?;
                Some((name, text))
            })
        };
        let proxy = |names| {
            said(names)
                .map(|(name, url)| Proxy::parse(&url, name))
                .transpose()
        };
        let direct = said(["NO_PROXY", "no_proxy"]).map(|(_, list)| list);
        Ok(Self {
            http: proxy(["HTTP_PROXY", "http_proxy"])?,
            https: proxy(["HTTPS_PROXY", "https_proxy"])?,
            direct: direct
                .unwrap_or_default()
                .split(',')
                .filter_map(|entry| Direct::parse(entry.trim()))
                .collect(),
        })
    }

    /// The proxy for a server; `None` if it is reached without one. `scheme` is `https` or `http`; the
    /// port is that of the scheme if absent. This machine and link-local addresses, under which clouds
    /// tell a machine who it is, never have one.
    pub fn of(&self, scheme: &str, host: &str, port: Option<u16>) -> Option<&Proxy> {
        let (proxy, usual) = match scheme {
            "https" => (self.https.as_ref()?, 443),
            "http" => (self.http.as_ref()?, 80),
            _ => return None,
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address = host
            .parse::<IpAddr>()
            .ok()
            .map(|address| address.to_canonical());
        let is_here = host == "localhost" || address.is_some_and(is_here);
        let port = port.unwrap_or(usual);
        let mut direct = self.direct.iter();
        let is_direct = is_here || direct.any(|entry| entry.covers(&host, address, port));
        (!is_direct).then_some(proxy)
    }
}

fn is_here(address: IpAddr) -> bool {
    // Where AWS tells a machine and a pod who they are, by IPv6.
    const AWS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0);
    address.is_loopback()
        || address.is_unspecified()
        || match address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        }
        || is_within(address, AWS.into(), 32)
}

/// Is it a name, or an address without brackets? What else a library makes of it is its own matter.
fn is_host(host: &str, in_brackets: bool) -> bool {
    let is_of_a_name =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if in_brackets {
        host.parse::<Ipv6Addr>().is_ok()
    } else {
        !host.is_empty() && host.bytes().all(is_of_a_name)
    }
}

impl Direct {
    /// `None` for an entry that says nothing.
    fn parse(entry: &str) -> Option<Self> {
        if entry == "*" {
            return Some(Self::All);
        }
        if let Some((address, bits)) = entry.split_once('/') {
            let address: IpAddr = address.parse().ok()?;
            let (bits, port) = host_and_port(bits)?;
            let bits = bits.parse().ok().filter(|bits| *bits <= length(address))?;
            return Some(Self::Network {
                address,
                bits,
                port,
            });
        }
        // An address of IPv6 without brackets has colons and no port.
        let (host, port) = match entry.parse::<IpAddr>() {
            Ok(_) => (entry, None),
            Err(_) => host_and_port(entry)?,
        };
        if let Ok(address) = host.parse::<IpAddr>() {
            let address = address.to_canonical();
            return Some(Self::Network {
                address,
                bits: length(address),
                port,
            });
        }
        let host = host.strip_prefix('*').unwrap_or(host);
        let name = host.trim_matches('.').to_ascii_lowercase();
        let with_itself = !host.starts_with('.');
        (!name.is_empty()).then_some(Self::Domain {
            name,
            with_itself,
            port,
        })
    }

    fn covers(&self, host: &str, at: Option<IpAddr>, to: u16) -> bool {
        let is_port = |port: &Option<u16>| port.is_none_or(|port| port == to);
        match self {
            Self::All => true,
            Self::Network {
                address,
                bits,
                port,
            } => at.is_some_and(|at| is_within(at, *address, *bits)) && is_port(port),
            Self::Domain {
                name,
                with_itself,
                port,
            } => {
                let below = host.strip_suffix(name.as_str());
                let is_below = below.is_some_and(|below| below.ends_with('.'));
                (is_below || *with_itself && host == name) && is_port(port)
            }
        }
    }
}

/// Bits of an address.
fn length(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn is_within(at: IpAddr, network: IpAddr, bits: u8) -> bool {
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    let host_bits = u32::from(length(network) - bits);
    let differ = number(at) ^ number(network);
    at.is_ipv4() == network.is_ipv4() && differ.checked_shr(host_bits).unwrap_or(0) == 0
}

/// Why a proxy does not lead to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyFailure {
    /// It cannot be reached, or ended the connection.
    Unreached,
    /// It wants other credentials.
    Credentials,
    /// It does not connect to the server: not allowed, or not reachable from there.
    Refused,
}

impl ProxyFailure {
    /// The failure that caused an error, if a proxy failed. The types of these errors are private to
    /// the HTTP library; their texts are its own, and nothing of an answer is in them.
    pub fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        let text = causes(error)
            .map(ToString::to_string)
            .find(|text| text.starts_with("tunnel error: ") || text.starts_with("SOCKS error: "))?;
        Some(match text.split_once(": ").map_or("", |(_, what)| what) {
            "proxy authorization required"
            | "server does not support user/pass authentication"
            | "server implements authentication incorrectly"
            | "credentials not accepted" => Self::Credentials,
            "failed to create underlying connection"
            | "io error establishing tunnel"
            | "io error during SOCKS handshake"
            | "unexpected end of file" => Self::Unreached,
            _ => Self::Refused,
        })
    }
}

impl fmt::Display for ProxyFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreached => "it cannot be reached",
            Self::Credentials => "it wants other credentials",
            Self::Refused => "it does not connect to this server",
        })
    }
}

/// An error and all that caused it. An [`io::Error`] hides the first cause in itself: its `source`
/// passes over what it holds.
pub fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    fn cause<'a>(error: &&'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
        let error: &'a (dyn Error + 'static) = *error;
        let held = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        held.map_or_else(|| error.source(), |held| Some(held))
    }
    std::iter::successors(Some(error), cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Result<Proxies, ProxyError> {
        Proxies::read(|name| {
            let mut variables = variables.iter();
            let (_, value) = variables.find(|(known, _)| *known == name)?;
            Some((*value).to_owned())
        })
    }

    /// Entries of `NO_PROXY`, a server, and whether it is reached without a proxy.
    #[test]
    fn no_proxy_covers_hosts_domains_networks_and_ports() {
        let table = [
            ("", "api.corp.example", 443, false),
            ("*", "api.corp.example", 443, true),
            ("corp.example", "corp.example", 443, true),
            ("corp.example", "api.corp.example", 443, true),
            ("corp.example", "API.Corp.Example.", 443, true),
            ("Corp.Example", "api.corp.example", 443, true),
            ("corp.example", "notcorp.example", 443, false),
            ("corp.example", "corp.example.org", 443, false),
            (".corp.example", "api.corp.example", 443, true),
            (".corp.example", "corp.example", 443, false),
            ("*.corp.example", "api.corp.example", 443, true),
            ("*.corp.example", "corp.example", 443, false),
            (".svc,.cluster.local", "vault.vault.svc", 8200, true),
            ("corp.example:8200", "api.corp.example", 8200, true),
            ("corp.example:8200", "api.corp.example", 443, false),
            ("10.1.2.3", "10.1.2.3", 6443, true),
            ("10.1.2.3", "10.1.2.30", 6443, false),
            ("10.1.2.3:6443", "10.1.2.3", 6443, true),
            ("10.1.2.3:6443", "10.1.2.3", 443, false),
            ("10.0.0.0/8", "10.1.2.3", 6443, true),
            ("10.2.0.0/16", "10.1.2.3", 6443, false),
            ("10.1.2.2/31", "10.1.2.3", 6443, true),
            ("10.0.0.0/8:8200", "10.1.2.3", 8200, true),
            ("10.0.0.0/8:8200", "10.1.2.3", 443, false),
            ("0.0.0.0/0", "192.0.2.7", 6443, true),
            ("0.0.0.0/0", "2001:db8::1", 6443, false),
            ("10.0.0.0/8", "10.example", 443, false),
            ("fd00::/8", "[fd00::1]", 6443, true),
            ("2001:db8::1", "[2001:db8::1]", 443, true),
            ("[2001:db8::1]:8200", "[2001:db8::1]", 8200, true),
            ("[2001:db8::1]:8200", "[2001:db8::1]", 443, false),
            ("localhost, corp.example ,,", "api.corp.example", 443, true),
            (",,", "api.corp.example", 443, false),
            ("10.0.0.0/99,:80,a/b,.", "api.corp.example", 443, false),
            ("", "localhost", 6443, true),
            ("", "127.0.0.1", 6443, true),
            ("", "[::1]", 6443, true),
            ("", "169.254.169.254", 80, true),
            ("", "[fe80::1]", 443, true),
            ("", "[fd00:ec2::23]", 80, true),
            ("", "[fd00:ec3::23]", 80, false),
            ("", "0.0.0.0", 80, true),
            ("", "[::]", 80, true),
        ];
        for (excluded, host, port, is_direct) in table {
            let all = [
                ("HTTPS_PROXY", "proxy.example:3128"),
                ("NO_PROXY", excluded),
            ];
            let proxies = proxies(&all).unwrap();
            let proxy = proxies.of("https", host, Some(port));
            assert_eq!(proxy.is_none(), is_direct, "{excluded:?} {host}:{port}");
        }
    }

    #[test]
    fn each_scheme_has_its_variable_and_upper_case_comes_first() {
        let of = |variables: &[(&str, &str)], scheme: &str| {
            let proxies = proxies(variables).unwrap();
            let proxy = proxies.of(scheme, "a.example", None);
            proxy.map(Proxy::url)
        };
        let both = [
            ("HTTPS_PROXY", "s:1"),
            ("http_proxy", "p:2"),
            ("https_proxy", "t:3"),
        ];
        assert_eq!(of(&both, "https").as_deref(), Some("http://s:1"));
        assert_eq!(of(&both, "http").as_deref(), Some("http://p:2"));
        assert_eq!(of(&both, "ftp"), None);
        let empty = [("HTTPS_PROXY", " "), ("https_proxy", "t:3")];
        assert_eq!(of(&empty, "https").as_deref(), Some("http://t:3"));
        assert_eq!(of(&[("HTTP_PROXY", "p:2")], "https"), None);
        let port = [("HTTPS_PROXY", "s:1"), ("NO_PROXY", "a.example:443")];
        assert_eq!(of(&port, "https"), None, "the port of the scheme");
    }

    #[test]
    fn proxies_are_read_as_go_reads_them() {
        let table = [
            ("proxy.example:3128", "http://proxy.example:3128"),
            (" http://proxy.example ", "http://proxy.example:80"),
            ("https://proxy.example/", "https://proxy.example:443"),
            ("http://u:p%40@proxy:1/x?y", "http://u:p%40@proxy:1"),
            ("socks5h://proxy", "socks5://proxy:1080"),
            ("SOCKS5://[2001:db8::1]:9", "socks5://[2001:db8::1]:9"),
            ("http://[2001:db8::1]", "http://[2001:db8::1]:80"),
        ];
        for (given, read) in table {
            assert_eq!(
                Proxy::parse(given, "x").ok().unwrap().url(),
                read,
                "{given}"
            );
        }
        let socks = Proxy::parse("socks5://proxy", "x").ok().unwrap();
        assert_eq!(socks.url_with_remote_names(), "socks5h://proxy:1080");
        let refused = [
            "ftp://proxy",
            "http://",
            "http://canary@",
            "http://canary:pass word@x",
            "http://canary@x@y",
            "http://canary:99999",
            "socks4://canary",
            "http://canary%zz:1",
            "http://canary^b:1",
            "http://[canary]:80",
        ];
        for url in refused {
            let error = Proxy::parse(url, "HTTPS_PROXY").err().unwrap().to_string();
            assert!(error.starts_with("HTTPS_PROXY is no URL"), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
        assert_eq!(
            proxies(&[("http_proxy", "ftp://x")]).err(),
            Some(ProxyError("http_proxy"))
        );
    }

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Said(&'static str);

    #[test]
    fn failures_of_proxies_are_told_from_others() {
        use ProxyFailure::{Credentials, Refused, Unreached};
        let table = [
            (
                "tunnel error: proxy authorization required",
                Some(Credentials),
            ),
            ("tunnel error: unsuccessful", Some(Refused)),
            (
                "tunnel error: failed to create underlying connection",
                Some(Unreached),
            ),
            ("SOCKS error: credentials not accepted", Some(Credentials)),
            (
                "SOCKS error: connection not allowed by ruleset",
                Some(Refused),
            ),
            (
                "SOCKS error: io error during SOCKS handshake",
                Some(Unreached),
            ),
            ("connection refused", None),
        ];
        for (said, failure) in table {
            let error = io::Error::other(io::Error::other(Said(said)));
            assert_eq!(ProxyFailure::of(&error), failure, "{said}");
        }
    }
}
