//! The Helm chart: the same objects as by kustomize, and the life of a release, with the real Helm.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use sealkit_core::manifest::read_documents;
use sealkit_core::sealed::Scope;
use sealkit_rig::{ControlPlane, Options, free_port, go_tools};
use sealkit_tests::api::ApiClient;
use sealkit_tests::canary::unique_value;
use sealkit_tests::controller::{Controller, Flags};
use sealkit_tests::delivery::root;
use sealkit_tests::plane::{Plane, SYSTEM, SYSTEM_SECRETS, Shared};
use sealkit_tests::program::program;
use sealkit_tests::recorder::Recorder;
use sealkit_tests::wait::{wait_for, wait_until};
use sealkit_tests::webhook::CONFIGURATIONS;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/sealkit-system/deployments/seal-controller";

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

/// Helm with folders and a kubeconfig of its own.
struct Helm {
    program: PathBuf,
    home: TempDir,
    kubeconfig: PathBuf,
}

impl Helm {
    fn new(kubeconfig: &Path) -> Self {
        let module = root().join("tests/interop/go/helm");
        let programs = go_tools(&module, "interop-helm").unwrap();
        Self {
            program: programs.join("helm"),
            home: tempfile::tempdir().unwrap(),
            kubeconfig: kubeconfig.to_owned(),
        }
    }

    fn output(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(variable, self.home.path());
        }
        command.env("KUBECONFIG", &self.kubeconfig);
        command.args(["--namespace", SYSTEM]).args(arguments);
        command.output().unwrap()
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let (stdout, stderr) = (output.stdout, String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        String::from_utf8(stdout).unwrap()
    }

    /// The release `sealkit` of our chart, by `install`, `upgrade` or `template`.
    fn release(&self, verb: &str, more: &[&str]) -> String {
        let chart = root().join("deploy/chart");
        let arguments = [verb, "sealkit", chart.to_str().unwrap()];
        self.run(&[&arguments, more].concat())
    }

    /// The objects of the chart with these values.
    fn template(&self, values: &str) -> Vec<Value> {
        let file = self.home.path().join("values.yaml");
        std::fs::write(&file, values).unwrap();
        objects(&self.release("template", &["--values", file.to_str().unwrap()]))
    }
}

fn objects(manifests: &str) -> Vec<Value> {
    let documents = read_documents(manifests.as_bytes()).unwrap().into_iter();
    documents.map(|document| document.object).collect()
}

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
        ("serviceMonitor: {enabled: true}", base_and("monitoring")),
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

/// The one container of the Deployment.
fn container(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["spec"]["containers"][0]
}

