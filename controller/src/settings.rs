//! Flags of the controller. `--help` names the environment variable of each.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use sealkit_core::api::external::duration;
use sealkit_core::api::{Algorithm, CONTROLLER_NAMESPACE};
use sealkit_core::keys::KeyType;
use sealkit_core::sealed::Scope;

/// Opens SealedSecrets into Secrets, in the cluster to whose keys they are sealed.
#[derive(Clone, Debug, Parser)]
#[command(name = "seal-controller", version)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag that people set by itself"
)]
pub struct Settings {
    /// Namespace of the controller, which also holds the identities and the lease.
    #[arg(long, env = "SEALKIT_NAMESPACE", default_value = CONTROLLER_NAMESPACE)]
    pub namespace: String,

    /// Address on which to serve /healthz, /readyz, /livez and /metrics.
    #[arg(long, env = "SEALKIT_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,

    /// Objects of one namespace to reconcile at once; across all namespaces, a third more.
    #[arg(long, env = "SEALKIT_CONCURRENCY", default_value_t = 32)]
    pub concurrency: usize,

    /// Seconds after which the leader's lease expires without renewal.
    #[arg(long, env = "SEALKIT_LEASE_SECONDS", default_value_t = 15)]
    pub lease_seconds: u64,

    /// Name of this replica in the lease; by default its host name and process id.
    #[arg(long, env = "POD_NAME")]
    pub identity: Option<String>,

    /// Key types that SealingKeys may request; the controller's first key has the first type.
    #[arg(
        long,
        env = "SEALKIT_ALLOWED_ALGORITHMS",
        value_delimiter = ',',
        default_value = "mlkem768x25519",
        value_parser = algorithm
    )]
    pub allowed_algorithms: Vec<Algorithm>,

    /// Seconds that an object waits for a matching key before it becomes Stalled.
    #[arg(long, env = "SEALKIT_KEY_GRACE_SECONDS", default_value_t = 60)]
    pub key_grace_seconds: u64,

    /// Prefixes of labels and annotations that templates may not set; by default those that make
    /// replicators copy a Secret into other namespaces.
    #[arg(
        long,
        env = "SEALKIT_DENY_TEMPLATE_METADATA",
        value_delimiter = ',',
        default_value = "reflector.v1.k8s.emberstack.com/,replicator.v1.mittwald.de/,kubed.appscode.com/"
    )]
    pub deny_template_metadata: Vec<String>,

    /// Scopes that SealedSecrets may have.
    #[arg(
        long,
        env = "SEALKIT_ALLOWED_SCOPES",
        value_delimiter = ',',
        default_value = "strict,namespace-wide,cluster-wide",
        value_parser = scope
    )]
    pub allowed_scopes: Vec<Scope>,

    /// Namespaces in which SealedSecrets may adopt and merge into existing Secrets that have no
    /// consent annotation.
    #[arg(long, env = "SEALKIT_ADOPT_NAMESPACES", value_delimiter = ',')]
    pub adopt_namespaces: Vec<String>,

    /// Namespaces to serve, with rights in them alone; by default the whole cluster.
    #[arg(long, env = "SEALKIT_WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,

    /// Serve ExternalSecrets, where the cluster has that kind. Set it to false while another
    /// controller serves them.
    #[arg(
        long,
        env = "SEALKIT_EXTERNAL_SECRETS",
        default_value_t = true,
        action = clap::ArgAction::Set
    )]
    pub external_secrets: bool,

    /// Class of this controller. It leaves stores that name another class, and what uses them, to
    /// others.
    #[arg(long, env = "SEALKIT_CONTROLLER_CLASS", default_value = "default")]
    pub controller_class: String,

    /// Seconds between two checks of a store that does not say so itself.
    #[arg(long, env = "SEALKIT_STORE_CHECK_SECONDS", default_value_t = 300)]
    pub store_check_seconds: u64,

    /// What ExternalSecrets may do to Secrets that they did not make: `eso`, as External Secrets has
    /// it, adopts them, merges into them and takes their keys; `consent` asks for an annotation on
    /// the Secret, as with SealedSecrets.
    #[arg(
        long,
        env = "SEALKIT_EXTERNAL_SECRETS_OWNERSHIP",
        value_enum,
        default_value_t = ExternalOwnership::Eso
    )]
    pub external_secrets_ownership: ExternalOwnership,

    /// Take over from External Secrets: a Secret that it left in sync is neither read from its store
    /// nor written before it is due, and its finalizers are removed. Stop it first, or serve other
    /// stores by --controller-class.
    #[arg(long, env = "SEALKIT_TAKE_OVER", default_value_t = false)]
    pub take_over: bool,

    /// With --once: change nothing, print what a take-over from External Secrets would change in each
    /// Secret, and end with exit code 1 unless that is nothing.
    #[arg(long, requires = "once")]
    pub observe: bool,

    /// With --observe: end after each object was looked at once.
    #[arg(long, requires = "observe")]
    pub once: bool,

    /// Let ClusterSecretStores without `auth` use the controller's own identity at their provider: in
    /// AWS that of its ServiceAccount, pod or node. Whoever may use such a store reads what that
    /// identity may read.
    #[arg(
        long,
        env = "SEALKIT_ALLOW_CONTROLLER_IDENTITY",
        default_value_t = false
    )]
    pub allow_controller_identity: bool,

    /// How often to look at the versions of secrets in Vault's KV engines of version 2 between
    /// refreshes, such as 30s: one small read for each key and store. A change is refreshed at once.
    /// By default, never.
    #[arg(long, env = "SEALKIT_WATCH_INTERVAL", value_parser = interval)]
    pub watch_interval: Option<Duration>,

    /// Restart workloads that ask for it by the annotation sealkit.dev/restart-on-change when values
    /// change that their pods read. Needs the rights of deploy/components/restart.
    #[arg(long, env = "SEALKIT_RESTART_WORKLOADS", default_value_t = false)]
    pub restart_workloads: bool,

    /// How long changes are collected before a workload is restarted, such as 10s: values that change
    /// together cause one rollout.
    #[arg(
        long,
        env = "SEALKIT_RESTART_WINDOW",
        default_value = "10s",
        value_parser = interval
    )]
    pub restart_window: Duration,

    /// Address on which to serve the validating webhook over HTTPS, such as 0.0.0.0:9443. By default,
    /// there is no webhook.
    #[arg(long, env = "SEALKIT_WEBHOOK_LISTEN")]
    pub webhook_listen: Option<SocketAddr>,

    /// Folder with `tls.crt` and `tls.key` of the webhook, whose keeper also tells the API servers
    /// whom to trust. By default, the controller does both itself.
    #[arg(long, env = "SEALKIT_WEBHOOK_CERT_DIR")]
    pub webhook_cert_dir: Option<PathBuf>,

    /// More host names and addresses under which API servers call the webhook, besides that of its
    /// Service.
    #[arg(long, env = "SEALKIT_WEBHOOK_NAMES", value_delimiter = ',')]
    pub webhook_names: Vec<String>,

    /// Seconds for which API servers get to know a new certificate authority of the webhook before it
    /// signs.
    #[arg(
        long,
        env = "SEALKIT_WEBHOOK_CA_OVERLAP_SECONDS",
        default_value_t = 300
    )]
    pub webhook_ca_overlap_seconds: u64,

    /// Folder, kept when the container restarts, for a note of what the controller works on: an
    /// object over which it died waits until others are served.
    #[arg(long, env = "SEALKIT_STATE_DIR")]
    pub state_dir: Option<PathBuf>,

    /// Filter for log lines, in the syntax of tracing's EnvFilter.
    #[arg(long, env = "SEALKIT_LOG", default_value = "info")]
    pub log: String,
}

