//! What values of the chart do, and which are refused.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use sealkit_tests::delivery::root;
use sealkit_tests::plane::Shared;
use sealkit_tests::program::program;
use serde_json::{Value, json};

use super::{Helm, flags_of};

/// Every setting of the controller that the chart has a value for.
const SETTINGS: &str = r"
watchNamespaces: [default, kube-public]
sealedSecrets:
  allowedScopes: [strict, namespace-wide]
  denyTemplateMetadata: [a.example/, b.example/]
  adoptNamespaces: [shop, bank]
keys: {allowedAlgorithms: [mlkem768x25519, X25519], graceSeconds: 7}
externalSecrets:
  enabled: false
  controllerClass: blue
  ownership: consent
  storeCheckSeconds: 60
  watchInterval: 1m30s
restart: {enabled: true, window: 30s}
controllerIdentity: true
log: info,kube=debug
concurrency: 1000000
leaseSeconds: 20
webhook:
  enabled: true
  names: [webhook.example.com]
  caOverlapSeconds: 60
  certManager: {enabled: true}
";

/// Every value that adds an object or a field.
const FEATURES: &str = r"
image: {digest: 'sha256:0000000000000000000000000000000000000000000000000000000000000000', pullPolicy: Always}
imagePullSecrets: [{name: registry}]
commonLabels: {team: platform}
updateStrategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 0}}
revisionHistoryLimit: 3
priorityClassName: system-cluster-critical
nodeSelector: {kubernetes.io/os: linux}
tolerations: [{key: dedicated, operator: Exists}]
affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: [{key: a, operator: Exists}]}}]}}
topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway}]
podLabels: {a: b}
podAnnotations: {c: d}
podSecurityContext: {runAsUser: null, fsGroup: 1}
hostNetwork: true
dnsPolicy: ClusterFirstWithHostNet
dnsConfig: {options: [{name: ndots, value: '2'}]}
extraArgs: [--concurrency=4]
extraEnv: [{name: HTTPS_PROXY, value: 'http://proxy.example.com'}]
extraEnvFrom: [{configMapRef: {name: proxy, optional: true}}]
extraVolumes: [{name: ca, configMap: {name: ca}}]
extraVolumeMounts: [{name: ca, mountPath: /ca}]
extraObjects:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: one}}
- |
  apiVersion: v1
  kind: ConfigMap
  metadata: {name: '{{ .Release.Name }}-two'}
serviceAccount: {annotations: {eks.amazonaws.com/role-arn: 'arn:aws:iam::123456789012:role/sealkit'}}
rbac: {serviceAccountTokens: true, rewrap: {namespaces: [default]}}
crds: {annotations: {e: f}}
webhook:
  enabled: true
  failurePolicy: Fail
  namespaceSelector: {matchLabels: {webhook: 'on'}}
  port: 10250
  annotations: {g: h}
service: {annotations: {i: j}}
podDisruptionBudget: {maxUnavailable: 50%}
";

#[test]
fn crds_are_kept_unless_a_value_says_otherwise() {
    let plane = Shared::get();
    let helm = Helm::new(plane.servers.kubeconfig());
    let policies = |values: &str| {
        let mut objects = helm.template(values);
        objects.retain(|object| object["kind"] == "CustomResourceDefinition");
        let policies = objects.iter().map(|crd| {
            let policy = &crd["metadata"]["annotations"]["helm.sh/resource-policy"];
            policy.as_str().map(str::to_owned)
        });
        policies.collect::<Vec<_>>()
    };
    assert_eq!(policies(""), vec![Some("keep".to_owned()); 7]);
    assert_eq!(policies("crds: {keep: false}"), vec![None; 7]);
    assert_eq!(policies("crds: {install: false}"), Vec::new());
}