/// How the Deployment starts the controller: its arguments and variables, with `state` in place of its
/// volume.
fn flags_of(deployment: &Value, state: &Path) -> Flags {
    let container = container(deployment);
    let arguments = container["args"].as_array().cloned().unwrap_or_default();
    let variables = container["env"].as_array().unwrap().iter().map(|variable| {
        let name = variable["name"].as_str().unwrap().to_owned();
        let field = &variable["valueFrom"]["fieldRef"]["fieldPath"];
        let value = match (name.as_str(), field.as_str()) {
            ("SEALKIT_STATE_DIR", _) => state.to_str().unwrap(),
            (_, Some("metadata.namespace")) => {
                deployment["metadata"]["namespace"].as_str().unwrap()
            }
            (_, Some("metadata.name")) => "seal-controller-0",
            _ => variable["value"].as_str().unwrap(),
        };
        (&*name.leak(), value.to_owned())
    });
    Flags {
        more: arguments
            .iter()
            .map(|argument| argument.as_str().unwrap().to_owned())
            .collect(),
        environment: variables.collect(),
        ..Flags::default()
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
    for values in [FEATURES, SETTINGS] {
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

/// A control plane with a release of the chart.
fn install(servers: ControlPlane, helm: &Helm, values: &[&str]) -> Plane {
    helm.release("install", &[&["--create-namespace"], values].concat());
    let hour = Some(Duration::from_hours(1));
    let controller_kubeconfig = servers
        .service_account_kubeconfig(SYSTEM, "seal-controller", hour)
        .unwrap();
    let api = ApiClient::new(servers.kubeconfig());
    for plural in ["sealedsecrets", "sealingkeys", "rewraprequests"] {
        let path = format!("/apis/sealkit.dev/v1beta1/{plural}");
        wait_for("the resources are served", || api.try_get(&path).ok());
    }
    Plane {
        recorder: Recorder::start(&api),
        api,
        controller_kubeconfig,
        servers,
    }
}

/// A controller as the Deployment of now starts it, once it leads.
fn start(plane: &Plane, state: &Path) -> Controller {
    let deployment = plane.api.get(DEPLOYMENT).expect("a Deployment");
    let mut controller = plane.controller(&flags_of(&deployment, state));
    controller.wait_leading();
    controller
}

/// The names of those objects of a manifest that the cluster has.
fn existing(plane: &Plane, manifest: &str) -> Vec<String> {
    let arguments = ["get", "--ignore-not-found", "-o", "name", "-f", "-"];
    let names = plane.servers.kubectl_with_input(&arguments, manifest);
    names.unwrap().lines().map(str::to_owned).collect()
}

fn assert_no_violations(plane: &Plane) {
    let violations = plane.recorder.violations();
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn a_release_lives_through_upgrade_rollback_and_uninstallation() {
    let servers = ControlPlane::start(Options::default()).unwrap();
    let helm = Helm::new(servers.kubeconfig());
    let image = ["--set", "image.repository=registry.example.com/sealkit"];
    let plane = install(servers, &helm, &image);
    let state = tempfile::tempdir().unwrap();
    let api = &plane.api;

    let manifest = helm.run(&["get", "manifest", "sealkit"]);
    let all = objects(&manifest).len();
    assert_eq!(existing(&plane, &manifest).len(), all, "all objects");
    let first = api.get(DEPLOYMENT).unwrap()["spec"].clone();
    let path = format!("{SYSTEM_SECRETS}?labelSelector=owner%3Dhelm");
    for release in api.list(&path) {
        // A Secret may hold a mebibyte.
        let size = release["data"]["release"].as_str().unwrap().len() * 3 / 4;
        assert!(size < 512 * 1024, "{size} bytes");
    }

    let mut controller = start(&plane, state.path());
    let shop = plane.namespace("shop");
    let value = unique_value();
    shop.seal("db", &value);
    shop.wait_ready("db");
    let secret = shop.wait_value("db", &value);
    let key = plane.newest_key();

    // Other values: the controller follows them, and keeps `caBundle` without Helm's knowledge.
    let port = format!("webhook.port={}", free_port().unwrap());
    let strict = [
        &image[..],
        &[
            "--set",
            "replicaCount=3,sealedSecrets.allowedScopes={strict}",
        ],
        // The API server of the rig reaches no Service.
        &[
            "--set",
            "webhook.enabled=true,webhook.namespaceSelector.matchLabels.webhook=on",
        ],
        &["--set", &port],
    ]
    .concat();
    controller.stop();
    helm.release("upgrade", &strict);
    assert_eq!(api.get(DEPLOYMENT).unwrap()["spec"]["replicas"], 3);
    let mut controller = start(&plane, state.path());
    let wide = shop.draft("wide").scope(Scope::NamespaceWide);
    shop.apply(&wide.value("password", &value).manifest());
    shop.wait_stalled("wide", "InvalidSpec");
    let configuration = format!("{CONFIGURATIONS}/sealkit");
    let trusted = || {
        let configuration = api.get(&configuration).expect("a configuration");
        configuration["webhooks"][0]["clientConfig"]["caBundle"].clone()
    };
    wait_until("API servers trust the webhook", || trusted().is_string());
    let before = trusted();
    helm.release(
        "upgrade",
        &[&strict[..], &["--set", "webhook.timeoutSeconds=5"]].concat(),
    );
    let timeout = &api.get(&configuration).unwrap()["webhooks"][0]["timeoutSeconds"];
    assert_eq!(timeout, 5);
    assert_eq!(trusted(), before);

    controller.stop();
    helm.run(&["rollback", "sealkit", "1"]);
    assert_eq!(api.get(DEPLOYMENT).unwrap()["spec"], first);
    assert!(api.get(&configuration).is_none(), "no webhook again");
    let mut controller = start(&plane, state.path());
    shop.wait_ready("wide");
    shop.wait_value("wide", &value);

    controller.stop();
    helm.run(&["uninstall", "sealkit"]);
    let kept = existing(&plane, &manifest);
    assert_eq!(kept.len(), 7, "{kept:?}");
    assert!(
        kept.iter()
            .all(|name| name.starts_with("customresourcedefinition")),
        "{kept:?}"
    );
    let same = |now: &Value, before: &Value| {
        assert_eq!(now["metadata"]["uid"], before["metadata"]["uid"]);
        assert!(now["metadata"].get("deletionTimestamp").is_none());
    };
    same(&plane.sealing_keys()[0], &key);
    same(&shop.secret("db").unwrap(), &secret);
    shop.sealed("db");
    assert_eq!(plane.identities().len(), 1);

    // A later release goes on with the same keys.
    helm.release("install", &image);
    let _controller = start(&plane, state.path());
    let value = unique_value();
    shop.seal("later", &value);
    shop.wait_ready("later");
    shop.wait_value("later", &value);
    same(&plane.newest_key(), &key);
    same(&shop.secret("db").unwrap(), &secret);
    assert_no_violations(&plane);
}

#[test]
fn an_installation_by_kustomize_is_taken_over() {
    let plane = Plane::with("deploy/base");
    let helm = Helm::new(plane.servers.kubeconfig());
    let before = plane.api.get(DEPLOYMENT).unwrap();
    let image = "image.repository=registry.example.com/sealkit";
    let take = ["--take-ownership", "--force-conflicts", "--set", image];
    helm.release("install", &take);
    let after = plane.api.get(DEPLOYMENT).unwrap();
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(
        container(&after)["image"],
        "registry.example.com/sealkit:dev"
    );
    let crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/sealedsecrets.sealkit.dev";
    let labels: Map<String, Value> =
        serde_json::from_value(plane.api.get(crd).unwrap()["metadata"]["labels"].clone()).unwrap();
    assert_eq!(labels["app.kubernetes.io/managed-by"], "Helm");
    let state = tempfile::tempdir().unwrap();
    let _controller = start(&plane, state.path());
    let shop = plane.namespace("shop");
    let value = unique_value();
    shop.seal("db", &value);
    shop.wait_ready("db");
    shop.wait_value("db", &value);
    assert_no_violations(&plane);
}
