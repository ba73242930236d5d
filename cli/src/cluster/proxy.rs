//! The proxy on the way to the cluster, chosen as kubectl does.

use http::Uri;
use kube::config::Kubeconfig;
use sealkit_core::proxy::{Proxies, Proxy, ProxyError};

use crate::error::{CommandError, Result};

/// The proxy for this server: `proxy-url` of the context's cluster, whatever the environment says,
/// or else that of the environment.
pub(super) fn of(kubeconfig: &Kubeconfig, context: &str, server: &Uri) -> Result<Option<Uri>> {
    const FIELD: &str = "proxy-url of the kubeconfig";
    let (proxy, source) = if let Some(url) = in_kubeconfig(kubeconfig, context) {
        (Some(Proxy::parse(url, FIELD).map_err(refusal)?), FIELD)
    } else {
        let proxies = Proxies::of_environment().map_err(refusal)?;
        let scheme = server.scheme_str().unwrap_or("https");
        let host = server.host().unwrap_or_default();
        let proxy = proxies.of(scheme, host, server.port_u16());
        (proxy.cloned(), "HTTPS_PROXY")
    };
    let url = proxy.map(|proxy| proxy.url().parse());
    url.transpose().map_err(|_| refusal(ProxyError(source)))
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

fn refusal(error: ProxyError) -> CommandError {
    CommandError::cluster("the proxy has no valid URL")
        .on(error.0)
        .hint("write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT")
}