#[test]
fn unknown_and_mistyped_values_are_refused_by_name() {
    let plane = Shared::get();
    let helm = Helm::new(plane.servers.kubeconfig());
    let chart = root().join("deploy/chart");
    for (value, said) in [
        ("replicas=2", "'replicas'"),
        ("image.tga=1.0", "at '/image': additional properties 'tga'"),
        ("replicaCount=two", "at '/replicaCount'"),
        ("webhook.enabled=yes", "at '/webhook/enabled'"),
        ("webhook.failurePolicy=Allow", "at '/webhook/failurePolicy'"),
        ("resources.limit.memory=1Gi", "at '/resources'"),
        ("sealedSecrets.allowedScopes={global}", "allowedScopes/0"),
        ("watchNamespaces={a b}", "at '/watchNamespaces/0'"),
        ("image.digest=latest", "at '/image/digest'"),
        ("podSecurityContext.runAsNonroot=true", "'runAsNonroot'"),
    ] {
        let arguments = ["template", chart.to_str().unwrap(), "--set", value];
        let output = helm.output(&arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && stderr.contains(said),
            "{value}: {stderr}"
        );
    }
}

/// Helm refuses a value that the schema lacks; this is the other way round. The README has a row for
/// every value, since it is made from values.yaml.
#[test]
fn the_schema_knows_no_value_that_is_not_documented() {
    let chart = root().join("deploy/chart");
    let readme = std::fs::read_to_string(chart.join("README.md")).unwrap();
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: BTreeSet<&str> = rows.filter_map(|row| row.split('`').next()).collect();
    let schema = std::fs::read(chart.join("values.schema.json")).unwrap();
    let schema: Value = serde_json::from_slice(&schema).unwrap();
    let mut known = BTreeSet::new();
    note_values(&schema["properties"], "", &documented, &mut known);
    // Helm sets it in a chart of charts.
    known.remove("global");
    let known: BTreeSet<&str> = known.iter().map(String::as_str).collect();
    assert!(documented.len() > 50, "{documented:?}");
    assert_eq!(known, documented);
}

fn note_values(
    properties: &Value,
    above: &str,
    documented: &BTreeSet<&str>,
    known: &mut BTreeSet<String>,
) {
    for (name, schema) in properties.as_object().unwrap() {
        let path = format!("{above}{name}");
        if documented.contains(path.as_str()) || schema.get("properties").is_none() {
            known.insert(path);
        } else {
            note_values(
                &schema["properties"],
                &format!("{path}."),
                documented,
                known,
            );
        }
    }
}

