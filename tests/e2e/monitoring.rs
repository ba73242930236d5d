//! What `deploy/components/monitoring` ships: alerts, their runbook, and the dashboard, with a real
//! Prometheus.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use sealkit_core::manifest::read_documents;
use sealkit_rig::{Fault, OpenBao, Prometheus, Proxy, free_port};
use sealkit_tests::api::ApiClient;
use sealkit_tests::canary::unique_value;
use sealkit_tests::controller::Controller;
use sealkit_tests::delivery::root;
use sealkit_tests::external::{Team, property};
use sealkit_tests::namespace::Namespace;
use sealkit_tests::plane::{LEASE, Own, Plane, SEALING_KEYS, SYSTEM, unique};
use sealkit_tests::wait::{holds_for, wait_until, wait_within};
use sealkit_tests::webhook::{Webhook, flags};
use serde_json::{Map, Value, json};

/// What stands for `for` in the rules of the live Prometheus: longer than two scrapes.
const SOON: &str = "5s";
const SCRAPE_SECONDS: u64 = 2;
const SOME_SCRAPES: Duration = Duration::from_secs(5 * SCRAPE_SECONDS);
/// Until an alert fires on a busy machine, or stops to.
const WITHIN: Duration = Duration::from_mins(2);

/// The one document of a file of the component.
fn shipped(file: &str) -> Value {
    let path = root().join("deploy/components/monitoring").join(file);
    read_documents(&fs::read(path).unwrap())
        .unwrap()
        .remove(0)
        .object
}

/// The rules as Prometheus reads them.
fn rules() -> Value {
    shipped("prometheus-rule.yaml")["spec"].take()
}

/// All alerts.
fn alerts(rules: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let groups = rules["groups"].as_array_mut().unwrap();
    let rules = groups
        .iter_mut()
        .flat_map(|group| group["rules"].as_array_mut().unwrap());
    rules.map(|rule| rule.as_object_mut().unwrap())
}

/// The panels of the dashboard that ask something: their titles and queries.
fn queries() -> Vec<(String, String)> {
    let text = root().join("deploy/components/monitoring/dashboard.json");
    let dashboard: Value = serde_json::from_slice(&fs::read(text).unwrap()).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            // As Grafana does for a short time range and all namespaces.
            let expression = expression
                .replace("$__rate_interval", "1m")
                .replace("$namespace", ".*");
            queries.push((panel["title"].as_str().unwrap().to_owned(), expression));
        }
    }
    queries
}

/// The names of metrics in an expression.
fn metrics(expression: &str) -> BTreeSet<&str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = expression.split(|c| !is_name(c));
    let kinds = ["sealkit", "process", "workqueue", "controller_runtime"];
    words
        .filter(|word| {
            let of_objects = word.contains("secret_") || word.contains("secretstore_");
            of_objects
                || kinds
                    .iter()
                    .any(|kind| word.starts_with(&format!("{kind}_")))
        })
        .map(|word| word.strip_suffix("_bucket").unwrap_or(word))
        .collect()
}

/// The metrics in the tables of docs/status.md.
fn documented() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("docs/status.md")).unwrap();
    let (_, section) = text.split_once("## Metrics").unwrap();
    let (ours, of_others) = section.split_once("###").unwrap();
    let names = |text: &str, prefix: &str| -> Vec<String> {
        let rows = text
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once(" |"));
        let cells = rows.flat_map(|(cell, _)| cell.split(", "));
        cells
            .map(|name| format!("{prefix}{}", name.trim_matches('`')))
            .collect()
    };
    let mut all: BTreeSet<String> = names(ours, "sealkit_").into_iter().collect();
    for name in names(of_others, "") {
        if let Some(rest) = name.strip_prefix("externalsecret_")
            && matches!(rest, "status_condition" | "reconcile_duration")
        {
            let kinds = ["secretstore", "clustersecretstore", "clusterexternalsecret"];
            all.extend(kinds.map(|kind| format!("{kind}_{rest}")));
        }
        all.insert(name);
    }
    all
}

