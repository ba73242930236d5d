//! What can be wrong with stores and ExternalSecrets, and with who serves them.

use std::collections::BTreeSet;

use sealkit_core::api::readiness::Readiness;

use super::Report;
use super::cluster::Doctor;
use crate::cluster::{External, ObjectKey, StoreState};
use crate::terminal::safe;

/// Objects that are named in one finding.
const NAMED: usize = 5;

impl Doctor<'_> {
    /// Looks at stores, at what reads them, and at the controllers that could serve them.
    pub(super) fn external(&self, report: &mut Report, namespace: Option<&str>) {
        let place = self.place;
        let external = match self.cluster.external(namespace) {
            Ok(Some(external)) => external,
            Ok(None) => {
                let detail = "the cluster has no ExternalSecrets: their CRDs are not installed";
                return report.note(place, detail);
            }
            Err(error) => {
                return report.note(place, &format!("ExternalSecrets not checked: {error}"));
            }
        };
        for what in &external.unread {
            report.note(place, &format!("not checked: {what}"));
        }
        for store in &external.stores {
            self.store(report, store);
        }
        self.missing_stores(report, &external);
        for (key, readiness) in &external.of_cluster {
            self.of_cluster(report, key, readiness);
        }
        let waiting = external.externals.iter();
        let waiting = waiting.filter(|state| !state.readiness.is_ready()).count();
        let total = external.externals.len();
        report.check(
            place,
            waiting == 0,
            "ExternalSecretNotReady",
            || format!("{waiting} of {total} ExternalSecrets are not Ready"),
            &[format!("seal status --context {}", self.context)],
        );
        self.servers(report, total > 0);
    }

    /// A ClusterExternalSecret that is not where it should be.
    fn of_cluster(&self, report: &mut Report, key: &ObjectKey, readiness: &Readiness) {
        let detail = || match readiness.why() {
            Some(why) if !why.message.is_empty() => {
                format!("{key} is not Ready: {}", safe(&why.message))
            }
            _ => format!("{key} is not Ready: no controller has reported on it yet"),
        };
        let (context, name) = (&self.context, crate::terminal::quoted(&key.name));
        let resource = key.kind.resource();
        let describe = format!("kubectl --context {context} describe {resource} {name}");
        report.check(
            self.place,
            readiness.is_ready(),
            "ClusterExternalSecretNotReady",
            detail,
            &[describe],
        );
    }

    fn store(&self, report: &mut Report, store: &StoreState) {
        let key = &store.key;
        if store.lacks_auth {
            let detail = format!(
                "{key} has no credentials: spec.provider.{} names none",
                safe(&store.provider)
            );
            let mend = ["add `auth` to the store; docs/external-secrets.md lists what is served"];
            let mend = mend.map(str::to_owned);
            return report.trouble(self.place, "StoreWithoutAuth", detail, &mend);
        }
        let why = store.readiness.why().cloned().unwrap_or_default();
        let describe = format!(
            "kubectl --context {} describe {} {}{}",
            self.context,
            key.kind.resource(),
            crate::terminal::quoted(&key.name),
            if key.namespace.is_empty() {
                String::new()
            } else {
                format!(" -n {}", crate::terminal::quoted(&key.namespace))
            }
        );
        report.check(
            self.place,
            store.readiness.is_ready(),
            "StoreNotReady",
            || {
                let said = if why.message.is_empty() {
                    "no controller has reported on it yet".to_owned()
                } else {
                    safe(&why.message)
                };
                format!("{key} is not Ready: {said}")
            },
            &[describe],
        );
    }

    /// Stores that somebody names and nobody made.
    fn missing_stores(&self, report: &mut Report, external: &External) {
        let named = external.externals.iter().flat_map(|state| &state.stores);
        let missing: BTreeSet<&ObjectKey> = named.filter(|store| external.lacks(store)).collect();
        for store in missing {
            let users = external.externals.iter();
            let users: Vec<_> = users
                .filter(|state| state.stores.contains(store))
                .map(|state| state.key.to_string())
                .collect();
            let mut shown = users
                .iter()
                .take(NAMED)
                .cloned()
                .collect::<Vec<_>>()
                .join(", ");
            if users.len() > NAMED {
                shown += &format!(" and {} more", users.len() - NAMED);
            }
            let detail = format!("{store} does not exist, but is used by {shown}");
            let mend = ["create the store, or correct secretStoreRef".to_owned()];
            report.trouble(self.place, "StoreMissing", detail, &mend);
        }
    }

    /// Exactly one controller should serve them.
    fn servers(&self, report: &mut Report, has_objects: bool) {
        let Ok(servers) = self.cluster.servers(self.system) else {
            let detail =
                "not checked who serves ExternalSecrets: you lack the right to list Deployments";
            return report.note(self.place, detail);
        };
        report.check(
            self.place,
            !(servers.sealkit && servers.external_secrets),
            "TwoControllers",
            || "both Sealkit and External Secrets serve ExternalSecrets: each overwrites what the other writes".to_owned(),
            &[
                format!(
                    "kubectl --context {} -n {} set env deployment/seal-controller SEALKIT_EXTERNAL_SECRETS=false",
                    self.context, self.system
                ),
                "or remove External Secrets, but keep the CRDs".to_owned(),
            ],
        );
        if has_objects && !servers.sealkit && !servers.external_secrets {
            let detail = "no Deployment of Sealkit or External Secrets serves the ExternalSecrets";
            report.note(self.place, detail);
        }
    }
}
