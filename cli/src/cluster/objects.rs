//! The SealedSecrets of the cluster, the state of its controller, and who has which rights.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, PostParams};
use sealkit_core::api::readiness::Readiness;
use sealkit_core::api::{LEASE, SealedSecret, SealedSecretStatus};
use sealkit_core::manifest::wipe;
use sealkit_core::sealed::SealedView;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::Cluster;
use super::kinds::SEALED_SECRET;
use crate::error::{CommandError, Result};

/// What is said of one SealedSecret.
#[derive(Clone, Debug)]
pub(crate) struct ObjectState {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Is its Secret there, for its newest generation?
    pub ready: bool,
    /// Reason and message of Ready; empty where nobody looked at it yet.
    pub reason: String,
    /// See above.
    pub message: String,
    /// Fingerprints of the keys that really opened it.
    pub sealed_to: Vec<String>,
    /// Is it not sealed as it should be?
    pub needs_reseal: bool,
}

impl ObjectState {
    fn of(object: &DynamicObject) -> Self {
        let status = object.data.get("status").cloned().unwrap_or_default();
        // A status that is none of ours says nothing.
        let status: SealedSecretStatus = serde_json::from_value(status).unwrap_or_default();
        let (generation, observed) = (object.metadata.generation, status.observed_generation);
        let readiness = Readiness::of(generation, observed, &status.conditions);
        let looked = observed == generation;
        let ready = status
            .conditions
            .last()
            .filter(|last| last.type_ == "Ready");
        let text = |pick: fn(&sealkit_core::api::Condition) -> &String| {
            ready
                .filter(|_| looked)
                .map(pick)
                .cloned()
                .unwrap_or_default()
        };
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            ready: readiness.is_ready(),
            reason: text(|ready| &ready.reason),
            message: text(|ready| &ready.message),
            sealed_to: status.sealed_to,
            needs_reseal: status.needs_reseal == Some(true),
        }
    }
}

/// Something that may be done to a resource.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant<'a> {
    /// Such as `create`.
    pub verb: &'a str,
    /// API group; empty for the core.
    pub group: &'a str,
    /// Plural.
    pub resource: &'a str,
    /// Namespace; empty for all.
    pub namespace: &'a str,
}

/// Who may do something.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    user: String,
    groups: Vec<String>,
}

impl Account {
    /// Everybody who is authenticated, whoever that is.
    pub fn everybody() -> Self {
        Self {
            user: "sealkit:nobody".to_owned(),
            groups: vec!["system:authenticated".to_owned()],
        }
    }

    /// A ServiceAccount.
    pub fn of_service(namespace: &str, name: &str) -> Self {
        let groups = ["system:authenticated", "system:serviceaccounts"];
        let own = format!("system:serviceaccounts:{namespace}");
        Self {
            user: format!("system:serviceaccount:{namespace}:{name}"),
            groups: groups.map(str::to_owned).into_iter().chain([own]).collect(),
        }
    }
}

/// Does a controller lead?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leader {
    /// Its lease was renewed in time.
    Alive,
    /// It was not.
    Away,
    /// There never was one.
    None,
}

/// Sealed values by key.
type SealedValues = BTreeMap<String, String>;
/// Opened values by key.
type LiveValues = BTreeMap<String, Zeroizing<Vec<u8>>>;

impl Cluster {
    /// All SealedSecrets, or those of a namespace.
    pub fn objects(&self, namespace: Option<&str>) -> Result<Vec<ObjectState>> {
        let mut found = Vec::new();
        let resource = ApiResource::erase::<SealedSecret>(&());
        self.each(SEALED_SECRET, &resource, namespace, |_, object| {
            found.push(ObjectState::of(object));
        })?;
        Ok(found)
    }

    /// The fingerprints of the keys that really opened each SealedSecret, one for each object and
    /// key; those of one namespace, if one is named.
    pub fn sealed_to(&self, namespace: Option<&str>) -> Result<Vec<String>> {
        let objects = self.objects(namespace)?;
        Ok(objects
            .into_iter()
            .flat_map(|object| object.sealed_to)
            .collect())
    }

