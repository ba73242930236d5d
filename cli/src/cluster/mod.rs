//! The cluster, for the few verbs that need one: a connection, and errors in words.

mod apply;
mod choose;
pub(crate) mod contexts;
mod external;
mod interrupt;
mod keys;
mod kinds;
pub(crate) mod kubeconfig;
pub(crate) mod manifests;
mod objects;
mod proxy;
pub(crate) mod ready;
mod rewrap;
mod trusted;
mod wait;
mod watched;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::config::Kubeconfig;
use kube::{Api, Client, Config};
use sealkit_core::proxy::{ProxyFailure, causes};

use crate::args::GlobalArgs;
use crate::error::{CommandError, Result};
use crate::terminal::safe;

pub(crate) use apply::{Applied, Apply, Refusal};
pub(crate) use choose::{connect, connect_to_write};
pub(crate) use external::{External, ExternalState, StoreState};
pub(crate) use keys::{NewestKey, age_in_days, fingerprint_of, is_ready};
pub(crate) use kinds::{KINDS, ObjectKey, SecretsKind, Served, Stage};
pub(crate) use objects::{Account, Grant, Leader, ObjectState};
pub(crate) use rewrap::{Answer, Ask, Refused};
pub(crate) use trusted::{TrustedMap, manifest};
pub(crate) use watched::Unwatched;

/// The Deployment of our controller.
const CONTROLLER: &str = "seal-controller";
/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pauses before a call that the API server wants to be made again.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(4);
/// Objects of one page of a list: each may have more than a megabyte.
const PAGE: u32 = 50;

/// A cluster that can be asked.
pub(crate) struct Cluster {
    runtime: tokio::runtime::Runtime,
    client: Client,
    config: Config,
    context: String,
    server: String,
    namespace: String,
}

impl Cluster {
    /// Reads the kubeconfig; nothing is sent yet. `context` beats the flag and the file. In a pod
    /// without a kubeconfig, it is the pod's own cluster and ServiceAccount.
    pub fn connect(global: &GlobalArgs, context: Option<&str>) -> Result<Self> {
        // Fails only when something installed a provider before, which then serves as well.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|_| CommandError::bug("the runtime does not start"))?;
        let context = context.or(global.context.as_deref());
        let (context, mut config) = match kubeconfig::read(global)? {
            Some(kubeconfig) => runtime.block_on(from_kubeconfig(kubeconfig, context))?,
            None => (IN_CLUSTER.to_owned(), from_pod(context)?),
        };
        config.connect_timeout = Some(TIMEOUT);
        config.read_timeout = Some(TIMEOUT);
        config.write_timeout = Some(TIMEOUT);
        config.default_retry = false;
        // Host and port only: a URL may hold credentials.
        let server = config
            .cluster_url
            .host()
            .map(str::to_owned)
            .unwrap_or_default();
        let port = config.cluster_url.port_u16().map(|port| format!(":{port}"));
        let server = server + &port.unwrap_or_default();
        let namespace = config.default_namespace.clone();
        let client = runtime
            .block_on(async { Client::try_from(config.clone()) })
            .map_err(|error| answer_error(&error).on(format!("context {}", safe(&context))))?;
        Ok(Self {
            runtime,
            client,
            config,
            context,
            server,
            namespace,
        })
    }

    /// A client for answers that may be silent for long: whoever watches has a limit of its own.
    fn watching_client(&self) -> Result<Client> {
        let mut config = self.config.clone();
        config.read_timeout = None;
        Client::try_from(config).map_err(|error| answer_error(&error).on(self.title()))
    }

    /// Context and server, for people.
    pub fn title(&self) -> String {
        format!("context {} ({})", safe(&self.context), safe(&self.server))
    }

    /// Name of the context.
    pub fn context(&self) -> &str {
        &self.context
    }

    /// The namespace that its context names.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// One call, with the words for when it is forbidden.
    fn call<T>(
        &self,
        call: impl Future<Output = kube::Result<T>>,
        forbidden: &str,
        role: &str,
    ) -> Result<T> {
        self.runtime.block_on(self.send(call, forbidden, role))
    }

    /// The same for those who wait for more than one answer.
    async fn send<T>(
        &self,
        call: impl Future<Output = kube::Result<T>>,
        forbidden: &str,
        role: &str,
    ) -> Result<T> {
        match tokio::time::timeout(TIMEOUT * 2, call).await {
            Err(_) => Err(timed_out()),
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                Err(CommandError::cluster(forbidden).hint(role))
            }
            Ok(Err(error)) => Err(answer_error(&error)),
            Ok(Ok(value)) => Ok(value),
        }
        .map_err(|error| error.on(self.title()))
    }

    /// The same for a call that may be made again: while it is busy, and right after a CRD was
    /// installed, the API server asks for that with 429.
    async fn patiently<T, F: Future<Output = kube::Result<T>>>(
        &self,
        call: impl Fn() -> F,
    ) -> kube::Result<T> {
        let mut pause = FIRST_PAUSE;
        loop {
            match call().await {
                Err(kube::Error::Api(status)) if status.code == 429 && pause <= LAST_PAUSE => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                answer => return answer,
            }
        }
    }

    /// What tells this cluster from others: the UID of `kube-system`.
    pub fn uid(&self) -> Result<String> {
        let namespace = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Namespace"));
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &namespace);
        let forbidden = "not allowed to read the namespace kube-system";
        let object = self.call(
            api.get("kube-system"),
            forbidden,
            "the UID of this namespace identifies the cluster: ask who runs it for the right to read it",
        )?;
        Ok(object.metadata.uid.unwrap_or_default())
    }
}

