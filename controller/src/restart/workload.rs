//! Workloads: their kinds, and what one asks for.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use sealkit_core::names::is_dns_subdomain;
use sealkit_core::references::read_by_pods;
use serde_json::Value;

use super::plan::Record;
use crate::object::Kind;

/// Annotation that asks for restarts: `true` for all Secrets that the pods read, or names of Secrets
/// separated by commas.
pub(super) const ASK: &str = "sealkit.dev/restart-on-change";
/// Annotation with what stood for the values of each Secret when the pods were last replaced.
pub(super) const RECORD: &str = "sealkit.dev/restarted-for";
/// Annotation of the pod template with the time of a restart: its change replaces the pods.
pub(super) const RESTARTED: &str = "sealkit.dev/restarted-at";

/// Secrets of one workload that are looked at, in the order of their names, and bytes of their names.
/// Whoever makes workloads chooses how many and how long they are.
const SECRETS: usize = 32;
const NAMES: usize = 2 * 1024;

/// A kind of workload that replaces its pods when their template changes.
pub trait Workload:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Send + Sync + 'static
{
    /// The kind.
    const KIND: Kind;
    /// Its controller, as controller-runtime names controllers.
    const CONTROLLER: &'static str;
}

const fn apps(kind: &'static str, plural: &'static str) -> Kind {
    Kind {
        group: "apps",
        version: "v1",
        kind,
        plural,
    }
}

impl Workload for Deployment {
    const KIND: Kind = apps("Deployment", "deployments");
    const CONTROLLER: &'static str = "restart-deployment";
}

impl Workload for StatefulSet {
    const KIND: Kind = apps("StatefulSet", "statefulsets");
    const CONTROLLER: &'static str = "restart-statefulset";
}

impl Workload for DaemonSet {
    const KIND: Kind = apps("DaemonSet", "daemonsets");
    const CONTROLLER: &'static str = "restart-daemonset";
}

/// A Rollout of Argo.
#[derive(Clone, Debug, Default)]
pub struct Rollout {
    metadata: ObjectMeta,
}

impl Workload for Rollout {
    const KIND: Kind = Kind {
        group: "argoproj.io",
        version: "v1alpha1",
        kind: "Rollout",
        plural: "rollouts",
    };
    const CONTROLLER: &'static str = "restart-rollout";
}

impl Resource for Rollout {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        Self::KIND.kind.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        Self::KIND.group.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        Self::KIND.version.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        Self::KIND.plural.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// What the annotations of a workload say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked<'a> {
    /// Which Secrets it asks for; `None` if it asks for nothing.
    pub(super) secrets: Option<&'a str>,
    /// Its record as text.
    pub(super) record: Option<&'a str>,
}

impl<'a> Asked<'a> {
    /// Reads annotations.
    pub(super) fn of(annotations: Option<&'a BTreeMap<String, String>>) -> Self {
        let text = |name| {
            annotations
                .and_then(|all| all.get(name))
                .map(String::as_str)
        };
        Self {
            secrets: text(ASK).filter(|text| !matches!(*text, "" | "false")),
            record: text(RECORD),
        }
    }

    /// The record; empty if there is none, or somebody else wrote into it.
    pub(super) fn record(&self) -> Record {
        let record = self.record.map(serde_json::from_str);
        record.and_then(Result::ok).unwrap_or_default()
    }

    /// The Secrets that are looked at for it.
    pub(super) fn names(&self, template: &Value) -> BTreeSet<String> {
        let all = match self.secrets {
            None => BTreeSet::new(),
            Some("true") => read_by_pods(template),
            Some(list) => list.split(',').map(|name| name.trim().to_owned()).collect(),
        };
        let mut bytes = 0;
        let all = all.into_iter().filter(|name| is_dns_subdomain(name));
        let within = all.take_while(|name| {
            bytes += name.len();
            bytes <= NAMES
        });
        within.take(SECRETS).collect()
    }
}

/// Why the pods of a workload stay although their template changes.
pub(super) fn stays(spec: &Value) -> Option<&'static str> {
    let is_manual = |strategy: &str| spec[strategy]["type"] == "OnDelete";
    if spec["paused"] == true {
        Some("it is paused: its pods are replaced when it resumes")
    } else if is_manual("updateStrategy") {
        Some("its updateStrategy is OnDelete: each pod is replaced when you delete it")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn annotations_name_secrets_or_all_that_pods_read() {
        let template = json!({"spec": {
            "containers": [{"envFrom": [{"secretRef": {"name": "db"}}]}],
            "volumes": [{"name": "v", "secret": {"secretName": "tls"}}],
            "imagePullSecrets": [{"name": "registry"}],
        }});
        let cases: [(&str, &[&str]); 6] = [
            ("true", &["db", "tls"]),
            ("db", &["db"]),
            ("db, other ,", &["db", "other"]),
            ("../x,A", &[]),
            ("false", &[]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            let annotations = [(ASK.to_owned(), text.to_owned())].into();
            let names = Asked::of(Some(&annotations)).names(&template);
            assert!(names.iter().eq(expected), "{text:?}: {names:?}");
        }
        assert_eq!(Asked::of(None), Asked::default());
    }

    #[test]
    fn a_workload_says_why_its_pods_stay() {
        assert_eq!(stays(&json!({"paused": false})), None);
        assert_eq!(
            stays(&json!({"updateStrategy": {"type": "RollingUpdate"}})),
            None
        );
        assert!(stays(&json!({"paused": true})).is_some());
        assert!(stays(&json!({"updateStrategy": {"type": "OnDelete"}})).is_some());
    }
}
