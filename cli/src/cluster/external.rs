//! The ExternalSecrets and stores of the cluster, and who serves them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use sealkit_core::api::external::duration;
use sealkit_core::api::readiness::Readiness;
use serde_json::Value;

use super::kinds::{KINDS, ObjectKey, SecretsKind};
use super::{CONTROLLER, Cluster};
use crate::error::Result;

/// Label of the Deployment of External Secrets, as its chart sets it.
const EXTERNAL_SECRETS: &str = "app.kubernetes.io/name=external-secrets";
/// The variable of our controller that leaves ExternalSecrets to others.
const SERVES: &str = "SEALKIT_EXTERNAL_SECRETS";

/// What is said of one ExternalSecret.
#[derive(Clone, Debug)]
pub(crate) struct ExternalState {
    /// Which one.
    pub key: ObjectKey,
    /// What its status says of its newest generation.
    pub readiness: Readiness,
    /// When its values were last read, as far as the status tells.
    pub refreshed: Option<Timestamp>,
    /// How often they are read; `None` where only a change makes that happen.
    pub interval: Option<Duration>,
    /// The stores that it names.
    pub stores: Vec<ObjectKey>,
}

impl ExternalState {
    fn of(key: ObjectKey, object: &DynamicObject) -> Self {
        let Value::Object(spec) = &object.data["spec"] else {
            return Self {
                readiness: readiness(&key, object),
                key,
                refreshed: None,
                interval: None,
                stores: Vec::new(),
            };
        };
        let text = |field: &str| spec.get(field).and_then(Value::as_str);
        let refreshed = object.data.pointer("/status/refreshTime");
        let is_periodic = text("refreshPolicy").is_none_or(|policy| policy == "Periodic");
        let interval = duration(text("refreshInterval").unwrap_or("1h"));
        let entries = ["data", "dataFrom"].into_iter().flat_map(|field| {
            let list = spec.get(field).and_then(Value::as_array);
            list.into_iter().flatten()
        });
        let of_entries = entries.filter_map(|entry| entry.pointer("/sourceRef/storeRef"));
        let references = spec.get("secretStoreRef").into_iter().chain(of_entries);
        let mut stores: Vec<_> = references
            .filter_map(|reference| store_of(reference, &key.namespace))
            .collect();
        stores.sort();
        stores.dedup();
        Self {
            readiness: readiness(&key, object),
            refreshed: refreshed
                .and_then(Value::as_str)
                .and_then(|time| time.parse().ok()),
            interval: interval.filter(|interval| is_periodic && !interval.is_zero()),
            stores,
            key,
        }
    }

    /// When the values are read next. A status tells an older refresh while nothing changes, so that
    /// the times after it are counted.
    pub fn next_refresh(&self, now: Timestamp) -> Option<Timestamp> {
        let (last, interval) = (self.refreshed?, self.interval?);
        let interval = i64::try_from(interval.as_secs()).ok()?.max(1);
        let passed = now.duration_since(last).as_secs().max(0) / interval;
        let after = passed.checked_add(1)?.checked_mul(interval)?;
        last.checked_add(SignedDuration::from_secs(after)).ok()
    }
}

/// What is said of one store.
#[derive(Clone, Debug)]
pub(crate) struct StoreState {
    /// Which one.
    pub key: ObjectKey,
    /// The name of its provider; empty if it has none, or several.
    pub provider: String,
    /// Does it lack the credentials that its provider needs?
    pub lacks_auth: bool,
    /// What its status says of its newest generation.
    pub readiness: Readiness,
}

impl StoreState {
    fn of(key: ObjectKey, object: &DynamicObject) -> Self {
        let providers = object.data.pointer("/spec/provider");
        let mut providers = providers.and_then(Value::as_object).into_iter().flatten();
        let provider = providers.next().filter(|_| providers.next().is_none());
        let has = |field: &str| {
            let auth = provider.and_then(|(_, settings)| settings.get(field));
            auth.and_then(Value::as_object)
                .is_some_and(|auth| !auth.is_empty())
        };
        let lacks_auth = match provider.map(|(name, _)| name.as_str()) {
            Some("vault") => !has("auth"),
            Some("kubernetes") => !has("auth") && !has("authRef"),
            // The others may have an identity of their own, or need none.
            _ => false,
        };
        Self {
            readiness: readiness(&key, object),
            provider: provider.map(|(name, _)| name.clone()).unwrap_or_default(),
            lacks_auth,
            key,
        }
    }
}

