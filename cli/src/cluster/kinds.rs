//! The kinds that controllers make Secrets of, and what they need: ours, those of External Secrets,
//! and the SealedSecrets of `bitnami.com`.

use std::fmt;

use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use sealkit_core::api::readiness::Dialect;
use sealkit_core::names::printable;

use super::{Cluster, PAGE, TIMEOUT, answer_error, timed_out};
use crate::error::{CommandError, Result};

/// A kind whose objects are waited for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SecretsKind {
    /// API group.
    pub group: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Plural.
    pub plural: &'static str,
    /// Other words for it on a command line.
    words: &'static [&'static str],
    /// Is it an object of a namespace?
    pub namespaced: bool,
    /// How its status is read.
    pub dialect: Dialect,
    /// When it is applied; kinds of one stage do not need each other. `None`: never.
    pub stage: Option<Stage>,
}

/// The order of applying: whatever is needed comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// SealedSecrets need nothing; stores may need their Secrets.
    Sealed,
    /// Stores.
    Stores,
    /// What reads stores.
    External,
}

const SEALKIT: &str = sealkit_core::api::GROUP;
/// The group of External Secrets.
pub(super) const EXTERNAL: &str = sealkit_core::api::external::GROUP;
const BITNAMI: &str = "bitnami.com";

/// The first of [`KINDS`].
pub(super) const SEALED_SECRET: &SecretsKind = &KINDS[0];

/// All of them. A word that several share means the first.
pub(crate) static KINDS: [SecretsKind; 7] = [
    SecretsKind {
        group: SEALKIT,
        kind: "SealedSecret",
        plural: "sealedsecrets",
        words: &["sealedsecret", "seal"],
        namespaced: true,
        dialect: Dialect::Sealkit,
        stage: Some(Stage::Sealed),
    },
    SecretsKind {
        group: SEALKIT,
        kind: "SealingKey",
        plural: "sealingkeys",
        words: &["sealingkey"],
        namespaced: false,
        dialect: Dialect::Sealkit,
        stage: None,
    },
    SecretsKind {
        group: EXTERNAL,
        kind: "ExternalSecret",
        plural: "externalsecrets",
        words: &["externalsecret", "es"],
        namespaced: true,
        dialect: Dialect::ExternalSecret,
        stage: Some(Stage::External),
    },
    SecretsKind {
        group: EXTERNAL,
        kind: "SecretStore",
        plural: "secretstores",
        words: &["secretstore", "ss"],
        namespaced: true,
        dialect: Dialect::Ungenerated,
        stage: Some(Stage::Stores),
    },
    SecretsKind {
        group: EXTERNAL,
        kind: "ClusterSecretStore",
        plural: "clustersecretstores",
        words: &["clustersecretstore", "css"],
        namespaced: false,
        dialect: Dialect::Ungenerated,
        stage: Some(Stage::Stores),
    },
    SecretsKind {
        group: EXTERNAL,
        kind: "ClusterExternalSecret",
        plural: "clusterexternalsecrets",
        words: &["clusterexternalsecret", "ces"],
        namespaced: false,
        dialect: Dialect::Ungenerated,
        stage: Some(Stage::External),
    },
    SecretsKind {
        group: BITNAMI,
        kind: "SealedSecret",
        plural: "sealedsecrets",
        words: &["sealedsecret"],
        namespaced: true,
        dialect: Dialect::BitnamiSealedSecret,
        stage: Some(Stage::Sealed),
    },
];

impl SecretsKind {
    /// The kind of a manifest, whatever the version.
    pub fn of_manifest(api_version: &str, kind: &str) -> Option<&'static Self> {
        let (group, _) = api_version.split_once('/')?;
        KINDS
            .iter()
            .find(|known| known.group == group && known.kind == kind)
    }

    /// The kind that a person means: `sealedsecret`, `es` or `sealedsecrets.bitnami.com`.
    pub fn of_word(word: &str) -> Option<&'static Self> {
        let word = word.to_ascii_lowercase();
        let (word, group) = match word.split_once('.') {
            None => (word.as_str(), None),
            // As kubectl: a version may stand before the group.
            Some((word, group)) => (word, Some(group)),
        };
        KINDS.iter().find(|known| {
            (known.plural == word || known.words.contains(&word))
                && group.is_none_or(|group| {
                    group == known.group
                        || group
                            .split_once('.')
                            .is_some_and(|(_, group)| group == known.group)
                })
        })
    }

    /// Who may read it.
    const fn reader(&self) -> &'static str {
        match (self.dialect, self.namespaced) {
            (Dialect::Sealkit, true) => "the ClusterRole sealkit-view allows it",
            (Dialect::ExternalSecret | Dialect::Ungenerated, true) => {
                "the ClusterRole sealkit-external-view allows it"
            }
            _ => "ask who runs the cluster for the right to list and watch it",
        }
    }

    /// Plural and group, as in rules of RBAC.
    pub fn resource(&self) -> String {
        format!("{}.{}", self.plural, self.group)
    }

    /// How the API server finds it.
    pub fn api_resource(&self, version: &str) -> ApiResource {
        let kind = GroupVersionKind::gvk(self.group, version, self.kind);
        ApiResource::from_gvk_with_plural(&kind, self.plural)
    }
}

/// The kind, and for the second one of a name its group.
impl fmt::Display for SecretsKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group == BITNAMI {
            write!(f, "{}.{BITNAMI}", self.kind)
        } else {
            f.write_str(self.kind)
        }
    }
}

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObjectKey {
    /// Its kind.
    pub kind: &'static SecretsKind,
    /// Empty for objects of the cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectKey {
    fn order(&self) -> (Option<Stage>, &str, &str, &str, &str) {
        let Self {
            kind,
            namespace,
            name,
        } = self;
        (kind.stage, namespace, name, kind.kind, kind.group)
    }
}

