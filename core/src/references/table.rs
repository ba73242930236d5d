//! Custom resources that name Secrets: those of Flux, Argo CD, External Secrets, and operators that
//! many clusters have.

use super::text;
use crate::manifest::Node;

/// Where objects of a kind name a Secret.
pub(super) struct Row {
    group: &'static str,
    /// Kinds, separated by spaces.
    kinds: &'static str,
    /// Fields down to the map with the name; `[]` stands for each item of a list, `*` for each
    /// field of a map.
    pub path: &'static str,
    /// The field of the name.
    pub name: &'static str,
    /// Which of its keys.
    pub key: Key,
    /// Something outside of Git makes it, as a rule.
    pub is_outside: bool,
}

/// Which key is used.
pub(super) enum Key {
    /// The whole Secret, or whatever the program looks for in it.
    All,
    /// The one in this field; without it, this one.
    Field(&'static str, &'static str),
}

impl Key {
    /// The key of a reference.
    pub fn of<'a>(&self, reference: &'a Node) -> Option<&'a str> {
        let Self::Field(field, default) = self else {
            return None;
        };
        let key = text(reference, &[field]);
        let key = if key.is_empty() { default } else { key };
        (!key.is_empty()).then_some(key)
    }
}

const fn row(group: &'static str, kinds: &'static str, path: &'static str) -> Row {
    let (name, key, is_outside) = ("name", Key::All, false);
    Row {
        group,
        kinds,
        path,
        name,
        key,
        is_outside,
    }
}

impl Row {
    /// With `name` and `key` in one map.
    const fn keyed(self) -> Self {
        self.key("key", "")
    }

    const fn key(self, field: &'static str, default: &'static str) -> Self {
        let key = Key::Field(field, default);
        Self { key, ..self }
    }

    const fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    const fn outside(self) -> Self {
        let is_outside = true;
        Self { is_outside, ..self }
    }

    /// Group and kind of an object that it is for.
    #[cfg(test)]
    pub fn example(&self) -> (&str, &str) {
        (self.group, self.kinds.split(' ').next().unwrap_or_default())
    }

    /// Is it about objects of this kind?
    pub fn is_for(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kinds.split(' ').any(|it| it == kind)
    }
}

const FLUX_SOURCE: &str = "source.toolkit.fluxcd.io";
const SOURCES: &str = "GitRepository OCIRepository HelmRepository HelmChart Bucket";
const FLUX_IMAGE: &str = "image.toolkit.fluxcd.io";
const FLUX_HOOKS: &str = "notification.toolkit.fluxcd.io";
const STORES: &str = "SecretStore ClusterSecretStore";
const ISSUERS: &str = "Issuer ClusterIssuer";
const PROMETHEUS: &str = "monitoring.coreos.com";
const MONITORS: &str = "ServiceMonitor PodMonitor";
const CNPG: &str = "postgresql.cnpg.io";