#[test]
fn alerts_and_dashboard_name_documented_metrics_and_the_dashboard_shows_all_of_them() {
    let documented = documented();
    let queries = queries();
    let shown: BTreeSet<&str> = queries
        .iter()
        .flat_map(|(_, query)| metrics(query))
        .collect();
    let mut rules = rules();
    let expressions: Vec<String> = alerts(&mut rules)
        .map(|alert| alert["expr"].as_str().unwrap().to_owned())
        .collect();
    let asked = expressions
        .iter()
        .flat_map(|expression| metrics(expression));
    for name in shown.iter().copied().chain(asked) {
        assert!(documented.contains(name), "nobody documents {name}");
    }
    // Shown in other words: as ours, or for another kind.
    let elsewhere = [
        "clusterexternalsecret_reconcile_duration",
        "controller_runtime_reconcile_time_seconds",
        "controller_runtime_webhook_latency_seconds",
    ];
    for name in documented.iter().map(String::as_str) {
        let is_shown = shown.contains(name) || elsewhere.contains(&name);
        assert!(is_shown, "no panel shows {name}");
    }
}

#[test]
fn each_alert_has_a_section_in_the_runbook_and_each_section_its_alert() {
    let text = fs::read_to_string(root().join("docs/runbook.md")).unwrap();
    let sections: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    let mut rules = rules();
    let mut names = Vec::new();
    for alert in alerts(&mut rules) {
        let name = alert["alert"].as_str().unwrap().to_owned();
        let page = "https://github.com/sealkit/sealkit/blob/main/docs/runbook.md";
        let anchor = name.to_lowercase();
        assert_eq!(
            alert["annotations"]["runbook_url"],
            format!("{page}#{anchor}")
        );
        for field in ["summary", "description"] {
            assert!(
                alert["annotations"][field].is_string(),
                "{name} has no {field}"
            );
        }
        let severity = alert["labels"]["severity"].as_str().unwrap();
        assert!(
            ["critical", "warning", "info"].contains(&severity),
            "{name}: {severity}"
        );
        names.push(name);
    }
    assert_eq!(sections, names, "in this order");
    for name in names {
        let (_, section) = text.split_once(&format!("### {name}\n")).unwrap();
        let section = section.split("\n## ").next().unwrap();
        let section = section.split("\n### ").next().unwrap();
        assert!(section.contains("```\n"), "{name} has no command");
    }
}

/// A test of promtool over these series, which expects nothing at some times, and an alert at others.
fn case(series: &Map<String, Value>, expected: &[(String, Option<&str>)]) -> Value {
    let series = series.iter();
    let expected = expected.iter().map(|(time, alert)| {
        let labels = alert.map(|name| format!("{{alertname=\"{name}\"}}"));
        let samples: Vec<_> = labels
            .iter()
            .map(|labels| json!({"labels": labels, "value": 1}))
            .collect();
        json!({
            "expr": "count by (alertname) (ALERTS{alertstate=\"firing\"})",
            "eval_time": time, "exp_samples": samples,
        })
    });
    json!({
        "interval": "1m",
        "input_series": series
            .map(|(series, values)| json!({"series": series, "values": values}))
            .collect::<Vec<_>>(),
        "promql_expr_test": expected.collect::<Vec<_>>(),
    })
}