    /// What a SealedSecret that is Ready holds: its sealed values, and those of its Secret.
    pub fn live_values(&self, namespace: &str, name: &str) -> Result<(SealedValues, LiveValues)> {
        let kind = ApiResource::erase::<SealedSecret>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &kind);
        let on =
            |error: CommandError| error.on(format_args!("{namespace}/{name}, {}", self.title()));
        let role = "the ClusterRole sealkit-view allows it";
        let object = self.call(api.get_opt(name), "not allowed to read SealedSecrets", role)?;
        let missing = || {
            on(CommandError::cluster(
                "the cluster has no such SealedSecret",
            ))
        };
        let object = object.ok_or_else(missing)?;
        if !ObjectState::of(&object).ready {
            return Err(on(CommandError::cluster(
                "the SealedSecret is not Ready at its newest generation: its Secret may hold other values",
            ))
            .hint("see `seal status`, or open the values with a private key: -i FILE"));
        }
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Secret"));
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &kind);
        let role =
            "ask for the right to read this Secret, or open the values with a private key: -i FILE";
        let secret = self.call(api.get_opt(name), "not allowed to read the Secret", role)?;
        let mut secret =
            secret.ok_or_else(|| on(CommandError::cluster("the cluster has no such Secret")))?;
        let texts = |value: Option<&Value>| -> BTreeMap<String, Zeroizing<String>> {
            let map = value.and_then(Value::as_object).into_iter().flatten();
            map.filter_map(|(key, text)| {
                Some((key.clone(), Zeroizing::new(text.as_str()?.to_owned())))
            })
            .collect()
        };
        let encoded = texts(secret.data.get("data"));
        wipe(&mut secret.data);
        // Where sealed values do not reach the Secret, what stands under their keys is a template's.
        let view = SealedView::of(&object.data);
        let raw = view
            .template()
            .and_then(|template| template.get("includeRaw"));
        let raw = raw != Some(&json!(false));
        let opened = encoded
            .into_iter()
            .filter(|_| raw)
            .filter_map(|(key, text)| {
                Some((
                    key,
                    Zeroizing::new(BASE64_STANDARD.decode(text.as_bytes()).ok()?),
                ))
            });
        let sealed = view
            .values()
            .map(|(key, text)| (key.to_owned(), text.to_owned()));
        Ok((sealed.collect(), opened.collect()))
    }

    /// Does the controller of this namespace renew its lease?
    pub fn leader(&self, namespace: &str) -> Result<Leader> {
        let kind = GroupVersionKind::gvk("coordination.k8s.io", "v1", "Lease");
        let kind = ApiResource::from_gvk(&kind);
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &kind);
        let forbidden = "not allowed to read the controller's lease";
        let Some(lease) = self.call(api.get_opt(LEASE), forbidden, "")? else {
            return Ok(Leader::None);
        };
        let field = |name: &str| lease.data.get("spec")?.get(name).cloned();
        let renewed: Option<Timestamp> =
            field("renewTime").and_then(|time| time.as_str()?.parse().ok());
        let seconds = field("leaseDurationSeconds")
            .and_then(|seconds| seconds.as_i64())
            .unwrap_or(15);
        let held = field("holderIdentity")
            .is_some_and(|holder| holder.as_str().is_some_and(|name| !name.is_empty()));
        // Clocks differ a little.
        let alive =
            renewed.is_some_and(|at| Timestamp::now().duration_since(at).as_secs() <= seconds * 4);
        Ok(if held && alive {
            Leader::Alive
        } else {
            Leader::Away
        })
    }

    /// Has this account the right? The query itself needs a right.
    pub fn may(&self, account: &Account, grant: Grant<'_>) -> Result<bool> {
        let kind = GroupVersionKind::gvk("authorization.k8s.io", "v1", "SubjectAccessReview");
        let resource = ApiResource::from_gvk(&kind);
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        let mut review = DynamicObject::new("", &resource).data(json!({"spec": {
            "user": account.user, "groups": account.groups,
            "resourceAttributes": {
                "verb": grant.verb, "group": grant.group, "resource": grant.resource,
                "namespace": grant.namespace,
            },
        }}));
        review.metadata.name = None;
        let params = PostParams::default();
        let forbidden = "not allowed to create SubjectAccessReviews";
        let answer = self.call(api.create(&params, &review), forbidden, "")?;
        Ok(answer.data.pointer("/status/allowed") == Some(&json!(true)))
    }
}
