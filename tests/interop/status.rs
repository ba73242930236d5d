//! What kstatus (Flux, Helm, kubectl) and Argo CD make of every status that the controller writes.

use std::fmt::Write as _;

use jiff::Timestamp;
use sealkit_controller::status::{Outcome, conditions, external_conditions};
use sealkit_core::api::{Reason, custom_resource_definitions};
use sealkit_core::manifest::read_documents;
use serde_json::{Value, json};

use crate::peers::{go, text, tree};

const KINDS: [&str; 3] = ["SealedSecret", "SealingKey", EXTERNAL];
const EXTERNAL: &str = "ExternalSecret";
const GENERATION: i64 = 7;

/// One object, and what readers must make of it.
struct Case {
    what: String,
    object: Value,
    kstatus: &'static str,
    argo: &'static str,
    /// The message that Argo CD must show, where it is the controller's.
    message: Option<&'static str>,
}

#[test]
fn kstatus_is_current_only_when_ready_and_failed_only_when_stalled() {
    for kind in KINDS {
        let cases = cases(kind);
        let read = text(&mut go("kstatus", "kstatus"), lines(&cases).as_bytes());
        let read: Vec<_> = read.lines().collect();
        assert_eq!(read.len(), cases.len());
        for (case, status) in cases.iter().zip(read) {
            assert_eq!(status, case.kstatus, "{kind}: {}", case.what);
        }
    }
}

#[test]
fn argo_cd_is_healthy_only_when_ready_and_degraded_only_when_stalled() {
    for kind in KINDS {
        let mut cases = cases(kind);
        // An object of a cluster whose CRD has no default; kstatus takes it for done.
        cases.push(case(
            "no status",
            object(kind, GENERATION, &json!(null)),
            "-",
            "Progressing",
        ));
        if kind == "SealedSecret" {
            // Whatever its status still says.
            cases.extend(self::cases(kind).into_iter().map(|mut case| {
                case.object["spec"]["suspend"] = true.into();
                Case {
                    argo: "Suspended",
                    message: None,
                    ..case
                }
            }));
        }
        for (case, health) in cases.iter().zip(argo_health(kind, &cases)) {
            assert_eq!(health["status"], case.argo, "{kind}: {}", case.what);
            let message = health["message"].as_str().unwrap();
            assert!(!message.is_empty(), "{kind}: {}", case.what);
            if let Some(expected) = case.message {
                assert_eq!(message, expected, "{kind}: {}", case.what);
            }
        }
    }
}

#[test]
fn argo_cd_waits_where_conditions_are_incomplete() {
    let ready = json!({"type": "Ready", "status": "True"});
    let with =
        |conditions: Value| json!({"observedGeneration": GENERATION, "conditions": conditions});
    let stalled = json!({"type": "Stalled", "status": "False"});
    let reconciling = json!({"type": "Reconciling", "status": "True"});
    let table = [
        (json!({}), "Progressing"),
        (json!({"observedGeneration": GENERATION}), "Progressing"),
        (json!({"conditions": []}), "Progressing"),
        (with(json!([])), "Progressing"),
        (with(json!([ready])), "Healthy"),
        (with(json!([stalled, ready])), "Healthy"),
        (with(json!([reconciling, ready])), "Progressing"),
        (
            with(json!([{"type": "Ready", "status": "False"}])),
            "Progressing",
        ),
    ];
    for kind in KINDS {
        let cases: Vec<_> = table
            .iter()
            .map(|(status, argo)| case("", object(kind, GENERATION, status), "-", argo))
            .collect();
        for (case, health) in cases.iter().zip(argo_health(kind, &cases)) {
            assert_eq!(health["status"], case.argo, "{kind}: {}", case.object);
        }
    }
}

#[test]
fn argo_cd_asks_for_the_generation_unless_the_original_controller_wrote_the_status() {
    let said = |status| json!({"conditions": [{"type": "Ready", "status": status}]});
    for kind in KINDS {
        let expected = if kind == EXTERNAL {
            ["Healthy", "Progressing", "Degraded"]
        } else {
            ["Progressing"; 3]
        };
        let cases: Vec<_> = ["True", "Unknown", "False"]
            .into_iter()
            .zip(expected)
            .map(|(status, argo)| case(status, object(kind, GENERATION, &said(status)), "-", argo))
            .collect();
        for (case, health) in cases.iter().zip(argo_health(kind, &cases)) {
            assert_eq!(health["status"], case.argo, "{kind}: {}", case.what);
        }
    }
}

