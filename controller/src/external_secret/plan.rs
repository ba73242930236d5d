//! Decides what to do for an object by its spec alone, and what the Secret is to be.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use sealkit_core::api::external::{
    CLUSTER_FORCE_SYNC, CreationPolicy, ExternalSecretSpec, FORCE_SYNC, rules as external_rules,
};
use sealkit_core::api::{Reason, rules};
use sealkit_core::names;
use sealkit_core::sealed::size_class;
use serde_json::Value;

use super::fetch::stores_of;
use super::recall::slot;
use super::schedule::Slot;
use super::template::Rendered;
use super::{EXTERNAL_SECRET, ExternalSecretObject, ExternalSecrets, Known, schedule};
use crate::admission::Verdict;
use crate::object::Origin;
use crate::secret::{Consent, Desired, Ownership, Revision, Rights, Values};
use crate::secret_store::StoreName;
use crate::settings::{ExternalOwnership, Rules};
use crate::status::Outcome;

/// Labels and annotations that mark the resource for a tool, which would take a Secret with them for
/// its own.
const TRACKING: [&str; 4] = [
    "argocd.argoproj.io/",
    "app.kubernetes.io/instance",
    "kustomize.toolkit.fluxcd.io/",
    "kubectl.kubernetes.io/last-applied-configuration",
];

/// What to do for one object.
pub(super) struct Plan {
    pub(super) origin: Origin,
    pub(super) spec: ExternalSecretSpec,
    /// Fingerprint of the spec.
    pub(super) content: String,
    /// Name of the Secret.
    pub(super) target: String,
    pub(super) stores: Vec<StoreName>,
    /// Who reads the same.
    pub(super) slot: Slot,
    /// How long a read may be shared.
    pub(super) window: Duration,
    /// How often it is refreshed.
    pub(super) interval: Option<Duration>,
    /// The next refresh, from now.
    pub(super) next: Option<Duration>,
    /// What the source may do to Secrets of others.
    pub(super) ownership: ExternalOwnership,
}

impl Plan {
    pub(super) fn owner(&self) -> Ownership {
        match self.spec.target.creation_policy {
            CreationPolicy::Orphan => Ownership::Orphan,
            CreationPolicy::Merge => Ownership::Merge,
            CreationPolicy::CreateOrMerge => Ownership::CreateOrMerge,
            // It is never asked for a Secret with None.
            CreationPolicy::Owner | CreationPolicy::None => Ownership::Owner,
        }
    }

    /// This source's own Secret of a name, to be deleted.
    pub(super) fn own(&self, object: &ExternalSecretObject, name: &str) -> Desired {
        Desired {
            name: name.to_owned(),
            adopt: false,
            rights: Rights::Lasting,
            ..self.desired(object, Rendered::default())
        }
    }

    pub(super) fn desired(&self, object: &ExternalSecretObject, made: Rendered) -> Desired {
        Desired {
            origin: self.origin.clone(),
            name: self.target.clone(),
            revision: Revision {
                generation: object.generation(),
                content: self.content.clone(),
                // They are compared when they are written.
                values: Values::Same,
            },
            ownership: self.owner(),
            adopt: true,
            consent: match self.ownership {
                ExternalOwnership::Eso => Consent::Given,
                ExternalOwnership::Consent => Consent::ByAnnotation,
            },
            rights: match self.ownership {
                ExternalOwnership::Eso => Rights::Wide,
                ExternalOwnership::Consent => Rights::Lasting,
            },
            secret_type: made.secret_type,
            immutable: self.spec.target.immutable,
            labels: made.labels,
            annotations: made.annotations,
            public_bytes: made
                .data
                .values()
                .map(|value| size_class(value.len()))
                .sum(),
            data: made.data,
        }
    }
}

/// Why a spec is no plan, and the stores that it names all the same.
pub(super) type NoPlan = (Outcome, Vec<StoreName>);

/// The stores that a spec names, whether or not it is a plan.
pub(super) fn stores_named(plan: &Result<Plan, NoPlan>) -> &[StoreName] {
    match plan {
        Ok(plan) => &plan.stores,
        Err((_, stores)) => stores,
    }
}

