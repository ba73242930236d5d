//! The kubeconfig: which context is in force, and its namespace.

use std::io;

use kube::Config;
use kube::config::{
    ExecAuthCluster, ExecInteractiveMode, KubeConfigOptions, Kubeconfig, KubeconfigError,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::args::GlobalArgs;
use crate::error::{CommandError, Result};
use crate::terminal::shown;

/// The namespace of the context in force, when there is a kubeconfig, and the context's name.
pub(crate) fn current_namespace(global: &GlobalArgs) -> Result<Option<(String, String)>> {
    let Some(kubeconfig) = read(global)? else {
        return Ok(None);
    };
    let Some(name) = global.context.clone().or(kubeconfig.current_context) else {
        return Ok(None);
    };
    let context = kubeconfig
        .contexts
        .into_iter()
        .find(|context| context.name == name);
    let Some(context) = context.and_then(|named| named.context) else {
        return Ok(None);
    };
    let namespace = context.namespace.filter(|namespace| !namespace.is_empty());
    Ok(Some((
        namespace.unwrap_or_else(|| "default".to_owned()),
        name,
    )))
}

/// Is there a kubeconfig with a context in force?
pub(crate) fn is_configured(global: &GlobalArgs) -> Result<bool> {
    let Some(kubeconfig) = read(global)? else {
        return Ok(false);
    };
    let current = kubeconfig
        .current_context
        .filter(|context| !context.is_empty());
    Ok(global.context.is_some() || current.is_some())
}

/// The kubeconfig, or nothing where there is none. As kubectl, a list in `KUBECONFIG` may name
/// files that are not there.
pub(crate) fn read(global: &GlobalArgs) -> Result<Option<Kubeconfig>> {
    if let Some(path) = &global.kubeconfig {
        return Kubeconfig::read_from(path)
            .map(Some)
            .map_err(|error| refusal(&error).on(shown(path)));
    }
    let listed: Vec<_> = std::env::var_os("KUBECONFIG")
        .map(|paths| {
            std::env::split_paths(&paths)
                .filter(|path| !path.as_os_str().is_empty())
                .collect()
        })
        .unwrap_or_default();
    let read = if listed.is_empty() {
        Kubeconfig::read()
    } else {
        let present: Vec<_> = listed.iter().filter(|path| path.exists()).collect();
        if present.is_empty() {
            return Ok(None);
        }
        present
            .into_iter()
            .try_fold(Kubeconfig::default(), |merged, path| {
                Kubeconfig::read_from(path).and_then(|next| merged.merge(next))
            })
    };
    match read {
        Ok(kubeconfig) => Ok(Some(kubeconfig)),
        Err(KubeconfigError::FindPath) => Ok(None),
        Err(KubeconfigError::ReadConfig(error, _)) if error.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(refusal(&error).on("the kubeconfig")),
    }
}

/// Keeps stdin from the credential plugins: what is piped in may be a secret, and it is meant for us.
/// As for kubectl, a plugin gets a terminal or nothing.
pub(super) fn keep_stdin(kubeconfig: &mut Kubeconfig) {
    let users = kubeconfig.auth_infos.iter_mut();
    for user in users.filter_map(|named| named.auth_info.as_mut()) {
        if let Some(plugin) = &mut user.exec {
            plugin.interactive_mode = Some(ExecInteractiveMode::Never);
        }
    }
}

/// The configuration of a context, whatever the variables of proxies say: the library refuses a
/// `NO_PROXY` with an empty entry, which others pass over. The proxy in it is to be replaced.
pub(super) async fn config(kubeconfig: &Kubeconfig, context: &str) -> Result<Config> {
    let options = KubeConfigOptions {
        context: Some(context.to_owned()),
        ..Default::default()
    };
    match Config::from_custom_kubeconfig(kubeconfig.clone(), &options).await {
        Err(error @ (KubeconfigError::ParseProxyUrl(_) | KubeconfigError::ParseNoProxy(_))) => {
            // The library reads these last: everything else is right.
            without_proxies(kubeconfig, context).ok_or_else(|| refusal(&error))
        }
        read => read.map_err(|error| refusal(&error)),
    }
}

fn without_proxies(kubeconfig: &Kubeconfig, context: &str) -> Option<Config> {
    let mut contexts = kubeconfig.contexts.iter();
    let context = contexts.find(|named| named.name == context)?;
    let context = context.context.as_ref()?;
    let mut clusters = kubeconfig.clusters.iter();
    let cluster = clusters.find(|named| named.name == context.cluster)?;
    let cluster = cluster.cluster.as_ref()?;
    let mut users = kubeconfig.auth_infos.iter();
    let user = users.find(|named| Some(&named.name) == context.user.as_ref());
    let mut user = user
        .and_then(|named| named.auth_info.clone())
        .unwrap_or_default();
    let told = ExecAuthCluster::try_from(cluster).ok()?;
    let mut config = Config::new(cluster.server.as_ref()?.parse().ok()?);
    if let Some(pem) = &told.certificate_authority_data {
        let certificates = CertificateDer::pem_slice_iter(pem);
        let certificates = certificates.map(|one| one.map(|one| one.to_vec()));
        config.root_cert = Some(certificates.collect::<std::result::Result<_, _>>().ok()?);
    }
    if let Some(plugin) = user
        .exec
        .as_mut()
        .filter(|plugin| plugin.provide_cluster_info)
    {
        plugin.cluster = Some(told);
    }
    config.auth_info = user;
    if let Some(namespace) = &context.namespace {
        config.default_namespace.clone_from(namespace);
    }
    config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or_default();
    config.disable_compression = cluster.disable_compression.unwrap_or_default();
    config.tls_server_name.clone_from(&cluster.tls_server_name);
    Some(config)
}

/// The library's own text may quote the file, tokens included.
fn refusal(error: &KubeconfigError) -> CommandError {
    let what = match error {
        KubeconfigError::CurrentContextNotSet => "no current context",
        KubeconfigError::LoadContext(_) => "no such context in the kubeconfig",
        KubeconfigError::LoadClusterOfContext(_) => {
            "the context's cluster is not in the kubeconfig"
        }
        KubeconfigError::ReadConfig(..) => "the kubeconfig cannot be read",
        KubeconfigError::Parse(_) => "not a kubeconfig",
        KubeconfigError::MissingClusterUrl | KubeconfigError::ParseClusterUrl(_) => {
            "the context's cluster has no valid server URL"
        }
        KubeconfigError::LoadCertificateAuthority(_) | KubeconfigError::ParseCertificates(_) => {
            "the context's certificate authority cannot be read"
        }
        KubeconfigError::LoadClientCertificate(_) | KubeconfigError::LoadClientKey(_) => {
            "the context's client certificate cannot be read"
        }
        _ => "the kubeconfig cannot be used",
    };
    CommandError::cluster(what).hint("`kubectl config get-contexts` lists the contexts")
}
