//! The answer to a RewrapRequest: new envelopes, or the reason why there is none. Pure.

use std::collections::BTreeMap;

use sealkit_core::api::{REWRAP_BYTES, REWRAP_ENVELOPES, RewrappedEnvelope};
use sealkit_core::keys::TrustedRecipients;
use sealkit_core::names::printable;
use sealkit_core::sealed::{RewrapError, SealedEnvelope, Successors, json_size, unwrap_envelope};
use serde_json::{Map, Value};

use crate::keys::Keys;
use crate::status::for_people;

/// Bytes of all new envelopes of one answer: together with its request, it must fit into etcd.
const ANSWER_BYTES: usize = 800 * 1024;

/// The content of `sealkit-recipients`, and what is wrong with it.
#[derive(Default)]
pub(super) struct Trusted {
    pub(super) recipients: TrustedRecipients,
    /// Reported with every envelope that would need it.
    pub(super) trouble: Option<String>,
}

/// The new envelopes, or an error for each that has none. No value is seen here. Errors if the
/// request breaks a limit.
pub(super) fn answer(
    namespace: &str,
    envelopes: &Map<String, Value>,
    keys: &Keys,
    trusted: &Trusted,
) -> Result<BTreeMap<String, RewrappedEnvelope>, String> {
    if envelopes.len() > REWRAP_ENVELOPES || json_size(envelopes) > REWRAP_BYTES {
        return Err(format!(
            "a request may have at most {REWRAP_ENVELOPES} envelopes with {REWRAP_BYTES} bytes in all"
        ));
    }
    let mut room = ANSWER_BYTES;
    let answers = envelopes.iter().map(|(id, entry)| {
        let rewrapped = rewrap(namespace, id, entry, keys, trusted).and_then(|envelope| {
            let size = json_size(&envelope);
            room = room
                .checked_sub(size)
                .ok_or("this answer has no room left for it: request fewer envelopes at once")?;
            Ok(envelope)
        });
        let rewrapped = match rewrapped {
            Ok(envelope) => RewrappedEnvelope {
                recipients: envelope.recipients,
                age_file: Some(envelope.age_file),
                error: None,
            },
            Err(error) => RewrappedEnvelope {
                error: Some(for_people(&error)),
                ..RewrappedEnvelope::default()
            },
        };
        // An invalid id is returned as it is, shortened: the schema does not limit its length.
        (id.chars().take(64).collect(), rewrapped)
    });
    Ok(answers.collect())
}