impl ExternalSecrets {
    /// Is one of these a store of another class of controllers?
    pub(super) fn are_foreign(&self, stores: &[StoreName]) -> bool {
        stores.iter().any(|store| self.stores.is_foreign(store))
    }

    /// Decides what to do, by the spec alone.
    pub(super) fn plan(
        &self,
        object: &ExternalSecretObject,
        known: &Known,
    ) -> Result<Plan, NoPlan> {
        let invalid = |what: String| (Outcome::Stalled(Reason::InvalidSpec, what), Vec::new());
        let origin = object.origin(EXTERNAL_SECRET);
        let text = object.spec().value;
        let content = names::digest(text.to_string().as_bytes());
        let spec = read(text).map_err(invalid)?;
        let stores = stores_of(&spec, &origin.namespace);
        let interval = match check(&origin.namespace, &spec, &self.context.rules) {
            Ok(interval) => interval,
            Err((reason, what)) => return Err((Outcome::Stalled(reason, what), stores)),
        };
        let slot = slot(&spec, &stores);
        let next = interval.map(|interval| slot.next(interval, SystemTime::now()));
        Ok(Plan {
            target: if spec.target.name.is_empty() {
                origin.name.clone()
            } else {
                spec.target.name.clone()
            },
            window: if known.own.forced {
                Duration::ZERO
            } else {
                schedule::window(interval)
            },
            spec,
            content,
            interval,
            next,
            slot,
            stores,
            origin,
            ownership: self.context.rules.external_ownership,
        })
    }

    /// Labels or annotations of the resource that go to the Secret if it has no template, as with
    /// External Secrets. Those that a template may not set stay where they are.
    pub(super) fn copied(
        &self,
        all: Option<&BTreeMap<String, String>>,
    ) -> BTreeMap<String, String> {
        let denied = &self.context.rules.deny_template_metadata;
        let is_denied = |name: &str| {
            is_for_a_tool(name)
                || rules::is_refused_metadata(name)
                || denied.iter().any(|prefix| name.starts_with(prefix))
        };
        let kept = all
            .into_iter()
            .flatten()
            .filter(|(name, _)| !is_denied(name));
        kept.map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}

/// What the webhook says of an object. What Sealkit does not serve may be meant for another controller.
pub fn verdict(object: &ExternalSecretObject, rules: &Rules) -> Verdict {
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let spec = match read(object.spec().value) {
        Ok(spec) => spec,
        Err(what) => return Verdict::Denied(Reason::InvalidSpec.name(), what),
    };
    if let Some(what) = external_rules::unserved(&spec) {
        return Verdict::Warned(format!("{what} is not served by Sealkit"));
    }
    match check(namespace, &spec, rules) {
        Ok(_) => Verdict::Allowed,
        Err((reason, what)) => Verdict::Denied(reason.name(), what),
    }
}

/// Reads a spec. Error: what is wrong with it.
pub(super) fn read(text: Value) -> Result<ExternalSecretSpec, String> {
    serde_json::from_value(text).map_err(|error| names::printable(&error.to_string()))
}

/// Checks all rules that a spec alone can break. Returns how often it is refreshed.
fn check(
    namespace: &str,
    spec: &ExternalSecretSpec,
    own: &Rules,
) -> Result<Option<Duration>, (Reason, String)> {
    if namespace == own.namespace {
        let what = "ExternalSecrets are not allowed in the controller's own namespace";
        return Err((Reason::InvalidSpec, what.to_owned()));
    }
    external_rules::check(spec, &own.deny_template_metadata)
        .map_err(|fault| (fault.reason, fault.message))?;
    schedule::interval(spec).map_err(|what| (Reason::InvalidSpec, what))
}

fn is_for_a_tool(name: &str) -> bool {
    TRACKING.iter().any(|prefix| name.starts_with(prefix))
        || [FORCE_SYNC, CLUSTER_FORCE_SYNC].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_tools_are_not_copied() {
        for name in [
            "argocd.argoproj.io/tracking-id",
            "app.kubernetes.io/instance",
            "force-sync",
        ] {
            assert!(is_for_a_tool(name), "{name}");
        }
        assert!(!is_for_a_tool("app.kubernetes.io/name"));
    }
}
