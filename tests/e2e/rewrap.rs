//! The rewrap service, used and attacked. What it decides of one envelope stands in the
//! controller's unit tests; here are the real API server, its rights and floods.

use std::time::{Duration, Instant};

use sealkit_core::keys::{Identity, KeyRing, KeyType, Recipient, RecipientSet};
use sealkit_core::sealed::{Context, Scope, SealedObject, Search, open, seal};
use sealkit_tests::api::ApiClient;
use sealkit_tests::canary::unique_value;
use sealkit_tests::controller::Flags;
use sealkit_tests::namespace::{Namespace, condition, message};
use sealkit_tests::plane::{Own, SEALING_KEYS, Shared, name_of, recipient, unique};
use sealkit_tests::rewrap::{
    TRUSTED, ask, create, envelope_of, id_of, path_of, request, requests_path, trust, wait_answer,
};
use sealkit_tests::wait::{holds_for, wait_for, wait_until};
use serde_json::{Value, json};
use zeroize::Zeroizing;

fn fingerprint(key: &Value) -> String {
    key["status"]["fingerprint"].as_str().unwrap().to_owned()
}

/// An object of shop/db, sealed to these.
fn object(namespace: &str, scope: Scope, to: &[Recipient]) -> Value {
    let context = Context::new(scope, namespace, "db").unwrap();
    let value = Zeroizing::new(unique_value().into_bytes());
    let set = RecipientSet::new(to.iter().cloned()).unwrap();
    let sealed = seal(&[("K".to_owned(), value)].into(), &context, &set, false).unwrap();
    json!({
        "apiVersion": "sealkit.dev/v1beta1", "kind": "SealedSecret",
        "metadata": {"name": "db", "namespace": namespace},
        "spec": {"scope": scope.name(), "envelopes": {sealed.id.as_str(): sealed.envelope},
            "encryptedData": sealed.values},
    })
}

/// A new key of the cluster; the one that it supersedes and the new one.
fn rotate(own: &Own) -> (Value, Value) {
    let old = own.newest_key();
    let key = json!({
        "apiVersion": "sealkit.dev/v1beta1", "kind": "SealingKey",
        "metadata": {"generateName": "next-"}, "spec": {},
    });
    own.api.create(SEALING_KEYS, &key).unwrap();
    let new = wait_for("the new key", || {
        let newest = own.newest_key();
        (fingerprint(&newest) != fingerprint(&old)).then_some(newest)
    });
    (old, new)
}

#[test]
fn envelopes_follow_the_clusters_key_and_whom_it_trusts() {
    let plane = Own::take();
    let mut controller = plane.leading_controller();
    let shop = plane.namespace("shop");
    let (old, new) = rotate(&plane);
    let recovery = Identity::generate(KeyType::Hybrid);
    let [staging, staging_new]: [Identity; 2] =
        std::array::from_fn(|_| Identity::generate(KeyType::Hybrid));
    let to = [
        recipient(&old),
        recovery.recipient().clone(),
        staging.recipient().clone(),
    ];
    let manifest = object(&shop.name, Scope::Strict, &to);
    let (id, envelope) = envelope_of(&manifest);

    // Nobody said who the others are.
    let error = |answer: &Value| answer["error"].as_str().unwrap_or_default().to_owned();
    let refused = error(&ask(&shop, &id, &envelope));
    for part in [&recovery, &staging] {
        assert!(refused.contains(&part.fingerprint().short()), "{refused}");
    }
    assert!(refused.contains("there is no ConfigMap sealkit-system/sealkit-recipients"));
    trust(&plane.api, &json!({"recovery.pub": "age1nonsense"}));
    let refused = error(&ask(&shop, &id, &envelope));
    assert!(
        refused.contains("malformed") && refused.contains("recovery.pub"),
        "{refused}"
    );
    trust(
        &plane.api,
        &json!({"recovery.pub": recovery.recipient().to_string()}),
    );
    let refused = error(&ask(&shop, &id, &envelope));
    assert!(
        refused.contains(&staging.fingerprint().short()),
        "{refused}"
    );
    assert!(
        !refused.contains(&recovery.fingerprint().short()),
        "{refused}"
    );

    // Now it is said, and heard at once.
    let successor = format!("{}={}\n", staging.fingerprint(), staging_new.recipient());
    trust(
        &plane.api,
        &json!({"recovery.pub": format!("# r\n{}\n", recovery.recipient()), "successors": successor}),
    );
    let answer = ask(&shop, &id, &envelope);
    let mut expected = vec![
        fingerprint(&new),
        recovery.fingerprint().to_string(),
        staging_new.fingerprint().to_string(),
    ];
    expected.sort();
    assert_eq!(answer["recipients"], json!(expected), "{answer}");
    let mut rewrapped = manifest.clone();
    rewrapped["spec"]["envelopes"][&id] = answer;
    let parsed = SealedObject::parse(&rewrapped).unwrap();
    for identity in [&recovery, &staging_new] {
        let ring = KeyRing::new([identity.clone()]).unwrap();
        assert!(open(&parsed, &ring, Search::Hinted).is_ok());
    }
    assert!(
        open(
            &parsed,
            &KeyRing::new([staging]).unwrap(),
            Search::Exhaustive
        )
        .is_err()
    );
    shop.apply(&manifest);
    let secret = shop.wait_secret("db", "is there", |_| true);
    shop.apply(&rewrapped);
    wait_until("the rewrapped object is opened with the new key", || {
        shop.sealed("db")["status"]["sealedTo"] == json!([fingerprint(&new)])
    });
    assert_eq!(shop.secret("db").unwrap()["metadata"], secret["metadata"]);

    // A key that is ended opens nothing more.
    let path = format!("{SEALING_KEYS}/{}", name_of(&old));
    plane
        .api
        .merge(&path, &json!({"spec": {"state": "Revoked"}}))
        .unwrap();
    wait_until("the old key is revoked", || {
        plane.sealing_key(name_of(&old))["status"]["state"] == "Revoked"
    });
    let refused = error(&ask(&shop, &id, &envelope));
    assert!(refused.contains("the keys held are"), "{refused}");
    assert!(controller.process.is_running());
    plane.api.delete(TRUSTED).unwrap();
}

