//! Trouble that passes, or that somebody ends, needs no restart.

use std::time::{Duration, Instant};

use sealkit_core::keys::{Identity, KeyType};
use sealkit_tests::api::ApiClient;
use sealkit_tests::canary::unique_value;
use sealkit_tests::controller::{Controller, Flags};
use sealkit_tests::namespace::{condition, data, ready_condition, resource_version, uid};
use sealkit_tests::plane::{Own, Plane, SYSTEM, SYSTEM_SECRETS, Shared, unique};
use sealkit_tests::wait::{holds_for, wait_until};
use serde_json::json;

/// An identity Secret as a backup without annotations brings it.
fn restore(api: &ApiClient, identity: &Identity) {
    let file = format!("# restored\n{}\n", identity.to_secret_text().as_str());
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "sealkit.dev/identity",
        "metadata": {"name": unique("restored")}, "stringData": {"identity": file},
    });
    api.create(SYSTEM_SECRETS, &secret).unwrap();
}

#[test]
fn objects_without_a_key_open_at_once_when_it_arrives() {
    let plane = Shared::get();
    let shop = plane.namespace("shop");
    let lost = Identity::generate(KeyType::Hybrid);
    let seal = |name: &str, value: &str| {
        shop.apply(
            &shop
                .draft(name)
                .value("password", value)
                .to(lost.recipient().clone())
                .manifest(),
        )
    };
    let (early, late) = (unique_value(), unique_value());
    let first = seal("stalled", &early);
    let waiting = shop.wait_reason("stalled", "Unknown", "NoMatchingKey");
    assert_eq!(condition(&waiting, "Reconciling"), Some("True"));
    let message = ready_condition(&waiting)["message"].as_str().unwrap();
    assert!(message.contains(&lost.fingerprint().short()), "{message}");

    let stalled = shop.wait_stalled("stalled", "NoMatchingKey");
    assert!(shop.secret("stalled").is_none());
    seal("waiting", &late);
    shop.wait_reason("waiting", "Unknown", "NoMatchingKey");
    // Nobody comes back to a stalled object on a timer.
    assert_eq!(
        resource_version(&stalled),
        resource_version(&shop.sealed("stalled"))
    );

    let start = Instant::now();
    restore(&plane.api, &lost);
    let object = shop.wait_ready("stalled");
    shop.wait_ready("waiting");
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(
        shop.secret("stalled").unwrap()["data"],
        data(&[("password", &early)])
    );
    assert_eq!(
        shop.secret("waiting").unwrap()["data"],
        data(&[("password", &late)])
    );
    assert_eq!(
        object["status"]["sealedTo"],
        json!([lost.fingerprint().to_string()])
    );
    assert_eq!(
        object["status"]["needsReseal"], true,
        "it opens only, others are sealed to"
    );

    let key = plane.sealing_key(&format!("key-{}", lost.fingerprint()));
    assert_eq!(
        (&key["status"]["state"], condition(&key, "Ready")),
        (&json!("DecryptOnly"), Some("True"))
    );
    let newest = plane.newest_key();
    assert_ne!(
        newest["status"]["fingerprint"],
        lost.fingerprint().to_string()
    );
    let told: Vec<_> = plane
        .recorder
        .status_writes(uid(&first))
        .iter()
        .map(|write| {
            (
                write.condition("Ready").unwrap().to_owned(),
                write.condition("Stalled").is_some(),
            )
        })
        .collect();
    let expected = [("Unknown", false), ("False", true), ("True", false)];
    assert_eq!(
        told,
        expected.map(|(ready, stalled)| (ready.to_owned(), stalled))
    );
}