#[test]
fn each_alert_fires_where_it_should_and_none_in_a_quiet_hour() {
    let cases = fs::read(root().join("tests/e2e/monitoring/alerts.yaml")).unwrap();
    let cases = read_documents(&cases).unwrap().remove(0).object;
    let quiet = cases["quiet"].as_object().unwrap();
    let at = |minute: usize| (format!("{minute}m"), None);
    let hour: Vec<_> = (1..=120).map(at).collect();
    let (mut short, mut long) = (vec![case(quiet, &hour)], Vec::new());
    let mut seen = BTreeSet::new();
    for fault in cases["cases"].as_array().unwrap() {
        let alert = fault["alert"].as_str().unwrap();
        let time = |field: &str| fault[field].as_str().unwrap().to_owned();
        let expected = [(time("not_yet"), None), (time("fires"), Some(alert))];
        seen.insert(alert.to_owned());
        if let Some(series) = fault["only"].as_object() {
            long.push(case(series, &expected));
        } else {
            let mut series = quiet.clone();
            series.extend(fault["series"].as_object().unwrap().clone());
            short.push(case(&series, &expected));
        }
    }
    let mut rules = rules();
    let all: BTreeSet<String> = alerts(&mut rules)
        .map(|alert| alert["alert"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        seen, all,
        "an alert without a case, or a case without an alert"
    );

    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &Value| {
        fs::write(folder.path().join(name), content.to_string()).unwrap();
    };
    write("rules.yaml", &rules);
    Prometheus::promtool(folder.path(), &["check", "rules", "rules.yaml"]).unwrap();
    for (tests, interval) in [(short, "1m"), (long, "1h")] {
        let file = json!({
            "rule_files": ["rules.yaml"], "evaluation_interval": interval, "tests": tests,
        });
        write("tests.yaml", &file);
        Prometheus::promtool(folder.path(), &["test", "rules", "tests.yaml"]).unwrap();
    }
}

/// A configuration that scrapes these controllers, with the labels and relabelings that the
/// `ServiceMonitor` gives them.
fn config(controllers: &[&Controller]) -> Value {
    let monitor = shipped("service-monitor.yaml");
    let relabelings = monitor["spec"]["endpoints"][0]["metricRelabelings"]
        .as_array()
        .unwrap();
    let relabelings: Vec<_> = relabelings
        .iter()
        .map(|one| {
            json!({
                "source_labels": one["sourceLabels"], "regex": one["regex"],
                "target_label": one["targetLabel"], "replacement": one["replacement"],
            })
        })
        .collect();
    let targets: Vec<_> = controllers
        .iter()
        .map(|controller| format!("127.0.0.1:{}", controller.port()))
        .collect();
    let every = format!("{SCRAPE_SECONDS}s");
    json!({
        "global": {"scrape_interval": every, "evaluation_interval": every},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [{
            "job_name": "seal-controller",
            "static_configs": [{
                "targets": targets,
                "labels": {"namespace": SYSTEM, "service": "seal-controller"},
            }],
            "metric_relabel_configs": relabelings,
        }],
    })
}

/// The series that a query answers.
fn series(prometheus: &Prometheus, query: &str) -> Vec<Value> {
    let answer = prometheus.query(query).unwrap();
    assert_eq!(answer["status"], "success", "{query}: {answer}");
    answer["data"]["result"].as_array().unwrap().clone()
}

/// The names of the alerts that a query over `ALERTS` answers.
fn alert_names(prometheus: &Prometheus, query: &str) -> BTreeSet<String> {
    let series = series(prometheus, query);
    let name = |one: &Value| one["metric"]["alertname"].as_str().unwrap().to_owned();
    series.iter().map(name).collect()
}

/// The alerts that fire now.
fn firing(prometheus: &Prometheus) -> BTreeSet<String> {
    alert_names(prometheus, "ALERTS{alertstate=\"firing\"}")
}

fn wait_firing(prometheus: &Prometheus, alert: &str) {
    let deadline = Instant::now() + WITHIN;
    while !firing(prometheus).contains(alert) {
        assert!(
            Instant::now() < deadline,
            "{alert} does not fire, but {:?}",
            firing(prometheus)
        );
        sleep(Duration::from_millis(500));
    }
}

/// Objects of the cluster, removed when dropped.
struct Cluster {
    api: ApiClient,
    paths: Vec<String>,
}

impl Cluster {
    fn create(&mut self, collection: &str, object: &Value) {
        self.api.create(collection, object).unwrap();
        let name = object["metadata"]["name"].as_str().unwrap();
        self.paths.push(format!("{collection}/{name}"));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for path in &self.paths {
            let _ = self.api.delete(path);
        }
    }
}

/// What a cluster in order has, and how it breaks.
struct Scene<'a> {
    plane: &'a Plane,
    cluster: Cluster,
    shop: Namespace,
    team: Team,
    proxy: Proxy,
}