#[test]
fn the_controller_takes_every_setting() {
    let plane = Shared::get();
    let helm = Helm::new(plane.servers.kubeconfig());
    let chart = helm.template(SETTINGS);
    let is_deployment = |object: &&Value| object["kind"] == "Deployment";
    let deployment = chart.iter().find(is_deployment).unwrap();
    let state = tempfile::tempdir().unwrap();
    let variables = flags_of(deployment, state.path()).environment;
    let flags = std::fs::read_to_string(root().join("docs/flags.md")).unwrap();
    for (name, _) in &variables {
        assert!(flags.contains(&format!("`{name}`")), "no flag reads {name}");
    }
    let values: BTreeMap<_, _> = variables.iter().cloned().collect();
    for (name, value) in [
        ("SEALKIT_CONCURRENCY", "1000000"),
        ("SEALKIT_WATCH_NAMESPACES", "default,kube-public"),
        ("SEALKIT_EXTERNAL_SECRETS", "false"),
        ("SEALKIT_WEBHOOK_LISTEN", "0.0.0.0:9443"),
    ] {
        assert_eq!(values[name], value);
    }
    // Values that it cannot parse end it with 2, and a missing kubeconfig ends it with 1.
    let mut controller = Command::new(program("seal-controller"));
    controller
        .envs(variables)
        .env("KUBECONFIG", state.path().join("none"));
    let output = controller.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

/// The API server's own schema is the judge, also of fields that it does not know.
#[test]
fn the_api_server_accepts_every_feature() {
    let plane = Shared::get();
    let helm = Helm::new(plane.servers.kubeconfig());
    for values in [FEATURES, SETTINGS, OVERRIDES] {
        let mut chart = helm.template(values);
        // Those of cert-manager.
        chart.retain(|object| object["apiVersion"] != "cert-manager.io/v1");
        let arguments = [
            "apply",
            "--server-side",
            "--force-conflicts",
            "--dry-run=server",
            "--validate=strict",
            "-f",
            "-",
        ];
        let list = json!({"apiVersion": "v1", "kind": "List", "items": chart}).to_string();
        let applied = plane.servers.kubectl_with_input(&arguments, &list).unwrap();
        assert_eq!(applied.lines().count(), chart.len(), "{applied}");
    }
}

const OVERRIDES: &str = r"
nameOverride: acme
fullnameOverride: acme-keys
replicaCount: 1
serviceAccount: {create: false, name: mine}
rbac: {aggregateToEdit: false, serviceAccountTokens: true}
webhook: {enabled: true}
";

#[test]
fn names_follow_the_overrides_but_for_those_that_the_controller_looks_for() {
    let helm = Helm::new(Shared::get().servers.kubeconfig());
    let chart = helm.template(OVERRIDES);
    let text = |object: &Value, pointer: &str| {
        let value = object.pointer(pointer).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let kinds = ["CustomResourceDefinition", "Role", "RoleBinding"];
    let names: BTreeSet<String> = chart
        .iter()
        .filter(|object| !kinds.contains(&text(object, "/kind").trim_start_matches("Cluster")))
        .map(|object| {
            format!(
                "{} {}",
                text(object, "/kind"),
                text(object, "/metadata/name")
            )
        })
        .collect();
    // Without a ServiceAccount, and without a budget for one replica.
    let expected = [
        "Deployment acme-keys",
        "NetworkPolicy acme-keys",
        "Service acme-keys",
        "Service seal-controller-webhook",
        "ValidatingWebhookConfiguration sealkit",
    ];
    assert_eq!(names, expected.map(str::to_owned).into());
    let mut bindings = 0;
    for object in &chart {
        let kind = text(object, "/kind");
        if kind.contains("Role") {
            assert!(
                text(object, "/metadata/name").starts_with("acme-"),
                "{object}"
            );
        }
        if text(object, "/subjects/0/kind") == "ServiceAccount" {
            assert_eq!(text(object, "/subjects/0/name"), "mine");
            bindings += 1;
        }
        let selector = ["/spec/selector", "/spec/podSelector/matchLabels"];
        for selector in selector.iter().filter_map(|at| object.pointer(at)) {
            let labels = selector.get("matchLabels").unwrap_or(selector);
            assert_eq!(labels["app.kubernetes.io/name"], "acme", "{object}");
        }
        let aggregated =
            &object["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"];
        assert!(aggregated.is_null(), "{object}");
    }
    assert_eq!(bindings, 4, "two of rights, tokens, webhook");
}

#[test]
fn rights_and_more_are_left_out_on_request() {
    let helm = Helm::new(Shared::get().servers.kubeconfig());
    let chart = helm.template(
        "{crds: {install: false}, rbac: {create: false, userRoles: false}, webhook: {enabled: true},
        networkPolicy: {enabled: false}, podDisruptionBudget: {enabled: false}}",
    );
    let kinds: BTreeSet<_> = chart
        .iter()
        .map(|object| object["kind"].as_str().unwrap())
        .collect();
    let expected = [
        "Deployment",
        "Service",
        "ServiceAccount",
        "ValidatingWebhookConfiguration",
    ];
    assert_eq!(kinds, expected.into());

    let all = helm.template("externalSecrets: {enabled: false}");
    for role in all.iter().filter(|object| object.get("rules").is_some()) {
        assert!(
            !role["rules"].to_string().contains("external-secrets.io"),
            "{role}"
        );
    }
}