/// A `ServiceAccount` that may do what the controller may, but Secrets only where a Role says so.
fn limited_controller(plane: &Plane) -> Controller {
    let name = "limited";
    plane
        .servers
        .kubectl(&["create", "serviceaccount", name, "-n", SYSTEM])
        .unwrap();
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let mut role = plane
        .api
        .get(&format!("{rbac}/clusterroles/sealkit-controller"))
        .unwrap();
    role["metadata"] = json!({"name": name});
    let mut cut = 0;
    for rule in role["rules"].as_array_mut().unwrap() {
        if rule["resources"] == json!(["secrets"]) {
            rule["verbs"] = json!(["list", "watch"]);
            cut += 1;
        }
    }
    assert_eq!(cut, 1);
    plane
        .api
        .create(&format!("{rbac}/clusterroles"), &role)
        .unwrap();
    let subject = format!("--serviceaccount={SYSTEM}:{name}");
    plane
        .servers
        .kubectl(&[
            "create",
            "clusterrolebinding",
            name,
            "--clusterrole=limited",
            &subject,
        ])
        .unwrap();
    let lease = [
        "create",
        "rolebinding",
        name,
        "-n",
        SYSTEM,
        "--role=sealkit-controller",
        &subject,
    ];
    plane.servers.kubectl(&lease).unwrap();
    grant(plane, SYSTEM);
    let kubeconfig = plane
        .servers
        .service_account_kubeconfig(SYSTEM, name, None)
        .unwrap();
    let mut controller = Controller::start(&kubeconfig, &plane.logs(), &Flags::default());
    controller.wait_leading();
    controller
}

fn grant(plane: &Plane, namespace: &str) {
    let role = [
        "create",
        "role",
        "sealkit-secrets",
        "-n",
        namespace,
        "--resource=secrets",
        "--verb=get,list,watch,create,patch,delete",
    ];
    plane.servers.kubectl(&role).unwrap();
    let subject = format!("--serviceaccount={SYSTEM}:limited");
    let bind = [
        "create",
        "rolebinding",
        "sealkit-secrets",
        "-n",
        namespace,
        "--role=sealkit-secrets",
        &subject,
    ];
    plane.servers.kubectl(&bind).unwrap();
}

#[test]
fn a_namespace_without_rights_waits_and_disturbs_no_other() {
    let plane = Own::take();
    let mut controller = limited_controller(&plane);
    let (allowed, denied) = (plane.namespace("allowed"), plane.namespace("denied"));
    grant(&plane, &allowed.name);
    let values: Vec<String> = (0..4).map(|_| unique_value()).collect();
    let refused = denied.seal("db", &values[0]);
    let waiting = denied.wait_reason("db", "Unknown", "AccessDenied");
    assert_eq!(condition(&waiting, "Reconciling"), Some("True"));
    let message = ready_condition(&waiting)["message"].as_str().unwrap();
    assert!(message.contains("403 Forbidden"), "{message}");

    allowed.seal("db", &values[1]);
    allowed.wait_ready("db");
    allowed.wait_value("db", &values[1]);
    allowed.api.delete(&allowed.secret_path("db")).unwrap();
    allowed.wait_value("db", &values[1]);

    grant(&plane, &denied.name);
    denied.wait_ready("db");
    denied.wait_value("db", &values[0]);
    let writes = plane.recorder.status_writes(uid(&refused));
    assert_eq!(writes.len(), 2, "retries say nothing new");

    // Taken away again: what was synced stays, and says so.
    plane
        .servers
        .kubectl(&[
            "delete",
            "rolebinding",
            "sealkit-secrets",
            "-n",
            &denied.name,
        ])
        .unwrap();
    wait_until("the right is gone", || {
        denied.seal("db", &values[2]);
        condition(&denied.wait_looked("db"), "Ready") == Some("Unknown")
    });
    denied.wait_reason("db", "Unknown", "AccessDenied");
    let before = denied.secret("db");
    holds_for(Duration::from_secs(1), "the last good Secret", || {
        denied.secret("db") == before
    });
    assert!(controller.process.is_running());
}

/// What a wrong cluster says: sealed to a key that it never had.
#[test]
fn an_object_for_another_cluster_is_stalled_and_says_for_whom_it_is() {
    let plane = Shared::get();
    let shop = plane.namespace("shop");
    let other = Identity::generate(KeyType::Classic);
    shop.apply(
        &shop
            .draft("db")
            .value("password", unique_value())
            .to(other.recipient().clone())
            .manifest(),
    );
    let object = shop.wait_stalled("db", "NoMatchingKey");
    let message = ready_condition(&object)["message"].as_str().unwrap();
    let ours = plane.newest_key()["status"]["fingerprint"]
        .as_str()
        .unwrap()[..16]
        .to_owned();
    assert!(
        message.contains(&other.fingerprint().short()) && message.contains(&ours),
        "{message}"
    );
    assert_eq!(
        object["status"]["sealedTo"],
        json!([]),
        "nothing that hints say is believed"
    );
    let good = unique_value();
    shop.seal("db", &good);
    shop.wait_ready("db");
    shop.wait_value("db", &good);
}
