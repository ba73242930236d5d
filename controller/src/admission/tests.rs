//! Verdicts on whole reviews.

use std::collections::BTreeMap;
use std::sync::Arc;

use sealkit_core::api::GROUP;
use sealkit_core::api::external::GROUP as EXTERNAL_GROUP;
use sealkit_core::keys::{Identity, KeyRing, KeyType, RecipientSet};
use sealkit_core::sealed::{Context, Scope, seal};
use serde_json::{Value, json};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::judge::Judge;
use super::review::{Request, Verdict};
use crate::keys::Keys;

const EACH: usize = 1_000;

fn judge(identity: &Identity) -> Judge {
    let ring = KeyRing::new([identity.clone()]).unwrap();
    let own = [identity.fingerprint()].into();
    let keys = Keys {
        ring,
        own,
        ..Keys::default()
    };
    let mut settings = <crate::settings::Settings as clap::Parser>::parse_from(["x"]);
    settings.watch_namespaces = vec!["shop".to_owned(), settings.namespace.clone()];
    Judge {
        client: kube::Client::try_from(kube::Config::new("http://127.0.0.1:9".parse().unwrap()))
            .unwrap(),
        keys: watch::channel(Some(Arc::new(keys))).1,
        rules: Arc::new(settings.rules()),
        served: crate::object::served(&settings),
        external: true,
        class: "default".to_owned(),
        turns: Judge::turns(),
    }
}

/// A SealedSecret with the values `a` and `b`.
fn sealed(identity: &Identity, name: &str) -> Value {
    sealed_to(&[identity], name)
}

fn sealed_to(identities: &[&Identity], name: &str) -> Value {
    let context = Context::new(Scope::Strict, "shop", name).unwrap();
    let recipients =
        RecipientSet::new(identities.iter().map(|one| one.recipient().clone())).unwrap();
    let value = |key: &str| {
        (
            key.to_owned(),
            Zeroizing::new(format!("{key} of {name}").into()),
        )
    };
    let values: BTreeMap<_, Zeroizing<Vec<u8>>> = [value("a"), value("b")].into();
    let sealed = seal(&values, &context, &recipients, false).unwrap();
    json!({
        "metadata": {"namespace": "shop", "name": name},
        "spec": {
            "envelopes": {sealed.id.as_str(): sealed.envelope}, "encryptedData": sealed.values,
        },
    })
}

/// The object, changed in one of seven ways.
fn tampered(mut object: Value, other: &Value, index: usize) -> Value {
    let flip = |text: &Value, at: usize| {
        let mut bytes = text.as_str().unwrap().as_bytes().to_vec();
        let at = at % (bytes.len() - 4);
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        Value::from(String::from_utf8(bytes).unwrap())
    };
    let values = object["spec"]["encryptedData"].clone();
    let (a, b) = (&values["a"], &values["b"]);
    let data = match index % 7 {
        0 => json!({"a": flip(a, 37 + index % 40), "b": b}),
        1 => json!({"a": b, "b": a}),
        2 => json!({"c": a, "b": b}),
        3 => json!({"a": &a.as_str().unwrap()[..60], "b": b}),
        4 => other["spec"]["encryptedData"].clone(),
        5 => {
            object["spec"]["scope"] = json!("cluster-wide");
            values
        }
        _ => {
            let envelopes = object["spec"]["envelopes"].as_object_mut().unwrap();
            let envelope = envelopes.values_mut().next().unwrap();
            envelope["ageFile"] = flip(&envelope["ageFile"], index);
            values
        }
    };
    object["spec"]["encryptedData"] = data;
    object
}

