//! What the spec of a ClusterExternalSecret asks for; pure.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::core::{Selector, SelectorExt as _};
use sealkit_core::api::RECONCILE_REQUESTED_AT;
use sealkit_core::api::external::{
    CLUSTER_FORCE_SYNC, ClusterExternalSecretSpec, FORCE_SYNC, canonical_duration, duration,
};
use sealkit_core::names;
use serde_json::{Value, json};

use super::Object;

/// How often all ExternalSecrets are compared, by default.
const INTERVAL: Duration = Duration::from_hours(1);
/// Shortest time between two comparisons, whatever the spec says.
const OFTEN: Duration = Duration::from_secs(10);
/// Annotations of an ExternalSecret by which people ask for something: they stay.
const REQUESTS: [&str; 2] = [FORCE_SYNC, RECONCILE_REQUESTED_AT];

type Texts = BTreeMap<String, String>;

/// What the ExternalSecrets are to be, and where.
#[derive(Debug)]
pub(super) struct Template {
    /// Name of each ExternalSecret.
    pub(super) name: String,
    /// When they are compared again.
    pub(super) interval: Duration,
    spec: Value,
    labels: Texts,
    annotations: Texts,
    selectors: Vec<Selector>,
    namespaces: Vec<String>,
}

impl Template {
    /// Reads an object. Error: what is wrong with its spec.
    pub(super) fn of(object: &Object) -> Result<Self, String> {
        let Value::Object(mut fields) = object.spec().value else {
            return Err("the spec cannot be read".to_owned());
        };
        // Each ExternalSecret tells what is wrong with its own spec.
        let mut spec = fields.insert("externalSecretSpec".to_owned(), json!({}));
        // As External Secrets writes it: both would rewrite it for ever.
        if let Some(interval) = spec
            .as_mut()
            .and_then(|spec| spec.get_mut("refreshInterval"))
            && let Some(form) = interval.as_str().and_then(canonical_duration)
        {
            *interval = form.into();
        }
        let read: ClusterExternalSecretSpec = serde_json::from_value(Value::Object(fields))
            .map_err(|error| names::printable(&error.to_string()))?;
        let interval = match read.refresh_time.as_str() {
            "" => INTERVAL,
            text => duration(text).ok_or_else(|| {
                "refreshTime must be a duration such as 1h30m, 15s or 0".to_owned()
            })?,
        };
        let interval = Some(interval).filter(|interval| !interval.is_zero());
        let selectors = read.namespace_selectors.into_iter();
        let selectors = selectors.chain(read.namespace_selector).map(|selector| {
            let none = |_| "a selector of namespaces has an operator that is none".to_owned();
            selector.try_into().map_err(none)
        });
        let mut annotations = read.external_secret_metadata.annotations;
        let own = object.metadata.annotations.as_ref();
        if let Some(asked) = own.and_then(|all| all.get(CLUSTER_FORCE_SYNC)) {
            annotations.insert(CLUSTER_FORCE_SYNC.to_owned(), asked.clone());
        }
        let name = if read.external_secret_name.is_empty() {
            object.metadata.name.clone().unwrap_or_default()
        } else {
            read.external_secret_name
        };
        // It becomes a part of a path, and not every definition of the resource says what a name is.
        if !names::is_dns_subdomain(&name) {
            let name = names::printable(&name);
            return Err(format!("externalSecretName: {name:?} is no name"));
        }
        Ok(Self {
            name,
            interval: interval.unwrap_or(INTERVAL).max(OFTEN),
            spec: spec.unwrap_or_default(),
            labels: read.external_secret_metadata.labels,
            annotations,
            selectors: selectors.collect::<Result<_, String>>()?,
            namespaces: read.namespaces,
        })
    }

    /// Is a namespace with these labels selected?
    pub(super) fn selects(&self, namespace: &str, labels: &Texts) -> bool {
        self.namespaces.iter().any(|name| name == namespace)
            || self.selectors.iter().any(|one| one.matches(labels))
    }

    /// Stands for what each ExternalSecret is to be.
    pub(super) fn content(&self) -> String {
        let all = json!([self.name, self.spec, self.labels, self.annotations]);
        names::digest(all.to_string().as_bytes())
    }

    /// A new ExternalSecret for this namespace and owner.
    pub(super) fn external_secret(&self, namespace: &str, owner: &Value) -> Value {
        json!({
            "apiVersion": super::CLUSTER_EXTERNAL_SECRET.api_version(),
            "kind": "ExternalSecret",
            "metadata": {
                "name": self.name,
                "namespace": namespace,
                "labels": self.labels,
                "annotations": self.annotations,
                "ownerReferences": [owner],
            },
            "spec": self.spec,
        })
    }

