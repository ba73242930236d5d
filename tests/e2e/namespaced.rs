//! The controller for a few namespaces, with `deploy/namespaced` and nothing more.

use std::path::Path;
use std::time::Duration;

use sealkit_tests::api::ApiClient;
use sealkit_tests::canary::unique_value;
use sealkit_tests::controller::{Controller, Flags};
use sealkit_tests::namespace::condition;
use sealkit_tests::plane::{Plane, SYSTEM};
use sealkit_tests::wait::{holds_for, wait_until};
use serde_json::{Value, json};

/// Gives the controller its rights in a namespace.
fn allow(plane: &Plane, namespace: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let tenant = root.join("deploy/namespaced/tenant");
    let arguments = ["apply", "--server-side", "-n", namespace, "-k"];
    let arguments = [&arguments[..], &[tenant.to_str().unwrap()]].concat();
    plane.servers.kubectl(&arguments).unwrap();
}

/// Asserts that readiness, metrics, log, `seal doctor` and `seal status` name these namespaces and no
/// others, with the command that mends it.
fn assert_unwatched(plane: &Plane, controller: &Controller, namespaces: &[&str]) {
    let fix =
        |name: &str| format!("kubectl apply --server-side -n {name} -k deploy/namespaced/tenant");
    wait_until("it tells which namespaces are not watched", || {
        let (code, body) = controller.get("/readyz").unwrap();
        let lines = body.lines().count();
        code == 200
            && lines == 1 + namespaces.len()
            && namespaces.iter().all(|name| body.contains(&fix(name)))
    });
    let unwatched = controller
        .metric("sealkit_namespace_unwatched", "")
        .to_string();
    assert_eq!(unwatched, namespaces.len().to_string());
    let seal = crate::wait::Seal::admin(plane);
    let told = "SEALKIT_WATCH_NAMESPACES=team-a,team-b,late,nowhere";
    let set = [
        "set",
        "env",
        "deployment/seal-controller",
        "-n",
        SYSTEM,
        told,
    ];
    plane.servers.kubectl(&set).unwrap();
    let report = |verb: &str| -> Value {
        let output = seal.run(&[verb, "-o", "json", "--context", "rig"]);
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let (doctor, status) = (report("doctor"), report("status"));
    let troubles = doctor["troubles"].as_array().unwrap().iter();
    let troubles: Vec<_> = troubles
        .filter(|trouble| trouble["code"] == "NotWatched")
        .collect();
    let unwatched = status["unwatched"].as_array().unwrap();
    for name in namespaces {
        assert!(controller.log().contains(&fix(name)), "{name}");
        let command = fix(name).replacen("kubectl", "kubectl --context rig", 1);
        assert!(
            troubles.iter().any(|trouble| trouble["mend"][0] == command),
            "{doctor:#}"
        );
        assert!(
            unwatched.iter().any(|it| it["mend"][0] == command),
            "{status:#}"
        );
    }
    // `other` has an object that nobody opens.
    let detail = |trouble: &&Value| {
        trouble["detail"]
            .as_str()
            .unwrap()
            .contains("namespace other")
    };
    assert!(troubles.iter().any(detail), "{doctor:#}");
    assert_eq!(troubles.len(), namespaces.len() + 1, "{doctor:#}");
    assert_eq!(unwatched.len(), namespaces.len() + 1, "{status:#}");
}

#[test]
fn it_serves_each_of_its_namespaces_by_itself_and_has_no_right_elsewhere() {
    let plane = Plane::with("deploy/namespaced");
    let kubectl = |arguments: &[&str]| plane.servers.kubectl(arguments).unwrap();
    for name in ["team-a", "team-b", "late", "other"] {
        kubectl(&["create", "namespace", name]);
    }
    for name in ["team-a", "team-b"] {
        allow(&plane, name);
    }
    let account = ApiClient::new(&plane.controller_kubeconfig);
    wait_until("the roles are in force", || {
        account.may("list", "secrets", "team-b")
    });
    for verb in ["get", "list", "watch", "create", "patch", "delete"] {
        assert!(account.may(verb, "secrets", "team-a"), "{verb}");
        for elsewhere in ["", "other", "default", "kube-system"] {
            assert!(
                !account.may(verb, "secrets", elsewhere),
                "{verb} in {elsewhere:?}"
            );
        }
    }
    assert!(
        !account.may("delete", "secrets", SYSTEM),
        "identities are never deleted"
    );
    for resource in [
        "sealedsecrets.sealkit.dev",
        "configmaps",
        "pods",
        "serviceaccounts/token",
    ] {
        assert!(!account.may("list", resource, ""), "{resource}");
    }

    let flags = Flags {
        // One tenant has no Role yet, and one namespace does not exist.
        more: vec!["--watch-namespaces=team-a,team-b,late,nowhere".to_owned()],
        ..Flags::default()
    };
    let mut controller = plane.controller(&flags);
    controller.wait_leading();
    let recipient = sealkit_tests::plane::recipient(&plane.newest_key());
    let attach = |name| sealkit_tests::namespace::Namespace::existing(&plane.api, name, &recipient);
    let (a, b, other) = (attach("team-a"), attach("team-b"), attach("other"));
    let values: Vec<String> = (0..4).map(|_| unique_value()).collect();
    for (namespace, value) in [(&a, &values[0]), (&b, &values[1]), (&other, &values[2])] {
        namespace.seal("db", value);
    }
    for (namespace, value) in [(&a, &values[0]), (&b, &values[1])] {
        let object = namespace.wait_ready("db");
        namespace.wait_value("db", value);
        namespace.wait_event(&object, "Opened");
        namespace.api.delete(&namespace.secret_path("db")).unwrap();
        namespace.wait_value("db", value);
    }
    holds_for(Duration::from_secs(2), "another namespace", || {
        other.secret("db").is_none() && condition(&other.sealed("db"), "Ready").is_none()
    });

    assert_unwatched(&plane, &controller, &["late", "nowhere"]);
    let late = attach("late");
    late.seal("db", &values[0]);
    allow(&plane, "late");
    late.wait_value("db", &values[0]);
    assert_unwatched(&plane, &controller, &["nowhere"]);

    // A restart finds all in sync; gone objects are forgotten per namespace.
    controller.stop();
    a.delete_sealed("db");
    let mut again = plane.controller(&flags);
    again.wait_leading();
    b.seal("db", &values[3]);
    b.wait_ready("db");
    b.wait_value("db", &values[3]);
    wait_until("each namespace is listed", || {
        again.metric("sealkit_objects", "").to_string() == "2"
    });
    // A tenant deletes its own namespace; the rig's controllers of namespaces remove what is in it.
    kubectl(&["delete", "namespace", "late", "--wait=false"]);
    wait_until("its objects are forgotten", || {
        again.metric("sealkit_objects", "").to_string() == "1"
    });
    a.seal("after", &values[2]);
    a.wait_value("after", &values[2]);
    assert!(again.get("/readyz").is_some_and(|(code, _)| code == 200));
    let violations = plane.recorder.violations();
    assert!(violations.is_empty(), "{violations:#?}");
    assert_eq!(
        account
            .create(
                &other.secrets_path(),
                &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}})
            )
            .unwrap_err()
            .code,
        403
    );
}