/// All of them.
pub(super) const ROWS: &[Row] = &[
    row("helm.toolkit.fluxcd.io", "HelmRelease", "spec.valuesFrom[]")
        .key("valuesKey", "values.yaml"),
    row(
        "helm.toolkit.fluxcd.io",
        "HelmRelease",
        "spec.chart.spec.verify.secretRef",
    ),
    row(
        "helm.toolkit.fluxcd.io",
        "HelmRelease",
        "spec.kubeConfig.secretRef",
    )
    .outside(),
    row(
        "kustomize.toolkit.fluxcd.io",
        "Kustomization",
        "spec.decryption.secretRef",
    )
    .outside(),
    row(
        "kustomize.toolkit.fluxcd.io",
        "Kustomization",
        "spec.kubeConfig.secretRef",
    )
    .outside(),
    row(
        "kustomize.toolkit.fluxcd.io",
        "Kustomization",
        "spec.postBuild.substituteFrom[]",
    ),
    row(FLUX_SOURCE, SOURCES, "spec.secretRef"),
    row(FLUX_SOURCE, SOURCES, "spec.certSecretRef"),
    row(FLUX_SOURCE, SOURCES, "spec.proxySecretRef"),
    row(FLUX_SOURCE, SOURCES, "spec.verify.secretRef"),
    row(FLUX_IMAGE, "ImageRepository", "spec.secretRef"),
    row(FLUX_IMAGE, "ImageRepository", "spec.certSecretRef"),
    row(
        FLUX_IMAGE,
        "ImageUpdateAutomation",
        "spec.git.commit.signingKey.secretRef",
    ),
    row(FLUX_HOOKS, "Provider", "spec.secretRef"),
    row(FLUX_HOOKS, "Provider", "spec.certSecretRef"),
    row(FLUX_HOOKS, "Receiver", "spec.secretRef"),
    row(
        "argoproj.io",
        "ApplicationSet",
        "spec.generators[].scmProvider.*.tokenRef",
    )
    .named("secretName")
    .keyed(),
    row(
        "argoproj.io",
        "ApplicationSet",
        "spec.generators[].pullRequest.*.tokenRef",
    )
    .named("secretName")
    .keyed(),
    row(
        "external-secrets.io",
        STORES,
        "spec.provider.vault.auth.tokenSecretRef",
    )
    .keyed(),
    row(
        "external-secrets.io",
        STORES,
        "spec.provider.vault.auth.appRole.secretRef",
    )
    .keyed(),
    row(
        "external-secrets.io",
        STORES,
        "spec.provider.vault.auth.userPass.secretRef",
    )
    .keyed(),
    row(
        "external-secrets.io",
        STORES,
        "spec.provider.aws.auth.secretRef.*",
    )
    .keyed(),
    row(
        "external-secrets.io",
        STORES,
        "spec.provider.gcpsm.auth.secretRef.secretAccessKeySecretRef",
    )
    .keyed(),
    row(
        "external-secrets.io",
        STORES,
        "spec.provider.azurekv.authSecretRef.*",
    )
    .keyed(),
    row("external-secrets.io", "PushSecret", "spec.selector.secret"),
    row("cert-manager.io", ISSUERS, "spec.ca").named("secretName"),
    row("cert-manager.io", ISSUERS, "spec.vault.auth.tokenSecretRef").keyed(),
    row(
        "cert-manager.io",
        ISSUERS,
        "spec.vault.auth.appRole.secretRef",
    )
    .keyed(),
    row(
        "cert-manager.io",
        ISSUERS,
        "spec.acme.externalAccountBinding.keySecretRef",
    )
    .keyed(),
    row(
        "cert-manager.io",
        ISSUERS,
        "spec.acme.solvers[].dns01.*.apiTokenSecretRef",
    )
    .keyed(),
    row(
        "cert-manager.io",
        ISSUERS,
        "spec.acme.solvers[].dns01.*.apiKeySecretRef",
    )
    .keyed(),
    row(
        "cert-manager.io",
        ISSUERS,
        "spec.acme.solvers[].dns01.*.secretAccessKeySecretRef",
    )
    .keyed(),
    row(
        "cert-manager.io",
        ISSUERS,
        "spec.acme.solvers[].dns01.*.clientSecretSecretRef",
    )
    .keyed(),
    row(
        "cert-manager.io",
        ISSUERS,
        "spec.acme.solvers[].dns01.*.serviceAccountSecretRef",
    )
    .keyed(),
    row(PROMETHEUS, "Prometheus", "spec.additionalScrapeConfigs").keyed(),
    row(PROMETHEUS, "Prometheus", "spec.remoteWrite[].basicAuth.*").keyed(),
    row(PROMETHEUS, "Alertmanager", "spec").named("configSecret"),
    row(PROMETHEUS, MONITORS, "spec.endpoints[].basicAuth.*").keyed(),
    row(
        PROMETHEUS,
        MONITORS,
        "spec.endpoints[].authorization.credentials",
    )
    .keyed(),
    row(PROMETHEUS, MONITORS, "spec.endpoints[].bearerTokenSecret").keyed(),
    row(
        PROMETHEUS,
        MONITORS,
        "spec.podMetricsEndpoints[].basicAuth.*",
    )
    .keyed(),
    row(CNPG, "Cluster", "spec.superuserSecret"),
    row(CNPG, "Cluster", "spec.bootstrap.*.secret"),
    row(
        CNPG,
        "Cluster",
        "spec.backup.barmanObjectStore.s3Credentials.*",
    )
    .keyed(),
    row(CNPG, "Cluster", "spec.externalClusters[].password").keyed(),
    row(CNPG, "Cluster", "spec.managed.roles[].passwordSecret"),
    row(
        "keda.sh",
        "TriggerAuthentication ClusterTriggerAuthentication",
        "spec.secretTargetRef[]",
    )
    .keyed(),
    row("traefik.io", "IngressRoute IngressRouteTCP", "spec.tls").named("secretName"),
    row("traefik.io", "TLSStore", "spec.defaultCertificate").named("secretName"),
    row("traefik.io", "Middleware", "spec.basicAuth").named("secret"),
    row("projectcontour.io", "HTTPProxy", "spec.virtualhost.tls").named("secretName"),
    row(
        "velero.io",
        "BackupStorageLocation VolumeSnapshotLocation",
        "spec.credential",
    )
    .keyed(),
    row(
        "kafka.strimzi.io",
        "KafkaUser",
        "spec.authentication.password.valueFrom.secretKeyRef",
    )
    .keyed(),
];

/// The maps at the path of a row.
pub(super) fn references<'a>(root: &'a Node, path: &str) -> Vec<&'a Node> {
    let mut nodes = vec![root];
    for part in path.split('.') {
        let (field, is_list) = part
            .strip_suffix("[]")
            .map_or((part, false), |it| (it, true));
        let below = nodes.into_iter().flat_map(|node| -> Vec<&Node> {
            if field == "*" {
                return node.entries().into_iter().map(|(_, value)| value).collect();
            }
            match node.get(field) {
                Some(list) if is_list => list.items().iter().collect(),
                below => below.into_iter().collect(),
            }
        });
        nodes = below.collect();
    }
    nodes
}
