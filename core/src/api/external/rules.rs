//! What the cluster refuses in an ExternalSecret, decided from its spec alone. The CRD says the same
//! where its language can; manifests of clusters whose CRDs are those of External Secrets meet the
//! rules here.

use std::collections::BTreeSet;

use super::{
    CreationPolicy, DataFrom, DeletionPolicy, ExternalSecretSpec, MergeStrategy, RemoteRef,
    Rewrite, SourceRef, Target, Template, TemplateFrom,
};
use crate::api::rules::{Fault, check_template};
use crate::api::{CreationPolicy as OurPolicy, SecretTemplate, TemplateMetadata};
use crate::names::{is_secret_key, printable};
use crate::template::is_regex;

/// Checks a spec. `denied` are prefixes of labels and annotations that the administrator denies to
/// templates. Texts of templates are not parsed here: whoever renders them says what is wrong.
pub fn check(spec: &ExternalSecretSpec, denied: &[String]) -> Result<(), Fault> {
    if let Some(what) = unserved(spec) {
        return Err(Fault::invalid(format!("{what} is not served by Sealkit")));
    }
    if spec.data.is_empty() && spec.data_from.is_empty() {
        return refuse("set data or dataFrom: there is nothing to read");
    }
    check_policies(&spec.target)?;
    check_keys(spec)?;
    check_lengths(spec)?;
    for (at, entry) in spec.data_from.iter().enumerate() {
        let fault = |what: String| Fault::invalid(format!("dataFrom[{at}]{what}"));
        check_entry(entry).map_err(fault)?;
    }
    match &spec.target.template {
        Some(template) => check_external_template(&spec.target, template, denied),
        None => Ok(()),
    }
}

/// The first part of the spec that is not served yet. It is never ignored.
pub fn unserved(spec: &ExternalSecretSpec) -> Option<&'static str> {
    let mut sources = (spec.data.iter().map(|entry| &entry.source_ref))
        .chain(spec.data_from.iter().map(|entry| &entry.source_ref));
    let rows = [
        ("syncWindows", spec.sync_windows.is_some()),
        ("target.manifest", spec.target.manifest.is_some()),
        (
            "a generatorRef",
            sources.any(|source| matches!(source, Some(SourceRef::GeneratorRef(_)))),
        ),
    ];
    rows.into_iter()
        .find_map(|(what, is_asked)| is_asked.then_some(what))
}

fn refuse(what: impl Into<String>) -> Result<(), Fault> {
    Err(Fault::invalid(what.into()))
}

/// Which policies contradict each other.
fn check_policies(target: &Target) -> Result<(), Fault> {
    let (creation, deletion) = (target.creation_policy, target.deletion_policy);
    let owns = matches!(creation, CreationPolicy::Owner | CreationPolicy::Orphan);
    if deletion == DeletionPolicy::Delete && !owns {
        return refuse(format!(
            "deletionPolicy Delete needs creationPolicy Owner or Orphan: with {}, the Secret is not \
             this resource's own",
            creation.name()
        ));
    }
    if deletion == DeletionPolicy::Merge && creation == CreationPolicy::None {
        return refuse(
            "deletionPolicy Merge removes keys, but creationPolicy None makes no Secret",
        );
    }
    if target.immutable && creation == CreationPolicy::CreateOrMerge {
        return refuse(
            "creationPolicy CreateOrMerge adds keys, which an immutable Secret never gets",
        );
    }
    Ok(())
}

/// Keys that Kubernetes takes, each once. With another deletionPolicy than Retain, a later entry may
/// stand in for one that the store lacks.
fn check_keys(spec: &ExternalSecretSpec) -> Result<(), Fault> {
    let mut known = BTreeSet::new();
    for (at, entry) in spec.data.iter().enumerate() {
        let key = &entry.secret_key;
        if !is_secret_key(key) {
            let key = printable(key);
            return refuse(format!(
                "data[{at}].secretKey: {key:?} is not a key that Kubernetes allows"
            ));
        }
        if !known.insert(key) && spec.target.deletion_policy == DeletionPolicy::Retain {
            return refuse(format!(
                "data[{at}].secretKey: an earlier entry has {key:?} too"
            ));
        }
    }
    Ok(())
}

