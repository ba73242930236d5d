//! The chart makes the same objects as kustomize.

use std::collections::{BTreeMap, BTreeSet};

use sealkit_tests::delivery::root;
use sealkit_tests::plane::Shared;
use serde_json::{Value, json};

use super::{Helm, objects};

/// What kustomize makes of a kustomization beside `deploy/`.
fn kustomize(text: &str) -> Vec<Value> {
    let folder = tempfile::tempdir_in(root().join("target")).unwrap();
    std::fs::write(folder.path().join("kustomization.yaml"), text).unwrap();
    let servers = &Shared::get().servers;
    let built = servers.kubectl(&["kustomize", folder.path().to_str().unwrap()]);
    objects(&built.unwrap())
}

/// Objects that `kubectl -n team-a` would put into that namespace.
fn of_team_a(folder: &str) -> Vec<Value> {
    let mut objects = kustomize(&format!("resources: [../../deploy/{folder}]"));
    for object in &mut objects {
        object["metadata"]["namespace"] = json!("team-a");
    }
    objects
}

fn base_with(more: &str) -> Vec<Value> {
    kustomize(&format!("resources: [../../deploy/base]\n{more}"))
}

fn base_and(component: &str) -> Vec<Value> {
    base_with(&format!(
        "components: [../../deploy/components/{component}]"
    ))
}

/// Objects by kind, namespace and name, in a form that does not depend on the order of rules and
/// variables.
fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let named = objects.into_iter().map(|mut object| {
        let metadata = &object["metadata"];
        let key = format!(
            "{} {}/{}",
            object["kind"], metadata["namespace"], metadata["name"]
        );
        if let Some(rules) = object.get_mut("rules") {
            *rules = rights(rules);
        }
        let variables = "/spec/template/spec/containers/0/env";
        if let Some(Value::Array(variables)) = object.pointer_mut(variables) {
            variables.sort_by_key(|variable| variable["name"].to_string());
        }
        (key, object)
    });
    named.collect()
}

/// Each right of some rules on its own, sorted.
fn rights(rules: &Value) -> Value {
    let mut rights = BTreeSet::new();
    let each = |rule: &Value, field: &str| rule[field].as_array().cloned().unwrap_or_default();
    for rule in rules.as_array().unwrap() {
        for group in each(rule, "apiGroups") {
            for resource in each(rule, "resources") {
                for verb in each(rule, "verbs") {
                    let names = &rule["resourceNames"];
                    rights.insert(format!("{verb} {group} {resource} {names}"));
                }
            }
        }
    }
    json!(rights)
}

/// Takes what Helm's users expect and kustomize's do not have, as the chart's README says: labels, and
/// the annotation that keeps CRDs.
fn without_additions(objects: &mut BTreeMap<String, Value>, expected: &BTreeMap<String, Value>) {
    const LABELS: [&str; 6] = [
        "app.kubernetes.io/name",
        "app.kubernetes.io/component",
        "app.kubernetes.io/instance",
        "app.kubernetes.io/version",
        "app.kubernetes.io/managed-by",
        "helm.sh/chart",
    ];
    for (key, object) in objects {
        let expected = expected.get(key).map_or(&Value::Null, |it| &it["metadata"]);
        let metadata = object["metadata"].as_object_mut().unwrap();
        let additions = [
            ("labels", LABELS.as_slice()),
            ("annotations", &["helm.sh/resource-policy"]),
        ];
        for (field, additions) in additions {
            let Some(Value::Object(entries)) = metadata.get_mut(field) else {
                continue;
            };
            entries.retain(|name, _| {
                !additions.contains(&name.as_str()) || expected[field].get(name).is_some()
            });
            if entries.is_empty() {
                metadata.remove(field);
            }
        }
    }
}

fn assert_equal(what: &str, chart: Vec<Value>, kustomize: Vec<Value>) {
    let mut kustomize = by_name(kustomize);
    // Helm makes it, with --create-namespace.
    kustomize.retain(|_, object| object["kind"] != "Namespace");
    let mut chart = by_name(chart);
    without_additions(&mut chart, &kustomize);
    let keys = |objects: &BTreeMap<String, Value>| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&chart), keys(&kustomize), "{what}");
    for (key, object) in &kustomize {
        assert_eq!(&chart[key], object, "{what}: {key}");
    }
}

