//! The controller for a few namespaces, with `deploy/namespaced` and nothing more.

use std::path::Path;
use std::time::Duration;

use sealkit_tests::api::ApiClient;
use sealkit_tests::canary::unique_value;
use sealkit_tests::controller::Flags;
use sealkit_tests::namespace::condition;
use sealkit_tests::plane::{Plane, SYSTEM};
use sealkit_tests::wait::{holds_for, wait_until};
use serde_json::json;

#[test]
fn it_serves_its_namespaces_and_has_no_right_elsewhere() {
    let plane = Plane::with("deploy/namespaced");
    let kubectl = |arguments: &[&str]| plane.servers.kubectl(arguments).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let tenant = root.join("deploy/namespaced/tenant");
    for name in ["team-a", "team-b", "other"] {
        kubectl(&["create", "namespace", name]);
    }
    for name in ["team-a", "team-b"] {
        kubectl(&[
            "apply",
            "--server-side",
            "-n",
            name,
            "-k",
            tenant.to_str().unwrap(),
        ]);
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
        more: vec!["--watch-namespaces=team-a,team-b".to_owned()],
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

    // A restart finds all in sync; gone objects are forgotten per namespace.
    controller.stop();
    a.delete_sealed("db");
    let mut again = plane.controller(&flags);
    again.wait_leading();
    b.seal("db", &values[3]);
    b.wait_ready("db");
    b.wait_value("db", &values[3]);
    assert_eq!(again.metric("sealkit_objects", "").to_string(), "1");
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