impl<'a> Scene<'a> {
    /// SealedSecrets that the webhook judged, and ExternalSecrets from two stores.
    fn in_order(plane: &'a Plane, webhook: &Webhook) -> Self {
        let bao = OpenBao::shared().unwrap();
        let shop = plane.namespace("shop");
        webhook.watch(&shop.name);
        let mut moved = shop.draft("other").value("a", unique_value()).manifest();
        moved["metadata"]["name"] = json!("moved");
        webhook.wait_refused(&shop.sealed_secrets_path(), &moved, "ScopeMismatch");
        for number in 0..20 {
            shop.seal(&format!("db-{number}"), &unique_value());
        }
        (0..20).for_each(|number| drop(shop.wait_ready(&format!("db-{number}"))));

        let team = Team::new(plane, bao);
        let proxy = Proxy::start(bao.url()).unwrap();
        team.make("secretstores", &team.store("faulty", proxy.url()));
        for (name, store) in [("good", "vault"), ("later-down", "faulty")] {
            let secret = json!({"a": unique_value()});
            team.vault.put(&team.mount, name, &secret).unwrap();
            let spec = json!({
                "secretStoreRef": {"name": store}, "data": [property("a", name, "a")],
            });
            team.external(name, "3s", &spec);
            team.namespace.wait_secret(name, "is made", |_| true);
        }
        // Prometheus counts from the first sample on.
        drift(&shop, 1);
        let cluster = Cluster {
            api: plane.api.clone(),
            paths: Vec::new(),
        };
        Self {
            plane,
            cluster,
            shop,
            team,
            proxy,
        }
    }

    /// Failures of several kinds. Returns the alerts that they are for.
    fn break_it(&mut self) -> BTreeSet<String> {
        self.providers();
        self.api_server();
        let broken = self.plane.namespace("broken");
        let mut moved = broken.draft("other").value("a", unique_value()).manifest();
        moved["metadata"]["name"] = json!("moved");
        broken.apply(&moved);
        drift(&self.shop, 25);
        // Something for the webhook to judge.
        (20..30).for_each(|number| drop(self.shop.seal(&format!("db-{number}"), &unique_value())));
        // A rotation: what was sealed so far is sealed to an older key.
        let key = json!({
            "apiVersion": "sealkit.dev/v1beta1", "kind": "SealingKey",
            "metadata": {"name": unique("rotated")}, "spec": {"state": "Active"},
        });
        self.plane.api.create(SEALING_KEYS, &key).unwrap();
        let names = [
            "SealkitDriftHealed",
            "SealkitExternalSecretNotReady",
            "SealkitObjectsNeedReseal",
            "SealkitProviderErrors",
            "SealkitProviderUnavailable",
            "SealkitReconcileErrors",
            "SealkitSealedSecretNotReady",
            "SealkitStoreNotReady",
        ];
        names.map(str::to_owned).into()
    }

