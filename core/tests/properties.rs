//! Properties of the sealed format for arbitrary keys, bytes, names and scopes.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use sealkit_core::keys::{Identity, KeyRing, KeyType, RecipientSet, TrustedRecipients};
use sealkit_core::manifest::{read_documents, to_yaml};
use sealkit_core::sealed::{
    Context, Opened, RewrapError, Scope, SealedObject, Search, Successors, open, seal,
    unwrap_envelope,
};
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// An object as somebody seals it.
#[derive(Clone, Debug)]
struct Case {
    key_type: KeyType,
    recipients: usize,
    scope: Scope,
    namespace: String,
    name: String,
    render: bool,
    values: BTreeMap<String, Vec<u8>>,
}

fn case() -> impl Strategy<Value = Case> {
    let key_type = prop_oneof![3 => Just(KeyType::Classic), 1 => Just(KeyType::Hybrid)];
    let scope = prop_oneof![
        Just(Scope::Strict),
        Just(Scope::NamespaceWide),
        Just(Scope::ClusterWide)
    ];
    let values = proptest::collection::btree_map(
        "[-_a-zA-Z0-9][-._a-zA-Z0-9]{0,40}",
        proptest::collection::vec(any::<u8>(), 0..1500),
        1..6,
    );
    (
        key_type,
        1_usize..4,
        scope,
        "[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?",
        "[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?){0,3}",
        any::<bool>(),
        values,
    )
        .prop_map(
            |(key_type, recipients, scope, namespace, name, render, values)| Case {
                key_type,
                recipients,
                scope,
                namespace,
                name,
                render,
                values,
            },
        )
}

fn sealed(case: &Case) -> (Value, Vec<Identity>) {
    let keys: Vec<Identity> = (0..case.recipients)
        .map(|_| Identity::generate(case.key_type))
        .collect();
    let set = RecipientSet::new(keys.iter().map(|key| key.recipient().clone())).unwrap();
    let context = Context::new(case.scope, &case.namespace, &case.name).unwrap();
    let values = case.values.clone().into_iter();
    let values = values.map(|(key, value)| (key, Zeroizing::new(value)));
    let sealed = seal(&values.collect(), &context, &set, case.render).unwrap();
    let object = json!({
        "apiVersion": "sealkit.dev/v1beta1",
        "kind": "SealedSecret",
        "metadata": {"name": case.name, "namespace": case.namespace},
        "spec": {
            "scope": case.scope.name(),
            "envelopes": {sealed.id.as_str(): sealed.envelope},
            "encryptedData": sealed.values,
        },
    });
    (object, keys)
}

fn open_with(object: &Value, keys: impl IntoIterator<Item = Identity>) -> Option<Opened> {
    let ring = KeyRing::new(keys).unwrap();
    open(&SealedObject::parse(object).ok()?, &ring, Search::Hinted).ok()
}