#[test]
fn the_chart_makes_what_kustomize_makes() {
    let plane = Shared::get();
    let helm = Helm::new(plane.servers.kubeconfig());
    let everything = [
        kustomize("resources: [../../deploy/namespaced]"),
        of_team_a("namespaced/tenant"),
        of_team_a("rewrap"),
    ];
    let fail = "
patches:
- target: {kind: ValidatingWebhookConfiguration}
  patch: |-
    - {op: replace, path: /webhooks/0/failurePolicy, value: Fail}
    - {op: replace, path: /webhooks/2/failurePolicy, value: Fail}";
    let failing = format!("components: [../../deploy/components/webhook]{fail}");
    let cases = [
        ("", base_with("")),
        (
            "{watchNamespaces: [team-a], rbac: {rewrap: {namespaces: [team-a]}}}",
            everything.concat(),
        ),
        ("webhook: {enabled: true}", base_and("webhook")),
        (
            "webhook: {enabled: true, failurePolicy: Fail}",
            base_with(&failing),
        ),
        (
            "{serviceMonitor: {enabled: true}, prometheusRule: {enabled: true}, grafanaDashboard: {enabled: true}}",
            base_and("monitoring"),
        ),
        ("externalSecrets: {takeOver: true}", base_and("take-over")),
        ("restart: {enabled: true}", base_and("restart")),
        (
            "rbac: {serviceAccountTokens: true}",
            base_and("service-account-tokens"),
        ),
        (
            "crds: {externalSecrets: false}",
            base_and("without-external-secrets-crds"),
        ),
    ];
    for (values, expected) in cases {
        assert_equal(values, helm.template(values), expected);
    }
}

/// As docs/admission.md has it for kustomize. The chart makes the Certificate, too.
#[test]
fn cert_manager_keeps_the_certificate_instead_of_the_controller() {
    let plane = Shared::get();
    let helm = Helm::new(plane.servers.kubeconfig());
    let patches = "
components: [../../deploy/components/webhook]
patches:
- target: {kind: Deployment, name: seal-controller}
  patch: |-
    - op: add
      path: /spec/template/spec/volumes/-
      value: {name: webhook, secret: {secretName: seal-controller-webhook-tls}}
    - op: add
      path: /spec/template/spec/containers/0/volumeMounts/-
      value: {name: webhook, mountPath: /webhook, readOnly: true}
    - op: add
      path: /spec/template/spec/containers/0/env/-
      value: {name: SEALKIT_WEBHOOK_CERT_DIR, value: /webhook}
- target: {kind: ValidatingWebhookConfiguration, name: sealkit}
  patch: |-
    - op: add
      path: /metadata/annotations
      value: {cert-manager.io/inject-ca-from: sealkit-system/seal-controller-webhook}";
    let mut expected = base_with(patches);
    // The controller writes no caBundle then.
    expected.retain(|object| object["metadata"]["name"] != "sealkit-webhook");
    let values = "webhook: {enabled: true, certManager: {enabled: true}}";
    let chart = helm.template(values).into_iter();
    let (made, chart): (Vec<Value>, Vec<Value>) =
        chart.partition(|object| object["apiVersion"] == "cert-manager.io/v1");
    assert_equal(values, chart, expected);
    let made = by_name(made);
    let certificate = &made[r#""Certificate" "sealkit-system"/"seal-controller-webhook""#];
    let spec = &certificate["spec"];
    assert_eq!(spec["secretName"], "seal-controller-webhook-tls");
    let service = "seal-controller-webhook.sealkit-system.svc";
    assert_eq!(spec["dnsNames"], json!([service]));
    let issuer = format!(
        "{} \"sealkit-system\"/{}",
        spec["issuerRef"]["kind"], spec["issuerRef"]["name"]
    );
    assert!(made.contains_key(&issuer), "{issuer}");
}