/// What the cluster around this pod is called.
const IN_CLUSTER: &str = "of this pod";

async fn from_kubeconfig(
    mut kubeconfig: Kubeconfig,
    context: Option<&str>,
) -> Result<(String, Config)> {
    let context = context
        .or(kubeconfig.current_context.as_deref())
        .filter(|context| !context.is_empty())
        .ok_or_else(|| {
            CommandError::cluster("the kubeconfig has no current context")
                .hint("choose one with --context NAME")
        })?
        .to_owned();
    if !io::stdin().is_terminal() {
        kubeconfig::keep_stdin(&mut kubeconfig);
    }
    let on_context = |error: CommandError| error.on(format!("context {}", safe(&context)));
    let config = kubeconfig::config(&kubeconfig, &context).await;
    let mut config = config.map_err(on_context)?;
    // The library compares NO_PROXY with the proxy, not with the server.
    config.proxy_url = proxy::of(&kubeconfig, &context, &config.cluster_url).map_err(on_context)?;
    Ok((context, config))
}

/// The cluster of the pod that this runs in.
fn from_pod(context: Option<&str>) -> Result<Config> {
    let is_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    if context.is_some() || !is_pod {
        return Err(CommandError::cluster("no kubeconfig found")
            .hint("set KUBECONFIG, or pass --kubeconfig FILE"));
    }
    Config::incluster().map_err(|_| {
        CommandError::cluster("the pod's ServiceAccount token cannot be read")
            .hint("does the pod set automountServiceAccountToken: false?")
    })
}

fn timed_out() -> CommandError {
    CommandError::cluster("the cluster did not answer in time")
        .hint("is it running, and reachable from here?")
}

/// Why the cluster did not answer. Never prints its message: that may quote what it holds.
fn answer_error(error: &kube::Error) -> CommandError {
    match error {
        kube::Error::Api(status) => match status.code {
            401 => {
                CommandError::cluster("the cluster rejects your credentials; they may have expired")
                    .hint("log in again, then check with `kubectl auth whoami`")
            }
            403 => CommandError::cluster("the cluster does not allow this").hint(
                "ask who runs the cluster; `kubectl auth can-i --list` shows what you may do",
            ),
            404 => CommandError::cluster("Sealkit is not installed in this cluster")
                .hint("install the controller, or choose another cluster with --context"),
            408 | 504 => timed_out(),
            code => {
                CommandError::cluster(format_args!("the cluster answered with HTTP status {code}"))
                    .hint("try again; if the error persists, ask who runs the cluster")
            }
        },
        kube::Error::Auth(_) => {
            CommandError::cluster("the kubeconfig's credentials cannot be obtained")
                .hint("log in again, then check with `kubectl auth whoami`")
        }
        kube::Error::SerdeError(_) => CommandError::cluster("the cluster's answer cannot be read")
            .hint("is its Sealkit newer than this command? see `seal version`"),
        other => connection_error(other),
    }
}

/// Why no connection came about.
fn connection_error(error: &kube::Error) -> CommandError {
    if let Some(tls) = causes(error).find_map(|cause| cause.downcast_ref()) {
        return tls_error(tls);
    }
    if let Some(failure) = ProxyFailure::of(error) {
        return proxy_error(failure);
    }
    let io = causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>());
    match io.last().map(io::Error::kind) {
        Some(io::ErrorKind::TimedOut) => timed_out(),
        Some(kind) => unreachable(&format!("the cluster is unreachable ({kind})")),
        None => unreachable("the cluster is unreachable"),
    }
}

fn proxy_error(failure: ProxyFailure) -> CommandError {
    let error = CommandError::cluster(format_args!(
        "the proxy does not lead to the cluster: {failure}"
    ));
    match failure {
        ProxyFailure::Unreached => {
            error.hint("check proxy-url of the kubeconfig, or HTTPS_PROXY: is the proxy running?")
        }
        ProxyFailure::Credentials => error.hint(
            "write them into proxy-url of the kubeconfig, or HTTPS_PROXY: http://USER:PASSWORD@HOST:PORT",
        ),
        ProxyFailure::Refused => {
            error.hint("may it connect to this server, and does it know the name?")
        }
    }
    .hint("if the cluster is reached without a proxy, name its host in NO_PROXY")
}

fn unreachable(what: &str) -> CommandError {
    CommandError::cluster(what).hint("is it running, and is this the right context?")
}

fn tls_error(error: &rustls::Error) -> CommandError {
    use rustls::{CertificateError as Bad, Error};
    let refused = |why| {
        CommandError::cluster(format_args!(
            "the cluster's certificate is not accepted: {why}"
        ))
    };
    match error {
        Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
            refused("it has expired")
                .hint("ask who runs the cluster to renew it; is the clock of this machine right?")
        }
        Error::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => {
            refused("it is not valid yet").hint("is the clock of this machine right?")
        }
        Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            refused("it is for another name").hint(
                "use a name of the certificate as server in the kubeconfig, or set tls-server-name",
            )
        }
        Error::InvalidCertificate(Bad::UnknownIssuer) => {
            refused("an unknown authority signed it").hint(
                "does certificate-authority in the kubeconfig belong to this cluster, or does a proxy intercept TLS?",
            )
        }
        Error::InvalidCertificate(_) => {
            refused("it is malformed or not made for a server").hint("ask who runs the cluster")
        }
        Error::AlertReceived(_) => {
            CommandError::cluster("the cluster refuses the TLS connection")
                .hint("has the client certificate in the kubeconfig expired?")
        }
        _ => CommandError::cluster("no TLS connection to the cluster can be made")
            .hint("is the server in the kubeconfig an API server, and https its scheme?"),
    }
}