    /// Makes an ExternalSecret what it is to be. Returns whether anything changed.
    pub(super) fn correct(&self, existing: &mut Value) -> bool {
        let mut annotations = self.annotations.clone();
        for name in REQUESTS {
            if let Some(asked) = existing["metadata"]["annotations"][name].as_str() {
                annotations.insert(name.to_owned(), asked.to_owned());
            }
        }
        let texts =
            |texts: &Value| -> Texts { serde_json::from_value(texts.clone()).unwrap_or_default() };
        let metadata = &existing["metadata"];
        let is_right = existing["spec"] == self.spec
            && texts(&metadata["labels"]) == self.labels
            && texts(&metadata["annotations"]) == annotations;
        if is_right {
            return false;
        }
        existing["spec"] = self.spec.clone();
        existing["metadata"]["labels"] = json!(self.labels);
        existing["metadata"]["annotations"] = json!(annotations);
        true
    }
}

/// Stands for what a person can change in an object: its spec, and what its annotations ask for.
pub(super) fn digest(object: &Object) -> String {
    let annotations = object.metadata.annotations.as_ref();
    let asked = |name: &str| annotations.and_then(|all| all.get(name));
    let requests = [CLUSTER_FORCE_SYNC, RECONCILE_REQUESTED_AT].map(asked);
    let seen = json!([object.generation(), object.is_terminating(), requests]);
    names::digest(seen.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(spec: &Value) -> Result<Template, String> {
        let object = json!({
            "metadata": {
                "name": "pull",
                "annotations": {"external-secrets.io/force-sync": "7", "other": "x"},
            },
            "spec": spec,
        });
        Template::of(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn selectors_and_names_add_up() {
        let labels = |team: &str| Texts::from([("team".to_owned(), team.to_owned())]);
        let spec = json!({
            "externalSecretSpec": {},
            "namespaceSelectors": [
                {"matchLabels": {"team": "a"}},
                {"matchExpressions": [{"key": "team", "operator": "In", "values": ["b"]}]},
            ],
            "namespaceSelector": {"matchLabels": {"team": "c"}},
            "namespaces": ["by-name"],
        });
        let template = template(&spec).unwrap();
        for team in ["a", "b", "c"] {
            assert!(template.selects("shop", &labels(team)), "{team}");
        }
        assert!(template.selects("by-name", &Texts::new()));
        assert!(!template.selects("shop", &labels("d")) && !template.selects("x", &Texts::new()));
    }

    #[test]
    fn without_a_selector_no_namespace_is_selected_and_an_empty_one_selects_all() {
        let none = template(&json!({"externalSecretSpec": {}})).unwrap();
        assert!(!none.selects("shop", &Texts::new()));
        let all = json!({"externalSecretSpec": {}, "namespaceSelectors": [{}]});
        assert!(template(&all).unwrap().selects("shop", &Texts::new()));
    }

    #[test]
    fn a_spec_that_cannot_hold_is_told() {
        for (field, value) in [
            ("refreshTime", json!("soon")),
            ("externalSecretName", json!("a/../b")),
            (
                "namespaceSelectors",
                json!([{"matchExpressions": [{"key": "a", "operator": "Like"}]}]),
            ),
        ] {
            let mut spec = json!({"externalSecretSpec": {}});
            spec[field] = value;
            assert!(template(&spec).is_err(), "{field}");
        }
    }

    #[test]
    fn an_external_secret_is_corrected_and_requests_of_people_stay() {
        let spec = json!({
            "externalSecretSpec": {"refreshInterval": "1h"},
            "externalSecretMetadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}},
        });
        let template = template(&spec).unwrap();
        let mut made = template.external_secret("shop", &json!({"uid": "u"}));
        assert_eq!(made["metadata"]["name"], "pull");
        assert_eq!(made["metadata"]["annotations"][CLUSTER_FORCE_SYNC], "7");
        assert!(!template.correct(&mut made), "it is as it should be");
        made["metadata"]["annotations"][FORCE_SYNC] = json!("now");
        assert!(!template.correct(&mut made), "somebody asks for a refresh");
        made["metadata"]["finalizers"] = json!(["example.com/keep"]);
        made["metadata"]["labels"]["x"] = json!("y");
        made["spec"]["refreshInterval"] = json!("2h");
        assert!(template.correct(&mut made));
        // In the form in which External Secrets writes it.
        assert_eq!(made["spec"], json!({"refreshInterval": "1h0m0s"}));
        assert_eq!(made["metadata"]["labels"], json!({"a": "b"}));
        assert_eq!(made["metadata"]["annotations"][FORCE_SYNC], "now");
        assert_eq!(made["metadata"]["finalizers"], json!(["example.com/keep"]));
    }
}
