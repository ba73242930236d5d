//! Labels and annotations by which other programs of GitOps steer or track an object. What steers
//! belongs on the SealedSecret, which they apply; what tracks belongs on neither: whoever finds it
//! on the Secret takes it for theirs, and may delete it.

/// What another program reads a label or annotation for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// How the object is applied: order, options, whether it is pruned.
    Steering,
    /// That the object is applied only at a moment of a rollout, and perhaps deleted afterwards.
    Hook,
    /// Whose the object is.
    Tracking,
}

/// Names, and prefixes that end with `/` or `.`.
const MARKS: [(Mark, &[&str]); 3] = [
    (
        Mark::Hook,
        &[
            "argocd.argoproj.io/hook",
            "argocd.argoproj.io/hook-delete-policy",
            "helm.sh/hook",
            "helm.sh/hook-delete-policy",
            "helm.sh/hook-weight",
        ],
    ),
    (
        Mark::Steering,
        &[
            "argocd.argoproj.io/compare-options",
            "argocd.argoproj.io/ignore-healthcheck",
            "argocd.argoproj.io/ignore-resource-updates",
            "argocd.argoproj.io/sync-options",
            "argocd.argoproj.io/sync-wave",
            "config.kubernetes.io/depends-on",
            "config.kubernetes.io/local-config",
            "helm.sh/resource-policy",
            "helm.toolkit.fluxcd.io/driftDetection",
            "kapp.k14s.io/change-group",
            "kapp.k14s.io/change-group.",
            "kapp.k14s.io/change-rule",
            "kapp.k14s.io/change-rule.",
            "kapp.k14s.io/create-strategy",
            "kapp.k14s.io/delete-strategy",
            "kapp.k14s.io/exists",
            "kapp.k14s.io/noop",
            "kapp.k14s.io/nonce",
            "kapp.k14s.io/update-strategy",
            "kapp.k14s.io/versioned",
            "kustomize.toolkit.fluxcd.io/force",
            "kustomize.toolkit.fluxcd.io/prune",
            "kustomize.toolkit.fluxcd.io/reconcile",
            "kustomize.toolkit.fluxcd.io/ssa",
            "kustomize.toolkit.fluxcd.io/substitute",
        ],
    ),
    (
        Mark::Tracking,
        &[
            "applyset.kubernetes.io/",
            "argocd.argoproj.io/installation-id",
            "argocd.argoproj.io/instance",
            "argocd.argoproj.io/tracking-id",
            "helm.toolkit.fluxcd.io/name",
            "helm.toolkit.fluxcd.io/namespace",
            "internal.config.kubernetes.io/",
            "kapp.k14s.io/app",
            "kapp.k14s.io/association",
            "kapp.k14s.io/identity",
            "kapp.k14s.io/original",
            "kapp.k14s.io/original-diff-md5",
            "kubectl.kubernetes.io/",
            "kustomize.toolkit.fluxcd.io/checksum",
            "kustomize.toolkit.fluxcd.io/name",
            "kustomize.toolkit.fluxcd.io/namespace",
            "meta.helm.sh/",
            "objectset.rio.cattle.io/",
        ],
    ),
];

/// What a label or annotation of this name means to another program, if anything.
pub fn mark(name: &str) -> Option<Mark> {
    let is =
        |entry: &&str| name == *entry || (entry.ends_with(['/', '.']) && name.starts_with(*entry));
    let found = MARKS.iter().find(|(_, names)| names.iter().any(is));
    found.map(|(mark, _)| *mark)
}

/// Does this label of a Secret that was taken from a cluster or rendered by Helm say whose it is?
/// These names are also in common use for other purposes, so that templates may set them.
pub fn is_borrowed_label(name: &str, value: &str) -> bool {
    name == "app.kubernetes.io/instance"
        || (name == "app.kubernetes.io/managed-by" && value == "Helm")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_prefixes_are_told_apart() {
        for (name, expected) in [
            ("argocd.argoproj.io/sync-wave", Some(Mark::Steering)),
            ("argocd.argoproj.io/hook", Some(Mark::Hook)),
            ("argocd.argoproj.io/tracking-id", Some(Mark::Tracking)),
            ("kapp.k14s.io/change-rule.2", Some(Mark::Steering)),
            ("kapp.k14s.io/change-rules", None),
            ("meta.helm.sh/release-name", Some(Mark::Tracking)),
            ("argocd.argoproj.io/secret-type", None),
            ("helm.sh/chart", None),
            ("app.kubernetes.io/instance", None),
        ] {
            assert_eq!(mark(name), expected, "{name}");
        }
    }
}