fn rewrap(
    namespace: &str,
    id: &str,
    entry: &Value,
    keys: &Keys,
    trusted: &Trusted,
) -> Result<SealedEnvelope, String> {
    let id = id
        .parse()
        .map_err(|()| format!("{:?} is not an envelope id", printable(id)))?;
    let unwrapped = unwrap_envelope(id, entry, &keys.ring).map_err(|error| error.detail)?;
    if unwrapped
        .namespace()
        .is_some_and(|bound| bound != namespace)
    {
        return Err(format!(
            "it is sealed for {}, but the request is in namespace {namespace}",
            unwrapped.sealed_for()
        ));
    }
    let newest = keys
        .newest
        .and_then(|(newest, _)| keys.ring.get(&newest))
        .ok_or("this cluster has no Active key")?;
    let successors = Successors {
        own: &keys.own,
        newest: newest.recipient(),
        trusted: &trusted.recipients,
    };
    let rewrapped = unwrapped.succeed(&successors, &keys.ring);
    match rewrapped {
        Ok(Some(envelope)) => Ok(envelope),
        // Current already. It was parsed, so it can be returned as it is.
        Ok(None) => serde_json::from_value(entry.clone()).map_err(|_| "malformed".to_owned()),
        Err(error @ RewrapError::Unknown(_)) => Err(match &trusted.trouble {
            None => format!("{error}: add them to ConfigMap {}", TrustedRecipients::NAME),
            Some(trouble) => format!("{error}: {trouble}"),
        }),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use sealkit_core::keys::{Fingerprint, Identity, KeyRing, KeyType, RecipientSet};
    use sealkit_core::sealed::{Context, Scope, SealedObject, Search, open, seal};
    use serde_json::json;
    use zeroize::Zeroizing;

    use super::*;

    /// A cluster with an old and a new key, and a recovery key that it trusts.
    struct World {
        old: Identity,
        new: Identity,
        recovery: Identity,
        stranger: Identity,
        keys: Keys,
        trusted: Trusted,
    }

    fn world() -> World {
        let [old, new, recovery, stranger] =
            std::array::from_fn(|_| Identity::generate(KeyType::Classic));
        let own = BTreeSet::from([old.fingerprint(), new.fingerprint()]);
        let keys = Keys {
            ring: KeyRing::new([old.clone(), new.clone()]).unwrap(),
            own,
            newest: Some((new.fingerprint(), KeyType::Classic)),
            newest_created: 0,
        };
        let file = format!("{}\n", recovery.recipient());
        let data = BTreeMap::from([("recovery.pub".to_owned(), file)]);
        let recipients = TrustedRecipients::parse(&data).unwrap();
        World {
            old,
            new,
            recovery,
            stranger,
            keys,
            trusted: Trusted {
                recipients,
                trouble: None,
            },
        }
    }

    /// An object of shop/db with one envelope, as it is in Git.
    fn object(scope: Scope, to: &[&Identity]) -> (String, Value) {
        let to = to.iter().map(|identity| identity.recipient().clone());
        let context = Context::new(scope, "shop", "db").unwrap();
        let values = BTreeMap::from([("K".to_owned(), Zeroizing::new(b"v".to_vec()))]);
        let sealed = seal(&values, &context, &RecipientSet::new(to).unwrap(), false).unwrap();
        let id = sealed.id.to_string();
        let object = json!({
            "apiVersion": "sealkit.dev/v1beta1", "kind": "SealedSecret",
            "metadata": {"name": "db", "namespace": "shop"},
            "spec": {"scope": scope.name(), "envelopes": {&*id: sealed.envelope},
                "encryptedData": sealed.values},
        });
        (id, object)
    }

    fn entry(object: &Value, id: &str) -> Value {
        object["spec"]["envelopes"][id].clone()
    }

    impl World {
        fn ask(&self, namespace: &str, id: &str, entry: Value) -> RewrappedEnvelope {
            let envelopes = Map::from_iter([(id.to_owned(), entry)]);
            let mut answers = answer(namespace, &envelopes, &self.keys, &self.trusted).unwrap();
            answers.remove(id).unwrap()
        }
    }

    fn prints(identities: &[&Identity]) -> Vec<String> {
        let mut sorted: Vec<Fingerprint> = identities
            .iter()
            .map(|identity| identity.fingerprint())
            .collect();
        sorted.sort_unstable();
        sorted.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn own_keys_are_followed_by_the_newest_and_the_values_open() {
        let world = world();
        let (id, mut object) = object(Scope::Strict, &[&world.old, &world.recovery]);
        let answer = world.ask("shop", &id, entry(&object, &id));
        assert_eq!(answer.error, None);
        assert_eq!(answer.recipients, prints(&[&world.new, &world.recovery]));
        object["spec"]["envelopes"][&id] =
            json!({"recipients": answer.recipients, "ageFile": answer.age_file});
        for identity in [&world.new, &world.recovery] {
            let ring = KeyRing::new([identity.clone()]).unwrap();
            let opened = open(
                &SealedObject::parse(&object).unwrap(),
                &ring,
                Search::Hinted,
            );
            assert_eq!(opened.unwrap().values["K"].bytes.as_slice(), b"v");
        }
        let ring = KeyRing::new([world.old.clone()]).unwrap();
        let object = SealedObject::parse(&object).unwrap();
        assert!(open(&object, &ring, Search::Exhaustive).is_err());
    }

    #[test]
    fn what_is_current_comes_back_as_it_is() {
        let world = world();
        let (id, object) = object(Scope::Strict, &[&world.new, &world.recovery]);
        let old = entry(&object, &id);
        let answer = world.ask("shop", &id, old.clone());
        assert_eq!(answer.age_file.as_deref(), old["ageFile"].as_str());
    }

    #[test]
    fn nobody_is_smuggled_in_or_dropped_by_hints() {
        let world = world();
        let (id, object) = object(Scope::Strict, &[&world.old, &world.recovery]);
        let good = entry(&object, &id);
        let with = |hints: Vec<String>| {
            let mut entry = good.clone();
            entry["recipients"] = json!(hints);
            world.ask("shop", &id, entry)
        };
        let honest = prints(&[&world.old, &world.recovery]);
        let recovery_at = usize::from(honest[1] == world.recovery.fingerprint().to_string());
        // A stranger in the place of the recovery key: the truth is inside.
        let mut lying = honest.clone();
        lying[recovery_at] = world.stranger.fingerprint().to_string();
        assert_eq!(
            with(lying).recipients,
            prints(&[&world.new, &world.recovery])
        );
        // One hint less or more than there are stanzas.
        assert!(with(prints(&[&world.old])).error.is_some());
        let more = prints(&[&world.old, &world.recovery, &world.stranger]);
        assert!(with(more).error.is_some());
    }

    #[test]
    fn unknown_recipients_are_named_and_never_left_out() {
        let world = world();
        let (id, object) = object(Scope::Strict, &[&world.old, &world.stranger]);
        let answer = world.ask("shop", &id, entry(&object, &id));
        let error = answer.error.unwrap();
        assert!(
            error.contains(&world.stranger.fingerprint().short()),
            "{error}"
        );
        assert!(error.contains("sealkit-recipients"), "{error}");
        assert_eq!((answer.recipients.len(), answer.age_file), (0, None));
    }

    #[test]
    fn envelopes_of_other_namespaces_are_refused_unless_cluster_wide() {
        let world = world();
        for (scope, refused) in [
            (Scope::Strict, true),
            (Scope::NamespaceWide, true),
            (Scope::ClusterWide, false),
        ] {
            let (id, object) = object(scope, &[&world.old]);
            let answer = world.ask("bank", &id, entry(&object, &id));
            assert_eq!(answer.error.is_some(), refused, "{scope}");
            assert_eq!(world.ask("shop", &id, entry(&object, &id)).error, None);
        }
        // Under another id.
        let (id, object) = object(Scope::Strict, &[&world.old]);
        let other = "dkygiqm6nibo27suvpmyknuwvetd3o33";
        assert!(
            world
                .ask("shop", other, entry(&object, &id))
                .error
                .is_some()
        );
    }

    #[test]
    fn a_revoked_key_opens_nothing_and_is_followed_all_the_same() {
        let mut world = world();
        world.keys.ring = KeyRing::new([world.new.clone()]).unwrap();
        let (id, object) = object(Scope::Strict, &[&world.old]);
        assert!(world.ask("shop", &id, entry(&object, &id)).error.is_some());
        let (id, object) = self::object(Scope::Strict, &[&world.old, &world.new]);
        let answer = world.ask("shop", &id, entry(&object, &id));
        assert_eq!(answer.recipients, prints(&[&world.new]), "they merge");
    }

    #[test]
    fn limits_hold() {
        let world = world();
        let entry = json!({"recipients": [], "ageFile": "x".repeat(3_000)});
        let envelopes = |count: usize| -> Map<String, Value> {
            (0..count)
                .map(|at| (format!("{at:a>32}"), entry.clone()))
                .collect()
        };
        let ask = |count| answer("shop", &envelopes(count), &world.keys, &world.trusted);
        assert!(ask(100).is_ok());
        assert!(ask(150).is_err(), "bytes");
        let small: Map<String, Value> = (0..201)
            .map(|at| (format!("{at:a>32}"), json!({})))
            .collect();
        assert!(
            answer("shop", &small, &world.keys, &world.trusted).is_err(),
            "count"
        );
    }

    #[test]
    fn an_answer_that_would_be_too_large_says_so() {
        let mut world = world();
        // Classic envelopes, followed by hybrid keys: each grows many times.
        let hybrid: Vec<Identity> = (0..4)
            .map(|_| Identity::generate(KeyType::Hybrid))
            .collect();
        let olds: Vec<Identity> = (0..3)
            .map(|_| Identity::generate(KeyType::Classic))
            .collect();
        let lines = olds.iter().zip(&hybrid[1..]);
        let lines: Vec<String> = lines
            .map(|(old, new)| format!("{}={}", old.fingerprint(), new.recipient()))
            .collect();
        let data = BTreeMap::from([("successors".to_owned(), lines.join("\n"))]);
        world.trusted.recipients = TrustedRecipients::parse(&data).unwrap();
        world.keys.ring = KeyRing::new([world.old.clone(), hybrid[0].clone()]).unwrap();
        world.keys.own.insert(hybrid[0].fingerprint());
        world.keys.newest = Some((hybrid[0].fingerprint(), KeyType::Hybrid));
        let to: Vec<&Identity> = olds.iter().chain([&world.old]).collect();
        let envelopes: Map<String, Value> = (0..200)
            .map(|_| {
                let (id, object) = object(Scope::Strict, &to);
                let entry = entry(&object, &id);
                (id, entry)
            })
            .collect();
        let answers = answer("shop", &envelopes, &world.keys, &world.trusted).unwrap();
        let refused = answers
            .values()
            .filter(|answer| answer.error.is_some())
            .count();
        assert!(refused > 20 && refused < 180, "{refused}");
        assert!(json_size(&answers) + json_size(&envelopes) < 1_400_000);
    }
}