#[test]
fn a_request_gives_nobody_what_he_could_not_read() {
    let plane = Shared::get();
    let (shop, bank) = (plane.namespace("shop"), plane.namespace("bank"));
    let to = [recipient(&plane.newest_key())];
    let error = |answer: Value| answer["error"].as_str().map(str::to_owned);
    // Another namespace's envelope; a cluster-wide one is anybody's already.
    for (scope, refused) in [
        (Scope::Strict, true),
        (Scope::NamespaceWide, true),
        (Scope::ClusterWide, false),
    ] {
        let (id, envelope) = envelope_of(&object(&shop.name, scope, &to));
        assert_eq!(
            error(ask(&bank, &id, &envelope)).is_some(),
            refused,
            "{scope}"
        );
        assert_eq!(error(ask(&shop, &id, &envelope)), None, "{scope}");
    }
    // The request names recipients: hints, which decide nothing.
    let stranger = Identity::generate(KeyType::Hybrid)
        .fingerprint()
        .to_string();
    let (id, envelope) = envelope_of(&object(&shop.name, Scope::Strict, &to));
    let mut more = envelope.clone();
    more["recipients"]
        .as_array_mut()
        .unwrap()
        .push(json!(stranger));
    let mut other = envelope.clone();
    other["recipients"] = json!([stranger]);
    for lying in [&more, &other] {
        assert!(error(ask(&shop, &id, lying)).is_some(), "{lying}");
    }
    // Replayed: the same answer, for the same readers.
    let again: Vec<Value> = (0..2)
        .map(|_| ask(&shop, &id, &envelope)["recipients"].clone())
        .collect();
    assert_eq!(
        again,
        [
            envelope["recipients"].clone(),
            envelope["recipients"].clone()
        ]
    );
    // Under another id, cut, and what is no envelope at all.
    assert!(error(ask(&shop, "dkygiqm6nibo27suvpmyknuwvetd3o33", &envelope)).is_some());
    let mut cut = envelope.clone();
    cut["ageFile"] = json!(&envelope["ageFile"].as_str().unwrap()[..400]);
    assert!(error(ask(&shop, &id, &cut)).is_some());
    let nonsense = json!({"recipients": [], "ageFile": "\u{1b}[2J"});
    let answer = error(ask(&shop, &id_of(1), &nonsense)).unwrap();
    assert!(!answer.contains('\u{1b}'), "{answer:?}");
    // The API server takes no other ids, and quotes none.
    let unnamed = request([("\u{1b}[2J".to_owned(), nonsense)]);
    let refusal = create(&shop.api, &shop.name, &unnamed).unwrap_err();
    assert!(
        refusal.code == 422 && !refusal.message.contains('\u{1b}'),
        "{refusal:?}"
    );
}