    /// A provider that is down, and values and credentials that do not exist.
    fn providers(&mut self) {
        self.proxy.set(Fault::Reset);
        for number in 0..10 {
            let spec = json!({"data": [property("a", "missing", "a")]});
            self.team
                .external(&format!("missing-{number}"), "3s", &spec);
        }
        let group = "/apis/external-secrets.io/v1";
        let mut store = self.team.store(&unique("store"), "http://127.0.0.1:1");
        store["kind"] = json!("ClusterSecretStore");
        let auth = &mut store["spec"]["provider"]["vault"]["auth"]["tokenSecretRef"];
        auth["name"] = json!("missing");
        auth["namespace"] = json!(self.team.namespace.name);
        self.cluster
            .create(&format!("{group}/clustersecretstores"), &store);
        store["kind"] = json!("SecretStore");
        store["metadata"]["name"] = json!("no-credentials");
        self.team.make("secretstores", &store);
        let everywhere = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ClusterExternalSecret",
            "metadata": {"name": unique("everywhere")},
            "spec": {
                // A name that is taken by another owner there.
                "externalSecretName": "good", "namespaces": [self.team.namespace.name],
                "externalSecretSpec": {"data": [property("a", "missing", "a")]},
            },
        });
        self.cluster
            .create(&format!("{group}/clusterexternalsecrets"), &everywhere);
    }

    /// Statuses of some objects cannot be written: the API server asks a webhook that is not there.
    fn api_server(&mut self) {
        let stuck = self.plane.namespace("stuck");
        let blocker = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": unique("blocker")},
            "webhooks": [{
                "name": "blocker.example.com",
                "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
                "clientConfig": {"url": "https://127.0.0.1:1/"},
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": stuck.name}},
                "rules": [{
                    "apiGroups": ["sealkit.dev"], "apiVersions": ["*"], "operations": ["*"],
                    "resources": ["sealedsecrets/status"],
                }],
            }],
        });
        let collection = sealkit_tests::webhook::CONFIGURATIONS;
        self.cluster.create(collection, &blocker);
        for number in 0..20 {
            stuck.seal(&format!("db-{number}"), &unique_value());
        }
    }

    /// What a person does about it.
    fn mend(&self) {
        self.proxy.set(Fault::None);
    }
}

/// Somebody changes a Secret again and again.
fn drift(shop: &Namespace, times: usize) {
    let good = shop.secret("db-0").unwrap()["data"].clone();
    for _ in 0..times {
        let change = json!({"data": {"password": "eA=="}});
        shop.api.merge(&shop.secret_path("db-0"), &change).unwrap();
        shop.wait_secret("db-0", "is restored", |secret| secret["data"] == good);
    }
}

#[test]
fn alerts_fire_where_they_should_and_every_panel_has_data() {
    let plane = Own::take();
    let port = free_port().unwrap();
    let webhook = Webhook::install(&plane, port, "Ignore");
    let mut controller = plane.controller(&flags(port));
    controller.wait_leading();
    let mut scene = Scene::in_order(&plane, &webhook);
    let mut soon = rules();
    for alert in alerts(&mut soon) {
        alert.insert("for".to_owned(), json!(SOON));
    }
    let mut prometheus = Prometheus::start(&config(&[&controller]), &soon).unwrap();
    wait_until("the controller is scraped", || {
        !series(&prometheus, "sealkit_leader == 1").is_empty()
    });
    let in_order = "no alert fires in a cluster in order";
    wait_until(in_order, || firing(&prometheus).is_empty());
    holds_for(SOME_SCRAPES, in_order, || firing(&prometheus).is_empty());
    linger();

    let expected = scene.break_it();
    for alert in &expected {
        wait_firing(&prometheus, alert);
    }
    linger();
    every_panel_has_data(&prometheus);
    queries_of_external_secrets_have_data(&prometheus);
    scene.mend();
    let alert = "SealkitProviderUnavailable";
    wait_within(WITHIN, "the provider is back", || {
        (!firing(&prometheus).contains(alert)).then_some(())
    });
    linger();
    draw(&prometheus);
    let ever = alert_names(
        &prometheus,
        "max_over_time(ALERTS{alertstate=\"firing\"}[1h])",
    );
    // On a busy machine a scrape may come late, which is what this one is for: see below.
    let late = "SealkitControllerAbsent".to_owned();
    let ever: BTreeSet<String> = ever.into_iter().filter(|name| *name != late).collect();
    assert_eq!(ever, expected, "these fired, and no other");

    controller.stop();
    let now = jiff::Timestamp::now();
    let lease = json!({"spec": {
        "holderIdentity": "somebody-else", "leaseDurationSeconds": 3600,
        "renewTime": format!("{now:.6}"),
    }});
    plane.api.merge(LEASE, &lease).unwrap();
    let mut waiting = plane.controller(&flags(port));
    prometheus.reconfigure(&config(&[&waiting])).unwrap();
    wait_firing(&prometheus, "SealkitNoLeader");
    waiting.stop();
    wait_firing(&prometheus, "SealkitControllerAbsent");
}