/// All that External Secrets' kinds have in a cluster.
#[derive(Debug, Default)]
pub(crate) struct External {
    /// ExternalSecrets.
    pub externals: Vec<ExternalState>,
    /// SecretStores and ClusterSecretStores.
    pub stores: Vec<StoreState>,
    /// ClusterExternalSecrets, and what their statuses say of their newest generation.
    pub of_cluster: Vec<(ObjectKey, Readiness)>,
    /// Kinds that could not be read, in words.
    pub unread: Vec<String>,
}

impl External {
    /// Is all of it ready? For one namespace, what the cluster has for others does not count.
    pub fn is_ready(&self, namespace: Option<&str>) -> bool {
        let externals = self.externals.iter().map(|state| &state.readiness);
        let is_used = |store: &&StoreState| {
            let mut users = self.externals.iter();
            users.any(|state| state.stores.contains(&store.key))
        };
        let counts = |store: &&StoreState| {
            namespace.is_none() || !store.key.namespace.is_empty() || is_used(store)
        };
        let stores = self.stores.iter().filter(counts);
        let stores = stores.map(|state| &state.readiness);
        let of_cluster = self.of_cluster.iter().filter(|_| namespace.is_none());
        let of_cluster = of_cluster.map(|(_, readiness)| readiness);
        externals
            .chain(stores)
            .chain(of_cluster)
            .all(Readiness::is_ready)
    }

    /// Is a store that an ExternalSecret names known not to exist?
    pub fn lacks(&self, store: &ObjectKey) -> bool {
        self.unread.is_empty() && !self.stores.iter().any(|known| known.key == *store)
    }
}

/// Who serves ExternalSecrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Servers {
    /// Does External Secrets run?
    pub external_secrets: bool,
    /// Does our controller run, and serve them?
    pub sealkit: bool,
}

fn readiness(key: &ObjectKey, object: &DynamicObject) -> Readiness {
    let status = &object.data["status"];
    Readiness::of_status(key.kind.dialect, object.metadata.generation, status)
}

fn store_of(reference: &Value, namespace: &str) -> Option<ObjectKey> {
    let text = |field: &str| reference.get(field).and_then(Value::as_str);
    let name = text("name").filter(|name| !name.is_empty())?;
    let word = text("kind").filter(|kind| !kind.is_empty());
    let kind = SecretsKind::of_word(word.unwrap_or("SecretStore"))?;
    Some(ObjectKey {
        kind,
        namespace: if kind.namespaced { namespace } else { "" }.to_owned(),
        name: name.to_owned(),
    })
}

impl Cluster {
    /// The ExternalSecrets, stores and ClusterExternalSecrets of the cluster, or the ExternalSecrets
    /// of a namespace with its stores and those of the cluster; `None` if the cluster has no such
    /// kind.
    pub fn external(&self, namespace: Option<&str>) -> Result<Option<External>> {
        let served = self.served()?;
        let mut found = External::default();
        let mut any = false;
        for kind in KINDS
            .iter()
            .filter(|kind| kind.group == super::kinds::EXTERNAL)
        {
            let Some(resource) = served.find(kind) else {
                continue;
            };
            any = true;
            if kind.kind == "ClusterExternalSecret" && namespace.is_some() {
                continue;
            }
            let read = |key: ObjectKey, object: &DynamicObject| match kind.kind {
                "ExternalSecret" => found.externals.push(ExternalState::of(key, object)),
                "SecretStore" | "ClusterSecretStore" => {
                    found.stores.push(StoreState::of(key, object));
                }
                _ => {
                    let readiness = readiness(&key, object);
                    found.of_cluster.push((key, readiness));
                }
            };
            if let Err(error) = self.each(kind, resource, namespace, read) {
                found.unread.push(error.to_string());
            }
        }
        found.externals.sort_by(|a, b| a.key.cmp(&b.key));
        found.stores.sort_by(|a, b| a.key.cmp(&b.key));
        found.of_cluster.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(any.then_some(found))
    }

    /// Who serves ExternalSecrets, by the Deployments of the cluster; `system` is the namespace of our
    /// controller.
    pub fn servers(&self, system: &str) -> Result<Servers> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", "Deployment"));
        let all: Api<DynamicObject> = Api::all_with(self.client.clone(), &kind);
        let ours: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), system, &kind);
        let labelled = ListParams::default().labels(EXTERNAL_SECRETS);
        let asked = async {
            let theirs = all.list(&labelled).await?;
            let ours = ours.get_opt(CONTROLLER).await?;
            Ok((theirs, ours))
        };
        let forbidden = "not allowed to read Deployments";
        let (theirs, ours) = self.call(asked, forbidden, "")?;
        let wants_pods =
            |object: &DynamicObject| object.data.pointer("/spec/replicas") != Some(&Value::from(0));
        Ok(Servers {
            external_secrets: theirs.items.iter().any(wants_pods),
            sealkit: ours.is_some_and(|object| wants_pods(&object) && serves(&object.data)),
        })
    }
}