#[test]
fn a_request_is_never_changed_and_its_limits_hold() {
    let plane = Shared::get();
    let shop = plane.namespace("shop");
    let to = [recipient(&plane.newest_key())];
    let (id, envelope) = envelope_of(&object(&shop.name, Scope::Strict, &to));
    let make = |request: &Value| create(&shop.api, &shop.name, request);
    let made = make(&request([(id.clone(), envelope.clone())])).unwrap();
    let change = json!({"spec": {"envelopes": {&id: {"ageFile": "x"}}}});
    let refused = shop.api.merge(&path_of(&made), &change).unwrap_err();
    assert!(
        refused.message.contains("a request cannot be changed"),
        "{refused:?}"
    );

    let many = (0..201).map(|at| (id_of(at), json!({"recipients": [], "ageFile": ""})));
    assert_eq!(make(&request(many)).unwrap_err().code, 422);
    // Two hundred of three kilobytes each: the schema cannot count bytes.
    let large = json!({"recipients": [], "ageFile": "A".repeat(3_000)});
    let large = request((0..200).map(|at| (id_of(at), large.clone())));
    let answer = wait_answer(&shop.api, &make(&large).unwrap());
    assert_eq!(condition(&answer, "Stalled"), Some("True"));
    assert!(
        message(&answer).contains("409600 bytes"),
        "{}",
        message(&answer)
    );
    assert!(answer["status"]["envelopes"].is_null());

    // Requests that a finalizer keeps after they were deleted take nobody's place.
    let held = json!({"metadata": {"finalizers": ["example.com/held"]}});
    let held: Vec<String> = (0..10)
        .map(|_| {
            let mut one = request([(id.clone(), envelope.clone())]);
            one["metadata"]["finalizers"] = held["metadata"]["finalizers"].clone();
            let path = path_of(&make(&one).unwrap());
            shop.api.delete(&path).unwrap();
            path
        })
        .collect();
    wait_until("there is room", || {
        let made = make(&request([(id.clone(), envelope.clone())])).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let status = shop
            .api
            .get(&path_of(&made))
            .map(|it| it["status"]["observedGeneration"].clone());
        let _ = shop.api.delete(&path_of(&made));
        status == Some(json!(1))
    });
    for path in held {
        let free = json!({"metadata": {"finalizers": null}});
        shop.api.merge(&path, &free).unwrap();
    }

    // A status that somebody planted with the request is not kept.
    let mut planted = request([(id.clone(), envelope)]);
    planted["status"] =
        json!({"observedGeneration": 1, "envelopes": {&id: {"ageFile": "planted"}}});
    let answer = wait_answer(&shop.api, &make(&planted).unwrap());
    assert_ne!(answer["status"]["envelopes"][&id]["ageFile"], "planted");
}

#[test]
fn a_status_that_was_planted_before_the_answer_is_replaced() {
    let plane = Own::take();
    let mut controller = plane.leading_controller();
    let shop = plane.namespace("shop");
    let to = [recipient(&plane.newest_key())];
    controller.stop();
    let (id, envelope) = envelope_of(&object(&shop.name, Scope::Strict, &to));
    let made = create(&shop.api, &shop.name, &request([(id.clone(), envelope)])).unwrap();
    let planted = json!({"status": {"observedGeneration": 1, "envelopes": {
        &id: {"ageFile": "planted"}, "another": {"ageFile": "planted"},
    }}});
    let path = path_of(&made);
    shop.api.merge(&format!("{path}/status"), &planted).unwrap();
    let _controller = plane.leading_controller();
    wait_until("the answer", || {
        let status = &shop.api.get(&path).unwrap()["status"];
        status["envelopes"][&id]["ageFile"] != "planted" && status["envelopes"]["another"].is_null()
    });
    shop.api.delete(&path).unwrap();
}