/// What a machine may not have, a run in order, or a controller without the flag.
const MAY_BE_ABSENT: [&str; 3] = [
    "sealkit_memory_limit_bytes",
    "sealkit_watch_errors_total",
    "sealkit_restarts_total",
];

fn every_panel_has_data(prometheus: &Prometheus) {
    for (title, query) in queries() {
        let may_be_absent = metrics(&query)
            .iter()
            .all(|name| MAY_BE_ABSENT.contains(name));
        if may_be_absent && !metrics(&query).is_empty() {
            series(prometheus, &query);
            continue;
        }
        wait_until(&format!("the panel {title} has data: {query}"), || {
            !series(prometheus, &query).is_empty()
        });
    }
}

/// What the dashboard of External Secrets asks for, by metric: the label that it compares and those
/// that it groups by. It takes only what has a `service` like `external-secrets`.
const ASKED_BY_EXTERNAL_SECRETS: [(&str, Option<&str>, &[&str]); 10] = [
    (
        "controller_runtime_webhook_requests_total",
        None,
        &["webhook"],
    ),
    ("controller_runtime_webhook_requests_total", None, &["code"]),
    (
        "controller_runtime_webhook_requests_in_flight",
        None,
        &["webhook"],
    ),
    (
        "controller_runtime_webhook_latency_seconds_bucket",
        None,
        &["le"],
    ),
    (
        "controller_runtime_active_workers",
        Some("controller"),
        &["controller"],
    ),
    ("workqueue_depth", None, &["name"]),
    (
        "externalsecret_provider_api_calls_count",
        None,
        &["provider", "call", "status"],
    ),
    (
        "controller_runtime_max_concurrent_reconciles",
        Some("controller"),
        &["controller"],
    ),
    (
        "controller_runtime_reconcile_total",
        Some("controller"),
        &["result"],
    ),
    (
        "controller_runtime_reconcile_time_seconds_bucket",
        Some("controller"),
        &["le"],
    ),
];

fn queries_of_external_secrets_have_data(prometheus: &Prometheus) {
    // Its variable `controller` has the values of this label.
    let controllers = series(
        prometheus,
        "group by (controller) (controller_runtime_active_workers{service=~\".*external-secrets.*\"})",
    );
    let controllers: BTreeSet<&str> = controllers
        .iter()
        .map(|one| one["metric"]["controller"].as_str().unwrap())
        .collect();
    for kind in ["externalsecret", "secretstore", "clustersecretstore"] {
        assert!(controllers.contains(kind), "{controllers:?}");
    }
    for (metric, compared, grouped) in ASKED_BY_EXTERNAL_SECRETS {
        let choose = compared.map_or(String::new(), |label| format!(",{label}=~\".+\""));
        let chosen = format!("{metric}{{service=~\".*external-secrets.*\"{choose}}}");
        let by = grouped.join(", ");
        for query in [
            format!("sum by ({by}) ({chosen})"),
            format!("sum by ({by}) (rate({chosen}[1m]))"),
        ] {
            let found = series(prometheus, &query);
            let is_labelled = |one: &Value| {
                grouped
                    .iter()
                    .all(|label| one["metric"][*label].is_string())
            };
            assert!(
                !found.is_empty() && found.iter().all(is_labelled),
                "{query}: {found:?}"
            );
        }
    }
}

/// With `SEALKIT_DASHBOARD`, the seconds that each part of the run lasts, so that the picture of it
/// shows something.
fn linger() {
    if let Ok(seconds) = std::env::var("SEALKIT_DASHBOARD") {
        sleep(Duration::from_secs(seconds.parse().expect("seconds")));
    }
}

/// With `SEALKIT_DASHBOARD`, draws the dashboard of this run for the documentation.
fn draw(prometheus: &Prometheus) {
    if std::env::var_os("SEALKIT_DASHBOARD").is_some() {
        let mut draw = Command::new(root().join("tests/e2e/monitoring/draw"));
        draw.arg(prometheus.url())
            .arg(root().join("docs/dashboard.svg"));
        assert!(draw.status().unwrap().success());
    }
}
