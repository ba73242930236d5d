//! The proxy on the way to the cluster, chosen as kubectl does.

use std::net::IpAddr;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use kube::config::Kubeconfig;

use crate::error::{CommandError, Result};

/// The proxy for this server: `proxy-url` of the context's cluster, whatever the environment says,
/// or else `HTTPS_PROXY` (`HTTP_PROXY` for a server without TLS) where `NO_PROXY` does not cover the
/// server. Errors quote no URL: it may hold a password.
pub(super) fn of(kubeconfig: &Kubeconfig, context: &str, server: &Uri) -> Result<Option<Uri>> {
    if let Some(url) = in_kubeconfig(kubeconfig, context) {
        return parsed(url, "proxy-url of the kubeconfig").map(Some);
    }
    let names = if server.scheme_str() == Some("http") {
        ["HTTP_PROXY", "http_proxy"]
    } else {
        ["HTTPS_PROXY", "https_proxy"]
    };
    let Some((name, url)) = environment(names) else {
        return Ok(None);
    };
    let excluded = environment(["NO_PROXY", "no_proxy"]).map(|(_, list)| list);
    if is_direct(server, &excluded.unwrap_or_default()) {
        return Ok(None);
    }
    parsed(&url, name).map(Some)
}

fn in_kubeconfig<'k>(kubeconfig: &'k Kubeconfig, context: &str) -> Option<&'k str> {
    let mut contexts = kubeconfig.contexts.iter();
    let context = contexts.find(|named| named.name == context)?;
    let cluster = &context.context.as_ref()?.cluster;
    let mut clusters = kubeconfig.clusters.iter();
    let cluster = clusters.find(|named| named.name == *cluster)?;
    let url = cluster.cluster.as_ref()?.proxy_url.as_deref();
    url.filter(|url| !url.is_empty())
}

/// The first of these variables that says something, and its value.
fn environment(names: [&'static str; 2]) -> Option<(&'static str, String)> {
    names.into_iter().find_map(|name| {
        let value = std::env::var(name).ok()?;
        (!value.trim().is_empty()).then(|| (name, value.trim().to_owned()))
    })
}

/// Is the server reached without the proxy of the environment? As in Go, this machine always is.
fn is_direct(server: &Uri, excluded: &str) -> bool {
    let host = server.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = address
        .parse::<IpAddr>()
        .is_ok_and(|address| address.is_loopback());
    // The proxy stands for any: the question is whether the list covers the server.
    let matcher = Matcher::builder().all("http://proxy.invalid").no(excluded);
    host == "localhost" || is_loopback || matcher.build().intercept(server).is_none()
}

fn parsed(url: &str, source: &str) -> Result<Uri> {
    let url = match url.split_once("://") {
        None => format!("http://{url}"),
        // Names are resolved by the proxy in both.
        Some(("socks5h", rest)) => format!("socks5://{rest}"),
        Some(_) => url.to_owned(),
    };
    let known = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https" | "socks5"));
    url.parse().ok().filter(known).ok_or_else(|| {
        CommandError::cluster("the proxy has no valid URL")
            .on(source)
            .hint("write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_proxy_covers_and_this_machine_are_reached_directly() {
        let direct = |server: &str, excluded| is_direct(&server.parse().unwrap(), excluded);
        for (server, excluded) in [
            ("https://10.1.2.3:6443", "10.0.0.0/8"),
            ("https://10.1.2.3:6443", "192.168.1.1, 10.1.2.3"),
            ("https://api.corp.example", ".corp.example"),
            ("https://api.corp.example", "localhost,corp.example,"),
            ("https://api.corp.example", "*"),
            ("https://localhost:6443", ""),
            ("https://127.0.0.1:6443", ""),
            ("https://[::1]:6443", ""),
        ] {
            assert!(direct(server, excluded), "{server} {excluded}");
        }
        for (server, excluded) in [
            ("https://api.corp.example", ""),
            ("https://api.corp.example", "127.0.0.1,localhost"),
            ("https://10.1.2.3:6443", "10.2.0.0/16"),
        ] {
            assert!(!direct(server, excluded), "{server} {excluded}");
        }
    }

    #[test]
    fn proxies_are_read_as_go_reads_them() {
        for (given, read) in [
            ("proxy.corp.example:3128", "http://proxy.corp.example:3128/"),
            ("http://u:p@proxy:1", "http://u:p@proxy:1/"),
            ("socks5h://proxy:1080", "socks5://proxy:1080"),
        ] {
            let uri = parsed(given, "x").unwrap().to_string();
            assert_eq!(uri.trim_end_matches('/'), read.trim_end_matches('/'));
        }
        for refused in ["ftp://proxy", "http://", "http://canary:pass word@x"] {
            let error = parsed(refused, "HTTPS_PROXY").unwrap_err().to_string();
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
