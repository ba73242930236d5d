//! The cluster, for the few verbs that need one: a connection, and errors in words.

mod apply;
mod choose;
mod external;
mod interrupt;
mod keys;
mod kinds;
pub(crate) mod kubeconfig;
pub(crate) mod manifests;
mod objects;
pub(crate) mod ready;
mod rewrap;
mod trusted;
mod wait;

use std::error::Error as _;
use std::io;
use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use crate::args::GlobalArgs;
use crate::error::{CommandError, Result};
use crate::terminal::safe;

pub(crate) use apply::{Applied, Apply, Refusal};
pub(crate) use choose::{connect, connect_to_write};
pub(crate) use external::{External, ExternalState, StoreState};
pub(crate) use keys::{NewestKey, age_in_days, is_ready};
pub(crate) use kinds::{KINDS, ObjectKey, SecretsKind, Served, Stage};
pub(crate) use objects::{Grant, Leader, ObjectState};
pub(crate) use rewrap::{Answer, Ask, Refused};
pub(crate) use trusted::{TrustedMap, manifest};

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(10);
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
    kubeconfig: Kubeconfig,
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
    let options = KubeConfigOptions {
        context: Some(context.clone()),
        ..Default::default()
    };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|error| kubeconfig::refusal(&error).on(format!("context {}", safe(&context))))?;
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

fn connection_error(error: &kube::Error) -> CommandError {
    let mut cause = error.source();
    while let Some(at) = cause {
        if at.is::<rustls::Error>() {
            return CommandError::cluster("the cluster's certificate is not accepted")
                .hint("does the kubeconfig belong to this cluster?");
        }
        if let Some(io) = at.downcast_ref::<io::Error>() {
            let inner = io.get_ref();
            if inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>) {
                return CommandError::cluster("the cluster's certificate is not accepted")
                    .hint("does the kubeconfig belong to this cluster?");
            }
            if io.kind() == io::ErrorKind::TimedOut {
                return timed_out();
            }
            if inner.is_none() {
                return CommandError::cluster(format_args!(
                    "the cluster is unreachable ({})",
                    io.kind()
                ))
                .hint("is it running, and is this the right context?");
            }
        }
        cause = at.source();
    }
    CommandError::cluster("the cluster is unreachable")
        .hint("is it running, and is this the right context?")
}