/// Does a Deployment of our controller leave ExternalSecrets to nobody else?
fn serves(deployment: &Value) -> bool {
    let containers = deployment.pointer("/spec/template/spec/containers");
    let variables = containers
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|container| container.get("env")?.as_array());
    let off = |variable: &Value| variable["name"] == SERVES && variable["value"] == "false";
    !variables.flatten().any(off)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(data: Value) -> DynamicObject {
        serde_json::from_value(data).unwrap()
    }

    fn key(kind: usize) -> ObjectKey {
        ObjectKey {
            kind: &KINDS[kind],
            namespace: "shop".to_owned(),
            name: "db".to_owned(),
        }
    }

    fn external(spec: &Value, refreshed: &str) -> ExternalState {
        let data =
            json!({"metadata": {"name": "db"}, "spec": spec, "status": {"refreshTime": refreshed}});
        ExternalState::of(key(2), &object(data))
    }

    #[test]
    fn the_next_refresh_is_the_first_one_to_come() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let next = |spec: &Value, refreshed: &str| {
            let next = external(spec, refreshed).next_refresh(now);
            next.map(|time| time.to_string())
        };
        let table = [
            (
                json!({"refreshInterval": "1h"}),
                "2026-01-01T11:30:00Z",
                Some("2026-01-01T12:30:00Z"),
            ),
            (
                json!({}),
                "2026-01-01T11:30:00Z",
                Some("2026-01-01T12:30:00Z"),
            ),
            // The status tells an older one while nothing changes.
            (
                json!({"refreshInterval": "15m"}),
                "2026-01-01T11:20:00Z",
                Some("2026-01-01T12:05:00Z"),
            ),
            (
                json!({"refreshInterval": "0"}),
                "2026-01-01T11:20:00Z",
                None,
            ),
            (
                json!({"refreshInterval": "1h", "refreshPolicy": "OnChange"}),
                "2026-01-01T11:20:00Z",
                None,
            ),
            (
                json!({"refreshInterval": "soon"}),
                "2026-01-01T11:20:00Z",
                None,
            ),
            (json!({"refreshInterval": "1h"}), "never", None),
        ];
        for (spec, refreshed, expected) in table {
            assert_eq!(
                next(&spec, refreshed).as_deref(),
                expected,
                "{spec} {refreshed}"
            );
        }
    }

    #[test]
    fn all_stores_of_an_external_secret_are_known() {
        let state = external(
            &json!({"secretStoreRef": {"name": "a"}, "data": [
                {"sourceRef": {"storeRef": {"name": "b", "kind": "ClusterSecretStore"}}},
                {"sourceRef": {"storeRef": {"name": "a", "kind": "SecretStore"}}},
                {"remoteRef": {"key": "x"}}], "dataFrom": [{"sourceRef": {"generatorRef": {"name": "g"}}}]}),
            "",
        );
        let names: Vec<_> = state.stores.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["ClusterSecretStore b", "SecretStore shop/a"]);
    }

    #[test]
    fn credentials_are_missed_only_where_the_provider_needs_them() {
        let lacks = |provider: Value| {
            let data = json!({"metadata": {"name": "db"}, "spec": {"provider": provider}});
            StoreState::of(key(3), &object(data)).lacks_auth
        };
        for (provider, expected) in [
            (
                json!({"vault": {"auth": {"tokenSecretRef": {"name": "t"}}}}),
                false,
            ),
            (json!({"vault": {"auth": {}}}), true),
            (json!({"vault": {}}), true),
            (json!({"kubernetes": {"authRef": {"name": "k"}}}), false),
            (json!({"kubernetes": {}}), true),
            (json!({"aws": {"service": "SecretsManager"}}), false),
            (json!({}), false),
        ] {
            assert_eq!(lacks(provider.clone()), expected, "{provider}");
        }
    }

    #[test]
    fn a_controller_that_leaves_external_secrets_to_others_does_not_serve_them() {
        let deployment =
            |env: Value| json!({"spec": {"template": {"spec": {"containers": [{"env": env}]}}}});
        let off = json!([{"name": SERVES, "value": "false"}]);
        assert!(!serves(&deployment(off)));
        assert!(serves(&deployment(
            json!([{"name": SERVES, "value": "true"}])
        )));
        assert!(serves(&deployment(json!([]))));
    }
}