fn plain(opened: &Opened) -> BTreeMap<String, Vec<u8>> {
    let values = opened.values.iter();
    values
        .map(|(key, value)| (key.clone(), value.bytes.to_vec()))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sealed_opens_for_each_recipient_and_nobody_else(case in case()) {
        let (object, keys) = sealed(&case);
        // As it travels: through YAML and back.
        let yaml = to_yaml(&[&object]).unwrap();
        let read = read_documents(yaml.as_bytes()).unwrap().remove(0).object;
        prop_assert_eq!(&read, &object);
        for key in &keys {
            let opened = open_with(&read, [key.clone()]).unwrap();
            prop_assert_eq!(plain(&opened), case.values.clone());
            prop_assert!(opened.hint_mismatch.is_empty());
            prop_assert!(opened.values.values().all(|value| value.render == case.render));
        }
        prop_assert!(open_with(&read, [Identity::generate(case.key_type)]).is_none());
    }

    /// A rewrap by successors seals to them and to nobody else, and every value opens as before.
    #[test]
    fn a_rewrap_keeps_all_but_recipients(case in case(), trusted in any::<bool>()) {
        let (object, keys) = sealed(&case);
        let newest = Identity::generate(case.key_type);
        // The first key is the cluster's own; the others are sisters.
        let own = BTreeSet::from([keys[0].fingerprint(), newest.fingerprint()]);
        let ring = KeyRing::new([keys[0].clone(), newest.clone()]).unwrap();
        let file: Vec<String> = keys[1..].iter().map(|key| key.recipient().to_string()).collect();
        let data = BTreeMap::from([("sisters.pub".to_owned(), file.join("\n"))]);
        let list = if trusted && keys.len() > 1 {
            TrustedRecipients::parse(&data).unwrap()
        } else {
            TrustedRecipients::default()
        };
        let successors = Successors { own: &own, newest: newest.recipient(), trusted: &list };
        let (id, entry) = object["spec"]["envelopes"].as_object().unwrap().iter().next().unwrap();
        let unwrapped = unwrap_envelope(id.parse().unwrap(), entry, &ring).unwrap();
        prop_assert_eq!(unwrapped.namespace(), (case.scope != Scope::ClusterWide).then_some(&*case.namespace));
        let again = unwrapped.succeed(&successors, &ring);
        if !trusted && keys.len() > 1 {
            prop_assert!(matches!(again, Err(RewrapError::Unknown(unknown)) if unknown.len() == keys.len() - 1));
            return Ok(());
        }
        let mut rewrapped = object.clone();
        rewrapped["spec"]["envelopes"][id] = json!(again.unwrap().unwrap());
        for key in keys[1..].iter().chain([&newest]) {
            let opened = open_with(&rewrapped, [key.clone()]).unwrap();
            prop_assert_eq!(plain(&opened), case.values.clone());
            prop_assert!(opened.hint_mismatch.is_empty());
            prop_assert!(opened.values.values().all(|value| value.render == case.render));
        }
        prop_assert!(open_with(&rewrapped, [keys[0].clone()]).is_none());
    }

    /// Whatever bit changes in the text of an object: it does not open, or it opens to exactly
    /// what was sealed, in the place it was sealed for.
    #[test]
    fn a_changed_bit_anywhere_opens_nothing_else(case in case(), places in proptest::collection::vec(any::<(prop::sample::Index, u8)>(), 40)) {
        let (object, keys) = sealed(&case);
        let text = object.to_string().into_bytes();
        for (place, bit) in places {
            let mut changed = text.clone();
            *place.get_mut(&mut changed) ^= 1 << (bit % 8);
            let Ok(read) = serde_json::from_slice::<Value>(&changed) else { continue };
            let Some(opened) = open_with(&read, keys.clone()) else { continue };
            let place = |object: &Value, field: &str| object["metadata"][field].clone();
            let all = plain(&opened);
            // A value may be lost with its key's line (a duplicate key in JSON), never changed.
            for (key, value) in &all {
                prop_assert_eq!(Some(value), case.values.get(key));
            }
            if case.scope != Scope::ClusterWide {
                prop_assert_eq!(place(&read, "namespace"), place(&object, "namespace"));
            }
            if case.scope == Scope::Strict {
                prop_assert_eq!(place(&read, "name"), place(&object, "name"));
            }
            prop_assert_eq!(&read["spec"]["scope"], &object["spec"]["scope"]);
            // Hints may lie if they are reported.
            let envelopes = |object: &Value| object["spec"]["envelopes"].clone();
            if envelopes(&read) != envelopes(&object) {
                prop_assert!(!opened.hint_mismatch.is_empty());
            }
        }
    }

    /// Values of one object under another's envelope, key, scope or name.
    #[test]
    fn parts_of_two_objects_do_not_mix(a in case(), b in case()) {
        let (first, mut keys) = sealed(&a);
        let (second, more) = sealed(&Case { key_type: a.key_type, ..b.clone() });
        keys.extend(more);
        let mut mixed = first.clone();
        for field in ["envelopes", "encryptedData"] {
            let part = second["spec"][field].as_object().unwrap().clone();
            mixed["spec"][field].as_object_mut().unwrap().extend(part);
        }
        let same_place = a.scope == b.scope
            && (a.scope == Scope::ClusterWide || a.namespace == b.namespace)
            && (a.scope != Scope::Strict || a.name == b.name);
        prop_assert_eq!(open_with(&mixed, keys).is_some(), same_place);
    }
}