impl PartialOrd for ObjectKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ObjectKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.namespace.is_empty() { "" } else { "/" };
        let place = printable(&format!("{}{slash}{}", self.namespace, self.name));
        write!(f, "{} {place}", self.kind)
    }
}

/// The kinds that a cluster serves, each with how to find it.
pub(crate) struct Served(Vec<(&'static SecretsKind, ApiResource)>);

impl Served {
    /// How to find a kind; `None` if the cluster does not have it.
    pub fn find(&self, kind: &SecretsKind) -> Option<&ApiResource> {
        let found = self.0.iter().find(|(served, _)| *served == kind);
        found.map(|(_, resource)| resource)
    }
}

impl Cluster {
    /// Asks which of [`KINDS`] the cluster serves.
    pub fn served(&self) -> Result<Served> {
        let found = async {
            let groups = self.client.list_api_groups().await?;
            let mut served = Vec::new();
            for group in groups.groups {
                let version = group
                    .preferred_version
                    .or_else(|| group.versions.into_iter().next());
                let known = KINDS.iter().any(|kind| kind.group == group.name);
                let Some(version) = version.filter(|_| known) else {
                    continue;
                };
                let resources = self
                    .client
                    .list_api_group_resources(&version.group_version)
                    .await?;
                let has = |kind: &SecretsKind| {
                    let mut resources = resources.resources.iter();
                    kind.group == group.name && resources.any(|one| one.name == kind.plural)
                };
                for kind in KINDS.iter().filter(|kind| has(kind)) {
                    served.push((kind, kind.api_resource(&version.version)));
                }
            }
            Ok(Served(served))
        };
        let role = "every authenticated user normally has it, by the ClusterRole system:discovery";
        self.call(
            found,
            "not allowed to ask which kinds the cluster has",
            role,
        )
    }

    /// Reads all objects of a kind, or those of a namespace, page by page.
    pub(super) fn each(
        &self,
        kind: &'static SecretsKind,
        resource: &ApiResource,
        namespace: Option<&str>,
        mut read: impl FnMut(ObjectKey, &DynamicObject),
    ) -> Result<()> {
        let client = self.client.clone();
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) if kind.namespaced => Api::namespaced_with(client, namespace, resource),
            _ => Api::all_with(client, resource),
        };
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let page = self.runtime.block_on(async {
                let list = self.patiently(|| api.list(&params));
                let answer = tokio::time::timeout(TIMEOUT * 2, list).await;
                answer.map_err(|_| timed_out().on(self.title()))
            })?;
            let page = page.map_err(|error| self.unread(&error, "list", kind, namespace))?;
            for object in &page.items {
                let key = ObjectKey {
                    kind,
                    namespace: object.metadata.namespace.clone().unwrap_or_default(),
                    name: object.metadata.name.clone().unwrap_or_default(),
                };
                read(key, object);
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(()),
            }
        }
    }

    /// The error for an object whose kind the cluster does not have.
    pub fn no_kind(&self, key: &ObjectKey) -> CommandError {
        CommandError::cluster(format_args!(
            "the cluster has no kind {} ({})",
            key.kind.kind, key.kind.group
        ))
        .on(format_args!("{key}, {}", self.title()))
        .hint("install its CustomResourceDefinition and controller first, or choose another cluster with --context")
    }

    /// Why reading a kind failed: the verb, the resource and the place where a right is missing.
    pub(super) fn unread(
        &self,
        error: &kube::Error,
        verb: &str,
        kind: &SecretsKind,
        namespace: Option<&str>,
    ) -> CommandError {
        let place = namespace.map_or_else(
            || "in all namespaces".to_owned(),
            |namespace| format!("in the namespace {}", printable(namespace)),
        );
        let place = if kind.namespaced {
            format!(" {place}")
        } else {
            String::new()
        };
        match error {
            kube::Error::Api(status) if status.code == 403 => {
                let error = CommandError::cluster(format_args!(
                    "not allowed to {verb} {}{place}",
                    kind.resource()
                ))
                .hint(kind.reader());
                if namespace.is_none() {
                    error.hint("or look at one namespace alone: -n NAME")
                } else {
                    error
                }
            }
            error => answer_error(error),
        }
        .on(self.title())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_words_of_kubectl() {
        let word = |word: &str| SecretsKind::of_word(word).map(ToString::to_string);
        for (given, kind) in [
            ("sealedsecret", "SealedSecret"),
            ("SealedSecrets", "SealedSecret"),
            ("seal", "SealedSecret"),
            ("sealedsecrets.sealkit.dev", "SealedSecret"),
            ("sealedsecrets.v1beta1.sealkit.dev", "SealedSecret"),
            ("sealedsecret.bitnami.com", "SealedSecret.bitnami.com"),
            ("es", "ExternalSecret"),
            ("css", "ClusterSecretStore"),
        ] {
            assert_eq!(word(given).as_deref(), Some(kind), "{given}");
        }
        for given in ["secret", "es.sealkit.dev", "", "sealedsecrets.example.com"] {
            assert_eq!(word(given), None, "{given}");
        }
        let manifest = |version, kind| SecretsKind::of_manifest(version, kind);
        assert!(manifest("external-secrets.io/v1beta1", "SecretStore").is_some());
        assert!(manifest("bitnami.com/v1alpha1", "SealedSecret").is_some());
        assert!(manifest("v1", "Secret").is_none());
        assert!(manifest("example.com/v1", "SealedSecret").is_none());
    }
}
