//! The proxies of the controller's environment. Only who runs the controller chooses them: no object
//! does, since a proxy learns whom its namespace talks to.

use std::sync::LazyLock;

use http::Uri;
use kube::config::Kubeconfig;
use reqwest::Url;
use sealkit_core::proxy::{Proxies, Proxy, ProxyError};

/// The environment does not change while the controller runs.
static PROXIES: LazyLock<Result<Proxies, ProxyError>> = LazyLock::new(Proxies::of_environment);

/// Says which variable names no proxy, before anything is connected.
pub fn check() -> Result<(), ProxyError> {
    PROXIES.as_ref().map(|_| ()).map_err(|error| *error)
}

/// The proxy on the way to a cluster: that of its kubeconfig, or else that of the environment.
pub fn to_cluster(
    kubeconfig: Option<&Kubeconfig>,
    server: &Uri,
) -> Result<Option<Uri>, ProxyError> {
    const FIELD: &str = "proxy-url of the kubeconfig";
    let (proxy, source) = if let Some(url) = kubeconfig.and_then(in_kubeconfig) {
        (Some(Proxy::parse(url, FIELD)?), FIELD)
    } else {
        let scheme = server.scheme_str().unwrap_or("https");
        let host = server.host().unwrap_or_default();
        let proxies = PROXIES.as_ref().map_err(|error| *error)?;
        let proxy = proxies.of(scheme, host, server.port_u16());
        (proxy.cloned(), "HTTPS_PROXY")
    };
    let url = proxy.map(|proxy| proxy.url().parse());
    url.transpose().map_err(|_| ProxyError(source))
}

fn in_kubeconfig(kubeconfig: &Kubeconfig) -> Option<&str> {
    let current = kubeconfig.current_context.as_ref()?;
    let mut contexts = kubeconfig.contexts.iter();
    let context = contexts.find(|named| named.name == *current)?;
    let name = &context.context.as_ref()?.cluster;
    let mut clusters = kubeconfig.clusters.iter();
    let cluster = clusters.find(|named| named.name == *name)?;
    let url = cluster.cluster.as_ref()?.proxy_url.as_deref();
    url.filter(|url| !url.is_empty())
}

/// The choice for each request of a client of providers.
pub fn to_providers() -> reqwest::Proxy {
    reqwest::Proxy::custom(|url| of(url).map(Proxy::url_with_remote_names))
}

/// Does the way to this URL go through a proxy?
pub fn is_on_the_way_to(url: &Url) -> bool {
    of(url).is_some()
}

fn of(url: &Url) -> Option<&'static Proxy> {
    let proxies = PROXIES.as_ref().ok()?;
    proxies.of(url.scheme(), url.host_str()?, url.port())
}