#[test]
fn those_who_may_ask_may_nothing_else() {
    let plane = Shared::get();
    let shop = plane.namespace("shop");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap();
    let template = root.join("deploy/rewrap");
    let kubectl = |arguments: &[&str]| plane.servers.kubectl(arguments).unwrap();
    kubectl(&[
        "apply",
        "--server-side",
        "-n",
        &shop.name,
        "-k",
        template.to_str().unwrap(),
    ]);
    let asker = plane.service_account(&shop.name, "asker");
    let subject = format!("--serviceaccount={}:asker", shop.name);
    kubectl(&[
        "create",
        "rolebinding",
        "asker",
        "-n",
        &shop.name,
        "--role=sealkit-rewrap",
        &subject,
    ]);
    let kind = "rewraprequests.sealkit.dev";
    wait_until("the role is in force", || {
        asker.may("create", kind, &shop.name)
    });
    for (verb, resource) in [
        ("update", kind),
        ("patch", kind),
        ("patch", "rewraprequests/status.sealkit.dev"),
        ("update", "rewraprequests/status.sealkit.dev"),
        ("get", "secrets"),
        ("get", "sealedsecrets.sealkit.dev"),
    ] {
        assert!(!asker.may(verb, resource, &shop.name), "{verb} {resource}");
    }
    assert!(!asker.may("create", kind, "default"));

    // The quota says no before the controller would delete.
    let to = [recipient(&plane.newest_key())];
    let (id, envelope) = envelope_of(&object(&shop.name, Scope::Strict, &to));
    let one = request([(id, envelope)]);
    wait_until("the quota counts", || {
        let path = format!(
            "/api/v1/namespaces/{}/resourcequotas/sealkit-rewrap",
            shop.name
        );
        let count = "count/rewraprequests.sealkit.dev";
        let quota = plane.api.get(&path);
        quota.is_some_and(|quota| quota["status"]["used"][count] == "0")
    });
    let answers: Vec<_> = (0..11).map(|_| create(&asker, &shop.name, &one)).collect();
    assert!(answers[..10].iter().all(Result::is_ok), "{answers:?}");
    let refusal = answers[10].as_ref().unwrap_err();
    assert!(
        refusal.code == 403 && refusal.message.contains("exceeded quota"),
        "{refusal:?}"
    );
    for made in answers.into_iter().flatten() {
        wait_answer(&asker, &made);
        asker.delete(&path_of(&made)).unwrap();
    }
    wait_until("there is room again", || {
        create(&asker, &shop.name, &one).is_ok()
    });

    // Whoever edits a namespace gets no such right by it.
    let editor = plane.service_account(&shop.name, "editor");
    let subject = format!("--serviceaccount={}:editor", shop.name);
    kubectl(&[
        "create",
        "rolebinding",
        "editor",
        "-n",
        &shop.name,
        "--clusterrole=edit",
        &subject,
    ]);
    wait_until("the role is in force", || {
        editor.may("create", "sealedsecrets.sealkit.dev", &shop.name)
    });
    assert!(!editor.may("create", kind, &shop.name));
}

/// Ten thousand requests in one namespace that has no quota: ten are answered, the rest goes at
/// once, and others do not wait.
#[test]
fn a_flood_of_requests_delays_nobody_else() {
    let plane = Own::take();
    let controller = plane.leading_controller();
    let (flood, shop) = (plane.namespace("flood"), plane.namespace("shop"));
    let to = [recipient(&plane.newest_key())];
    let (id, envelope) = envelope_of(&object(&flood.name, Scope::Strict, &to));
    let one = request([(id, envelope)]);
    let count = if cfg!(debug_assertions) {
        2_000
    } else {
        10_000
    };
    let threads = 4;
    std::thread::scope(|scope| {
        let makers: Vec<_> = (0..threads)
            .map(|_| {
                let (api, name, one) = (plane.api.clone(), &flood.name, &one);
                scope.spawn(move || {
                    for _ in 0..count / threads {
                        create(&api, name, one).unwrap();
                    }
                })
            })
            .collect();
        let mut longest = Duration::ZERO;
        while !makers
            .iter()
            .all(std::thread::ScopedJoinHandle::is_finished)
        {
            let (id, envelope) = envelope_of(&object(&shop.name, Scope::Strict, &to));
            let start = Instant::now();
            assert!(ask(&shop, &id, &envelope)["error"].is_null());
            longest = longest.max(start.elapsed());
            let name = unique("db");
            shop.seal(&name, &unique_value());
            shop.wait_ready(&name);
        }
        assert!(longest < Duration::from_secs(5), "{longest:?}");
    });
    let left = || plane.api.list(&requests_path(&flood.name));
    wait_until("what is too much is deleted", || left().len() <= 10);
    assert!(
        left()
            .iter()
            .all(|one| one["status"]["observedGeneration"] == 1)
    );
    assert!(
        controller.peak_memory() < 128 * 1024,
        "{} KiB",
        controller.peak_memory()
    );
    plane.api.delete(&requests_path(&flood.name)).unwrap();
}