/// What ExternalSecrets may do to Secrets that they did not make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ExternalOwnership {
    /// As External Secrets has it.
    #[default]
    Eso,
    /// What an annotation on the Secret consents to.
    Consent,
}

/// The administrator's rules for objects. They do not change while the controller runs.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The controller's own namespace, which may not have SealedSecrets.
    pub namespace: String,
    /// Scopes that SealedSecrets may have.
    pub allowed_scopes: Vec<Scope>,
    /// Prefixes of labels and annotations that templates may not set.
    pub deny_template_metadata: Vec<String>,
    /// Namespaces that consent to adoption and merging as a whole.
    pub adopt_namespaces: Vec<String>,
    /// What ExternalSecrets may do to Secrets that they did not make.
    pub external_ownership: ExternalOwnership,
    /// Does what External Secrets left count as ours?
    pub take_over: bool,
    /// May stores of the cluster use the controller's own identity?
    pub allow_controller_identity: bool,
    /// How long an object without a matching key counts as waiting for the key.
    pub key_grace: Duration,
    /// How often versions of secrets are looked at between refreshes.
    pub watch_interval: Option<Duration>,
}

impl Settings {
    /// The flags that set rules for objects.
    pub fn rules(&self) -> Rules {
        Rules {
            namespace: self.namespace.clone(),
            allowed_scopes: self.allowed_scopes.clone(),
            deny_template_metadata: self.deny_template_metadata.clone(),
            adopt_namespaces: self.adopt_namespaces.clone(),
            external_ownership: self.external_secrets_ownership,
            take_over: self.take_over,
            allow_controller_identity: self.allow_controller_identity,
            key_grace: Duration::from_secs(self.key_grace_seconds),
            watch_interval: self.watch_interval,
        }
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    duration(text)
        .filter(|interval| *interval >= Duration::from_secs(1))
        .ok_or_else(|| "must be a duration of at least a second, such as 30s".to_owned())
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    KeyType::from_name(name)
        .map(Algorithm::from)
        .ok_or_else(|| "must be mlkem768x25519 or X25519".to_owned())
}

fn scope(name: &str) -> Result<Scope, String> {
    name.parse()
        .map_err(|()| "must be strict, namespace-wide or cluster-wide".to_owned())
}