/// What one entry asks of a store is kept while it is read. No provider has longer names.
fn check_lengths(spec: &ExternalSecretSpec) -> Result<(), Fault> {
    const LONGEST: usize = 2048;
    let data = spec.data.iter().map(|entry| &entry.remote_ref);
    let from = spec.data_from.iter();
    let mut all = data.chain(from.filter_map(|entry| entry.extract.as_ref()));
    let is_long = |remote: &RemoteRef| {
        [&remote.key, &remote.version, &remote.property]
            .iter()
            .any(|text| text.len() > LONGEST)
    };
    if all.any(is_long) {
        return refuse(format!(
            "key, version and property of what is read have at most {LONGEST} bytes"
        ));
    }
    Ok(())
}

/// What is wrong with an entry of `dataFrom`, and where in it.
fn check_entry(entry: &DataFrom) -> Result<(), String> {
    if entry.extract.is_some() == entry.find.is_some() {
        return Err(": set exactly one of extract, find and sourceRef.generatorRef".to_owned());
    }
    for (at, rewrite) in entry.rewrite.iter().enumerate() {
        let what = match rewrite {
            Rewrite::Regexp(regexp) if !is_regex(&regexp.source) => {
                "regexp.source: no regular expression in Go's syntax, or too large"
            }
            Rewrite::Merge(merge)
                if merge.strategy == MergeStrategy::Json && merge.into.is_empty() =>
            {
                "merge: strategy JSON needs into, the key of the merged object"
            }
            _ => continue,
        };
        return Err(format!(".rewrite[{at}].{what}"));
    }
    Ok(())
}

/// The rules of templates are those of all Secrets that Sealkit makes, and some more.
fn check_external_template(
    target: &Target,
    template: &Template,
    denied: &[String],
) -> Result<(), Fault> {
    let metadata = &template.metadata;
    if !metadata.finalizers.is_empty() {
        return refuse(
            "target.template.metadata.finalizers is not served by Sealkit: a Secret with a finalizer \
             cannot be deleted until somebody removes it",
        );
    }
    if let Some(key) = template.data.keys().find(|key| !is_secret_key(key)) {
        let key = printable(key);
        return refuse(format!(
            "target.template.data: {key:?} is not a key that Kubernetes allows"
        ));
    }
    for (at, from) in template.template_from.iter().enumerate() {
        if from.makes().is_none() {
            let target = printable(&from.target);
            return refuse(format!(
                "target.template.templateFrom[{at}].target: {target:?} is none of Data, Annotations \
                 and Labels"
            ));
        }
    }
    let policy = match target.creation_policy {
        CreationPolicy::Merge => OurPolicy::Merge,
        _ => OurPolicy::Owner,
    };
    let same = SecretTemplate {
        type_: Some(template.type_.clone()).filter(|name| !name.is_empty()),
        immutable: target.immutable.then_some(true),
        metadata: Some(TemplateMetadata {
            labels: metadata.labels.clone(),
            annotations: metadata.annotations.clone(),
        }),
        ..SecretTemplate::default()
    };
    check_template(&same, policy, denied)
}

/// What the templates of a `templateFrom` make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Makes {
    /// Keys and values.
    Data,
    /// Annotations.
    Annotations,
    /// Labels.
    Labels,
}