/// The dearest requests that the limits allow, in one namespace, while another has one.
#[test]
fn maximal_requests_are_answered_and_bounded() {
    let plane = Own::take();
    let controller = plane.leading_controller();
    let (greedy, shop) = (plane.namespace("greedy"), plane.namespace("shop"));
    let to = [recipient(&plane.newest_key())];
    rotate(&plane);
    let envelopes: Vec<_> = (0..150)
        .map(|_| envelope_of(&object(&greedy.name, Scope::Strict, &to)))
        .collect();
    let dear = request(envelopes);
    let made: Vec<Value> = (0..10)
        .map(|_| create(&greedy.api, &greedy.name, &dear).unwrap())
        .collect();
    let (id, envelope) = envelope_of(&object(&shop.name, Scope::Strict, &to));
    let start = Instant::now();
    assert!(ask(&shop, &id, &envelope)["error"].is_null());
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    for one in &made {
        let answer = wait_answer(&plane.api, one);
        let answers = answer["status"]["envelopes"].as_object().unwrap();
        assert!(answers.len() == 150 && answers.values().all(|one| one["error"].is_null()));
    }
    assert!(
        controller.peak_memory() < 128 * 1024,
        "{} KiB",
        controller.peak_memory()
    );
    plane.api.delete(&requests_path(&greedy.name)).unwrap();
}

/// Requests end by themselves. Ten minutes cannot be waited for here: one made long ago is one
/// whose clock was set back.
#[test]
fn a_restart_answers_again_and_keeps_the_cap() {
    let plane = Own::take();
    let mut controller = plane.leading_controller();
    let shop = plane.namespace("shop");
    let to = [recipient(&plane.newest_key())];
    let (id, envelope) = envelope_of(&object(&shop.name, Scope::Strict, &to));
    let one = request([(id, envelope)]);
    controller.stop();
    for _ in 0..15 {
        create(&shop.api, &shop.name, &one).unwrap();
    }
    let mut again = plane.controller(&Flags::default());
    again.wait_leading();
    let left = || plane.api.list(&requests_path(&shop.name));
    wait_until("ten are left, and answered", || {
        let left = left();
        left.len() == 10
            && left
                .iter()
                .all(|one| one["status"]["observedGeneration"] == 1)
    });
    holds_for(Duration::from_secs(2), "ten stay", || left().len() == 10);
    let depth = again.metric(
        "sealkit_queue_depth",
        "kind=\"RewrapRequest\",lane=\"fresh\"",
    );
    assert!(depth < 0.5, "{depth}");
    plane.api.delete(&requests_path(&shop.name)).unwrap();
}

/// Who may write the list of trusted recipients, and who may not.
#[test]
fn the_list_of_trusted_recipients_is_not_for_key_admins() {
    let plane = Own::take();
    let team = Namespace::create(
        &plane.api,
        &unique("team"),
        Identity::generate(KeyType::Classic).recipient().clone(),
    );
    let account = |name: &str| plane.service_account(&team.name, name);
    let bind = |kind: &[&str], name: &str| {
        let subject = format!("--serviceaccount={}:{name}", team.name);
        let mut arguments = vec!["create"];
        arguments.extend(kind);
        arguments.push(&subject);
        plane.servers.kubectl(&arguments).unwrap();
    };
    let (rotator, truster) = (account("rotator"), account("truster"));
    let binding = unique("keys");
    bind(
        &[
            "clusterrolebinding",
            &binding,
            "--clusterrole=sealkit-key-admin",
        ],
        "rotator",
    );
    let binding = unique("trust");
    bind(
        &[
            "rolebinding",
            &binding,
            "-n",
            "sealkit-system",
            "--role=sealkit-trust",
        ],
        "truster",
    );
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "sealkit-recipients", "namespace": "sealkit-system"}, "data": {"a": ""},
    });
    wait_until("the roles are in force", || {
        rotator.may("create", "sealingkeys.sealkit.dev", "") && truster.apply(TRUSTED, &map).is_ok()
    });
    assert!(truster.apply(TRUSTED, &map).is_ok(), "once more");
    assert_eq!(rotator.apply(TRUSTED, &map).unwrap_err().code, 403);
    let other = TRUSTED.replace("sealkit-recipients", "other");
    let mut others = map.clone();
    others["metadata"]["name"] = json!("other");
    let refused = |client: &ApiClient| client.apply(&other, &others).unwrap_err().code;
    assert_eq!(refused(&truster), 403);
    plane.api.delete(TRUSTED).unwrap();
}