#[test]
fn the_config_map_for_argo_cd_holds_the_tested_scripts() {
    let config = std::fs::read(tree("deploy/integrations/argocd/argocd-cm.yaml")).unwrap();
    let documents = read_documents(&config).unwrap();
    let [config] = documents.as_slice() else {
        panic!("{} documents", documents.len())
    };
    assert_eq!(
        (config.kind(), config.metadata("name")),
        ("ConfigMap", "argocd-cm")
    );
    let data = config.object["data"].as_object().unwrap();
    assert_eq!(data.len(), KINDS.len());
    for kind in KINDS {
        let script = std::fs::read_to_string(script(kind)).unwrap();
        let group = if kind == EXTERNAL {
            "external-secrets.io"
        } else {
            "sealkit.dev"
        };
        let key = format!("resource.customizations.health.{group}_{kind}");
        assert_eq!(data[&key], script, "{kind}");
    }
}

/// Every outcome, before and after its generation has synced, seen and stale; and an object that
/// no controller has looked at.
fn cases(kind: &str) -> Vec<Case> {
    let text = || "what the controller says".to_owned();
    let mut outcomes: Vec<_> = [Reason::Opened, Reason::KeyAvailable]
        .map(|reason| (Outcome::Ready(reason, text()), "Current", "Healthy"))
        .into();
    let retried = [
        Reason::TargetWriteFailed,
        Reason::AccessDenied,
        Reason::NoMatchingKey,
    ];
    outcomes.extend(retried.map(|reason| {
        (
            Outcome::Retrying(reason, text()),
            "InProgress",
            "Progressing",
        )
    }));
    let terminal = [
        Reason::AlgorithmNotAllowed,
        Reason::DecryptFailed,
        Reason::IdentityMissing,
        Reason::InUse,
        Reason::InvalidSpec,
        Reason::NoMatchingKey,
        Reason::ScopeMismatch,
        Reason::TargetConflict,
        Reason::TargetWriteFailed,
    ];
    outcomes
        .extend(terminal.map(|reason| (Outcome::Stalled(reason, text()), "Failed", "Degraded")));

    let mut cases = Vec::new();
    // The resources of External Secrets have no default.
    if kind != EXTERNAL {
        let default = object(kind, GENERATION, &default_status(kind));
        let what = "nobody has looked yet";
        cases.push(case(what, default, "InProgress", "Progressing"));
    }
    let conditions = if kind == EXTERNAL {
        external_conditions
    } else {
        conditions
    };
    for (outcome, kstatus, argo) in outcomes {
        for had_synced in [false, true] {
            let now = Timestamp::from_second(1_700_000_000).unwrap();
            let conditions = conditions(&outcome, GENERATION, had_synced, &[], now);
            let status = json!({"observedGeneration": GENERATION, "conditions": conditions});
            let what = format!("{outcome:?}, had_synced {had_synced}");
            cases.push(Case {
                message: Some("what the controller says"),
                ..case(&what, object(kind, GENERATION, &status), kstatus, argo)
            });
            let stale = object(kind, GENERATION + 1, &status);
            cases.push(case(
                &format!("{what}, stale"),
                stale,
                "InProgress",
                "Progressing",
            ));
        }
    }
    cases
}

fn case(what: &str, object: Value, kstatus: &'static str, argo: &'static str) -> Case {
    Case {
        what: what.to_owned(),
        object,
        kstatus,
        argo,
        message: None,
    }
}

fn object(kind: &str, generation: i64, status: &Value) -> Value {
    json!({
        "apiVersion": "sealkit.dev/v1beta1",
        "kind": kind,
        "metadata": {"name": "db", "namespace": "shop", "generation": generation},
        "spec": {},
        "status": status,
    })
}

/// The status that the API server gives a new object.
fn default_status(kind: &str) -> Value {
    let crds = custom_resource_definitions();
    let crd = crds.iter().find(|crd| crd.spec.names.kind == kind).unwrap();
    let crd = serde_json::to_value(crd).unwrap();
    let status = crd
        .pointer("/spec/versions/0/schema/openAPIV3Schema/properties/status/default")
        .unwrap();
    assert_eq!(status, &json!({"observedGeneration": -1}));
    status.clone()
}

fn argo_health(kind: &str, cases: &[Case]) -> Vec<Value> {
    let read = text(go("lua", "lua").arg(script(kind)), lines(cases).as_bytes());
    let health: Vec<Value> = read
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(health.len(), cases.len());
    health
}

fn script(kind: &str) -> std::path::PathBuf {
    tree("deploy/integrations/argocd/health").join(format!("{}.lua", kind.to_lowercase()))
}

fn lines(cases: &[Case]) -> String {
    cases.iter().fold(String::new(), |mut lines, case| {
        let _ = writeln!(lines, "{}", case.object);
        lines
    })
}