impl TemplateFrom {
    /// What its templates make; `None` if Kubernetes has no such thing in a Secret.
    pub fn makes(&self) -> Option<Makes> {
        match self.target.to_ascii_lowercase().as_str() {
            "" | "data" => Some(Makes::Data),
            "annotations" => Some(Makes::Annotations),
            "labels" => Some(Makes::Labels),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The spec with these fields, which would be taken without them.
    fn said(fields: &Value) -> String {
        let entry = json!({"secretKey": "a", "remoteRef": {"key": "db"}});
        let mut spec = json!({"secretStoreRef": {"name": "vault"}, "data": [entry]});
        for (name, value) in fields.as_object().unwrap() {
            spec[name] = value.clone();
        }
        let spec = serde_json::from_value(spec).unwrap();
        let denied = ["replicator.v1.mittwald.de/".to_owned()];
        check(&spec, &denied)
            .err()
            .map_or(String::new(), |fault| fault.message)
    }

    #[test]
    fn what_is_read_has_no_endless_name() {
        let refused = |length: usize| {
            let spec: ExternalSecretSpec = serde_json::from_value(serde_json::json!({
                "secretStoreRef": {"name": "vault"},
                "data": [{"secretKey": "a", "remoteRef": {"key": "x".repeat(length)}}],
            }))
            .unwrap();
            check(&spec, &[]).is_err()
        };
        assert!(!refused(2048) && refused(2049));
    }

    #[test]
    fn every_pair_of_policies_is_taken_or_refused_as_with_external_secrets() {
        let mut refused = Vec::new();
        for creation in ["Owner", "Orphan", "Merge", "CreateOrMerge", "None"] {
            for deletion in ["Retain", "Delete", "Merge"] {
                let target = json!({"creationPolicy": creation, "deletionPolicy": deletion});
                if !said(&json!({"target": target})).is_empty() {
                    refused.push((creation, deletion));
                }
            }
        }
        let expected = [
            ("Merge", "Delete"),
            ("CreateOrMerge", "Delete"),
            ("None", "Delete"),
            ("None", "Merge"),
        ];
        assert_eq!(refused, expected);
    }

    #[test]
    fn every_rule_has_its_row() {
        let entry = |key: &str| json!({"secretKey": key, "remoteRef": {"key": "db"}});
        let extract = json!({"key": "db"});
        let rewrite =
            |rewrite: Value| json!({"dataFrom": [{"extract": extract, "rewrite": [rewrite]}]});
        let template = |template: Value| json!({"target": {"template": template}});
        let twice = json!([entry("a"), entry("a")]);
        let table = [
            (json!({}), ""),
            (json!({"data": []}), "set data or dataFrom"),
            (json!({"data": [], "dataFrom": [{"extract": extract}]}), ""),
            (
                json!({"syncWindows": {"kind": "allow", "windows": []}}),
                "syncWindows is not served",
            ),
            (
                json!({"target": {"manifest": {"apiVersion": "v1", "kind": "ConfigMap"}}}),
                "target.manifest is not served",
            ),
            (
                json!({"dataFrom": [{"sourceRef": {"generatorRef": {"kind": "Password", "name": "p"}}}]}),
                "a generatorRef is not served",
            ),
            (
                json!({"data": twice}),
                "data[1].secretKey: an earlier entry has \"a\" too",
            ),
            (
                json!({"data": twice, "target": {"deletionPolicy": "Merge"}}),
                "",
            ),
            (
                json!({"data": [entry("a b")]}),
                "data[0].secretKey: \"a b\" is not a key",
            ),
            (json!({"dataFrom": [{}]}), "dataFrom[0]: set exactly one"),
            (
                json!({"dataFrom": [{"extract": extract, "find": {}}]}),
                "dataFrom[0]: set exactly one",
            ),
            (
                rewrite(json!({"regexp": {"source": "a(.*)", "target": "$1"}})),
                "",
            ),
            (
                rewrite(json!({"regexp": {"source": "a(", "target": "$1"}})),
                "dataFrom[0].rewrite[0].regexp.source: no regular expression",
            ),
            (
                rewrite(json!({"regexp": {"source": "(?=a)", "target": ""}})),
                "dataFrom[0].rewrite[0].regexp.source: no regular expression",
            ),
            (rewrite(json!({"merge": {}})), ""),
            (
                rewrite(json!({"merge": {"strategy": "JSON"}})),
                "dataFrom[0].rewrite[0].merge: strategy JSON needs into",
            ),
            (
                template(json!({"metadata": {"finalizers": ["x/y"]}})),
                "target.template.metadata.finalizers",
            ),
            (
                template(json!({"data": {"a/b": ""}})),
                "target.template.data: \"a/b\" is not a key",
            ),
            (
                template(json!({"templateFrom": [{"literal": "", "target": "labels"}]})),
                "",
            ),
            (
                template(json!({"templateFrom": [{"literal": "", "target": "Spec"}]})),
                "target.template.templateFrom[0].target: \"Spec\" is none of",
            ),
            (
                template(json!({"type": "kubernetes.io/service-account-token"})),
                "Sealkit never creates or seals Secrets of type kubernetes.io/service-account-token",
            ),
            (
                template(json!({"type": "bootstrap.kubernetes.io/token"})),
                "Sealkit never creates or seals Secrets of type bootstrap.kubernetes.io/token",
            ),
            (
                template(json!({"metadata": {"annotations": {"replicator.v1.mittwald.de/x": ""}}})),
                "the template may not set the label or annotation",
            ),
            (
                json!({"target": {"creationPolicy": "Merge", "immutable": true, "template": {}}}),
                "creationPolicy Merge cannot set type or immutable",
            ),
            (
                json!({"target": {"creationPolicy": "CreateOrMerge", "immutable": true}}),
                "creationPolicy CreateOrMerge adds keys",
            ),
        ];
        for (fields, begins) in table {
            let said = said(&fields);
            assert_eq!(said.is_empty(), begins.is_empty(), "{fields}: {said}");
            assert!(said.starts_with(begins), "{fields}: {said}");
        }
    }
}