async fn verdict(judge: &Judge, group: &str, kind: &str, object: &Value) -> Verdict {
    let review = json!({"apiVersion": "admission.k8s.io/v1", "request": {
        "uid": "u", "kind": {"group": group, "kind": kind}, "operation": "CREATE",
        "namespace": object["metadata"]["namespace"].as_str().unwrap_or_default(),
        "name": object["metadata"]["name"], "object": object,
    }});
    let text = review.to_string();
    judge.verdict(&Request::read(&text).unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_thousand_tampered_objects_are_refused_and_a_thousand_good_ones_are_not() {
    let identity = Identity::generate(KeyType::Classic);
    let judge = judge(&identity);
    let mut other = sealed(&identity, "other");
    for index in 0..EACH {
        let good = sealed(&identity, &format!("good-{index}"));
        let judged = verdict(&judge, GROUP, "SealedSecret", &good).await;
        assert_eq!(judged, Verdict::Allowed, "{index}");
        let bad = tampered(good.clone(), &other, index);
        let judged = verdict(&judge, GROUP, "SealedSecret", &bad).await;
        assert!(matches!(judged, Verdict::Denied(..)), "{index}: {judged:?}");
        other = good;
    }
}

#[tokio::test]
async fn what_cannot_be_checked_passes_with_a_warning() {
    let identity = Identity::generate(KeyType::Hybrid);
    let judge = judge(&identity);
    let strange = sealed(&Identity::generate(KeyType::Hybrid), "db");
    let mut elsewhere = strange.clone();
    elsewhere["metadata"]["namespace"] = json!("bank");
    let stranger = Identity::generate(KeyType::Hybrid);
    let mut lying = sealed_to(&[&identity, &stranger], "db");
    let envelopes = lying["spec"]["envelopes"].as_object_mut().unwrap();
    let hints = &mut envelopes.values_mut().next().unwrap()["recipients"];
    let theirs = stranger.fingerprint().to_string();
    let at = hints
        .as_array()
        .unwrap()
        .iter()
        .position(|hint| *hint == theirs);
    hints[at.unwrap()] = json!("0".repeat(32));
    let store = |spec| json!({"metadata": {"namespace": "shop", "name": "s"}, "spec": spec});
    let generator = json!({"dataFrom": [{"sourceRef": {"generatorRef": {
        "apiVersion": "generators.external-secrets.io/v1alpha1", "kind": "Password", "name": "p",
    }}}]});
    for (group, kind, object, part) in [
        (GROUP, "SealedSecret", strange, "no key opens it yet"),
        (GROUP, "SealedSecret", lying, "lists other recipients"),
        (GROUP, "SealedSecret", elsewhere, "no controller serves"),
        (
            EXTERNAL_GROUP,
            "SecretStore",
            store(json!({"provider": {"ibm": {}}})),
            "provider ibm",
        ),
        (
            EXTERNAL_GROUP,
            "ExternalSecret",
            store(generator),
            "a generatorRef",
        ),
    ] {
        let judged = verdict(&judge, group, kind, &object).await;
        let Verdict::Warned(what) = judged else {
            panic!("{kind}: {judged:?}");
        };
        assert!(what.contains(part), "{what}");
    }
}

#[tokio::test]
async fn rules_of_the_administrator_and_of_external_secrets_hold() {
    let identity = Identity::generate(KeyType::Hybrid);
    let judge = judge(&identity);
    let mut own = sealed(&identity, "db");
    own["metadata"]["namespace"] = json!("sealkit-system");
    let object = |spec| json!({"metadata": {"namespace": "shop", "name": "s"}, "spec": spec});
    let vault = json!({"server": "https://vault.example.com", "auth": {}});
    let entry = json!({"secretKey": "a", "remoteRef": {"key": "db"}});
    let store = json!({"name": "vault"});
    let good = json!({"secretStoreRef": store, "data": [entry]});
    let deletes = json!({"creationPolicy": "Merge", "deletionPolicy": "Delete"});
    let bad = json!({"secretStoreRef": store, "data": [entry], "target": deletes});
    let soon = json!({"secretStoreRef": store, "data": [entry], "refreshInterval": "soon"});
    let fake = |class: &str| json!({"controller": class, "provider": {"fake": {"data": []}}});
    let two = |class: &str| json!({"controller": class, "provider": {"fake": {}, "vault": {}}});
    let class = |class: &str| object(two(class));
    for (group, kind, object, part) in [
        (GROUP, "SealedSecret", own, "the controller's own namespace"),
        (EXTERNAL_GROUP, "ExternalSecret", object(good), ""),
        (
            EXTERNAL_GROUP,
            "ExternalSecret",
            object(bad),
            "deletionPolicy Delete needs",
        ),
        (
            EXTERNAL_GROUP,
            "ExternalSecret",
            object(soon),
            "refreshInterval is not",
        ),
        (
            EXTERNAL_GROUP,
            "ExternalSecret",
            object(json!({})),
            "nothing to read",
        ),
        (EXTERNAL_GROUP, "SecretStore", object(fake("")), ""),
        (EXTERNAL_GROUP, "SecretStore", class("theirs"), ""),
        (
            EXTERNAL_GROUP,
            "SecretStore",
            object(json!({"provider": {}})),
            "no provider",
        ),
        (
            EXTERNAL_GROUP,
            "SecretStore",
            object(json!({"provider": {"vault": vault}})),
            "auth",
        ),
        ("example.com", "SealedSecret", object(json!(7)), ""),
    ] {
        let judged = verdict(&judge, group, kind, &object).await;
        match (&judged, part) {
            (Verdict::Allowed, "") => {}
            (Verdict::Denied(_, what), part) if !part.is_empty() => {
                assert!(what.contains(part), "{what}");
            }
            _ => panic!("{kind} {object}: {judged:?}"),
        }
    }
}
