//! What ought to be done about keys: pure decisions.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sealkit_core::api::{Algorithm, KeyState, Reason, SealingKey, SealingKeyStatus};
use sealkit_core::keys::{Fingerprint, KeyRing};

use sealkit_core::api::identity::{FINGERPRINT, FORCE_REVOKE, StoredIdentity};

use super::{Keys, Users};
use crate::status::{self, Outcome};

/// An identity Secret, read. The fingerprint was recomputed from the identity.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) secret: String,
    pub(super) namespace: String,
    pub(super) uid: String,
    pub(super) resource_version: String,
    pub(super) stored: StoredIdentity,
}

/// One step towards the state that ought to be.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    /// Make a key pair for this SealingKey.
    Generate {
        sealing_key: String,
        algorithm: Algorithm,
        created_at: Timestamp,
    },
    /// Put label and annotations of an identity Secret right.
    Annotate {
        secret: String,
        fingerprint: Fingerprint,
        state: KeyState,
        created_at: Timestamp,
        sealing_key: String,
    },
    /// Make a SealingKey: of this name, or of a new one where the controller wants a key.
    CreateSealingKey {
        name: Option<String>,
        algorithm: Algorithm,
        state: KeyState,
    },
    /// Write the status of a SealingKey.
    WriteStatus {
        sealing_key: String,
        status: SealingKeyStatus,
    },
}

pub(super) struct World<'a> {
    /// By name of the Secret.
    pub(super) held: &'a BTreeMap<String, Held>,
    /// By name.
    pub(super) sealing_keys: &'a BTreeMap<String, SealingKey>,
    pub(super) allowed: &'a [Algorithm],
    pub(super) usage: &'a dyn Fn(&Fingerprint) -> Users,
    pub(super) now: Timestamp,
}

/// What must be done, and the keys in force meanwhile.
pub(super) fn decide(world: &World<'_>) -> (Vec<Action>, Keys) {
    let mut actions = Vec::new();
    let by_fingerprint = by_fingerprint(world);
    let names = names(world, &by_fingerprint);
    let mut states: BTreeMap<Fingerprint, (KeyState, Option<Trouble>)> = by_fingerprint
        .iter()
        .map(|(fingerprint, held)| {
            (
                *fingerprint,
                requested_state(world, *fingerprint, held, &names[fingerprint]),
            )
        })
        .collect();
    let created = |held: &Held| held.stored.created_at.unwrap_or(world.now);
    let newest = by_fingerprint
        .iter()
        .filter(|(fingerprint, held)| {
            states
                .get(fingerprint)
                .is_some_and(|(state, _)| *state == KeyState::Active)
                && world
                    .allowed
                    .contains(&held.stored.identity.recipient().key_type().into())
        })
        .max_by_key(|(fingerprint, held)| (created(held), **fingerprint))
        .map(|(fingerprint, held)| (*fingerprint, *held));
    for (fingerprint, (state, _)) in &mut states {
        // Superseded for ever: written down below.
        if *state == KeyState::Active && newest.is_none_or(|(newest, _)| newest != *fingerprint) {
            *state = KeyState::DecryptOnly;
        }
    }

    for (fingerprint, held) in &by_fingerprint {
        let (state, trouble) = &states[fingerprint];
        let created_at = created(held);
        let name = names[fingerprint].clone();
        let complete = held.stored.label_is_right
            && held.stored.state == Some(*state)
            && held.stored.created_at.is_some()
            && held.stored.sealing_key.as_ref() == Some(&name);
        if !complete {
            actions.push(Action::Annotate {
                secret: held.secret.clone(),
                fingerprint: *fingerprint,
                state: *state,
                created_at,
                sealing_key: name.clone(),
            });
        }
        let algorithm = held.stored.identity.recipient().key_type().into();
        match world.sealing_keys.get(&name) {
            None => actions.push(Action::CreateSealingKey {
                name: Some(name),
                algorithm,
                state: *state,
            }),
            Some(key) => {
                let outcome = match trouble {
                    Some(Trouble::Unknown) => continue,
                    Some(Trouble::Refused(outcome)) => outcome.clone(),
                    None => {
                        Outcome::Ready(Reason::KeyAvailable, "the key pair is available".to_owned())
                    }
                };
                let status = SealingKeyStatus {
                    recipient: Some(held.stored.identity.recipient().to_string()),
                    fingerprint: Some(fingerprint.to_string()),
                    created_at: Some(created_at),
                    state: Some(*state),
                    ..SealingKeyStatus::default()
                };
                actions.extend(write_status(key, status, &outcome, world.now));
            }
        }
    }
    actions.extend(keys_without_identity(
        world,
        &names,
        newest.map(|(_, held)| created(held)),
    ));

    let openable = by_fingerprint
        .values()
        .filter(|held| states[&held.stored.identity.fingerprint()].0 != KeyState::Revoked)
        .map(|held| held.stored.identity.clone());
    #[expect(
        clippy::expect_used,
        reason = "fingerprints are unique: they are the map's keys"
    )]
    let ring = KeyRing::new(openable).expect("no two keys of one fingerprint");
    let keys = Keys {
        ring,
        own: by_fingerprint.keys().copied().collect(),
        newest: newest
            .map(|(fingerprint, held)| (fingerprint, held.stored.identity.recipient().key_type())),
        newest_created: newest.map_or(0, |(_, held)| created(held).as_second()),
    };
    (actions, keys)
}

/// What stands against the request of a SealingKey.
#[derive(Clone)]
enum Trouble {
    /// It is not known yet whether objects need the key.
    Unknown,
    /// They do.
    Refused(Outcome),
}

/// One identity for each fingerprint. It may stand in two Secrets (a backup restored beside the
/// original): the one whose state went down furthest counts.
fn by_fingerprint<'a>(world: &World<'a>) -> BTreeMap<Fingerprint, &'a Held> {
    let mut identities: BTreeMap<Fingerprint, &Held> = BTreeMap::new();
    for held in world.held.values() {
        let best = identities
            .entry(held.stored.identity.fingerprint())
            .or_insert(held);
        if held.stored.state.unwrap_or(KeyState::DecryptOnly)
            > best.stored.state.unwrap_or(KeyState::DecryptOnly)
        {
            *best = held;
        }
    }
    identities
}

/// The SealingKey of each identity: the annotated one, or the one whose status names it, but one
/// name has one identity. Where two
/// claim it, the one that the SealingKey's status names keeps it, else the older.
fn names(
    world: &World<'_>,
    identities: &BTreeMap<Fingerprint, &Held>,
) -> BTreeMap<Fingerprint, String> {
    let mut owners: BTreeMap<&str, Fingerprint> = BTreeMap::new();
    let rank = |name: &str, fingerprint: &Fingerprint| {
        let status = world
            .sealing_keys
            .get(name)
            .and_then(|key| key.status.as_ref());
        let named = status.and_then(|status| status.fingerprint.as_ref());
        let is_named = named == Some(&fingerprint.to_string());
        (
            !is_named,
            identities[fingerprint].stored.created_at,
            *fingerprint,
        )
    };
    let annotated = |held: &&Held| {
        let name = held.stored.sealing_key.as_deref()?;
        // Whatever somebody wrote there must be a name that the API server takes.
        sealkit_core::names::is_dns_subdomain(name).then(|| name.to_owned())
    };
    // An identity restored without annotations: only the controller writes statuses.
    let named = |fingerprint: &Fingerprint| {
        let fingerprint = fingerprint.to_string();
        let mut keys = world.sealing_keys.iter();
        keys.find(|(_, key)| {
            let status = key.status.as_ref();
            status.is_some_and(|status| status.fingerprint.as_ref() == Some(&fingerprint))
        })
        .map(|(name, _)| name.clone())
    };
    let claims: BTreeMap<Fingerprint, String> = identities
        .iter()
        .filter_map(|(fingerprint, held)| {
            let name = annotated(held).or_else(|| named(fingerprint))?;
            Some((*fingerprint, name))
        })
        .collect();
    for (fingerprint, name) in &claims {
        let owner = owners.entry(name).or_insert(*fingerprint);
        if rank(name, fingerprint) < rank(name, owner) {
            *owner = *fingerprint;
        }
    }
    identities
        .keys()
        .map(|fingerprint| {
            let claimed = claims
                .get(fingerprint)
                .filter(|name| owners[name.as_str()] == *fingerprint);
            (
                *fingerprint,
                claimed
                    .cloned()
                    .unwrap_or_else(|| format!("key-{fingerprint}")),
            )
        })
        .collect()
}

/// The first ten of some names.
fn first_of(names: &[String]) -> String {
    let shown = names.len().min(10);
    let more = if names.len() > shown { ", …" } else { "" };
    format!("{}{more}", names[..shown].join(", "))
}

/// The state of a key by its annotation and the request of its SealingKey, before the newest is
/// chosen; and what stands against the request. States only ever go down.
fn requested_state(
    world: &World<'_>,
    fingerprint: Fingerprint,
    held: &Held,
    name: &str,
) -> (KeyState, Option<Trouble>) {
    let base = held.stored.state.unwrap_or(KeyState::DecryptOnly);
    let key = world.sealing_keys.get(name);
    let Some(key) = key else { return (base, None) };
    let wanted = base.max(key.spec.state);
    if wanted != KeyState::Revoked || base == KeyState::Revoked {
        return (wanted, None);
    }
    let forced = key
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(FORCE_REVOKE));
    if forced.is_some_and(|forced| *forced == fingerprint.to_string()) {
        return (KeyState::Revoked, None);
    }
    match (world.usage)(&fingerprint) {
        Users::Known(users) if users.is_empty() => (KeyState::Revoked, None),
        // Not known yet: nothing is said until it is.
        Users::Unknown => (KeyState::DecryptOnly, Some(Trouble::Unknown)),
        Users::Failing(objects) => {
            let message = format!(
                "not revoked yet: the controller cannot reconcile {} objects ({}), so it does not \
                 know whether they need this key; see its log, or force the revocation with the \
                 annotation {FORCE_REVOKE}: {fingerprint}",
                objects.len(),
                first_of(&objects),
            );
            let outcome = Outcome::Retrying(Reason::InUse, message);
            (KeyState::DecryptOnly, Some(Trouble::Refused(outcome)))
        }
        Users::Known(users) => {
            let message = format!(
                "not revoked: {} objects need this key ({}); reseal them, or force the revocation \
                 with the annotation {FORCE_REVOKE}: {fingerprint}",
                users.len(),
                first_of(&users),
            );
            (
                KeyState::DecryptOnly,
                Some(Trouble::Refused(Outcome::Stalled(Reason::InUse, message))),
            )
        }
    }
}

/// SealingKeys that no identity belongs to: to be generated, or lost.
fn keys_without_identity(
    world: &World<'_>,
    names: &BTreeMap<Fingerprint, String>,
    newest_created: Option<Timestamp>,
) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut expected = false;
    for (name, key) in world.sealing_keys {
        if names.values().any(|owned| owned == name) {
            continue;
        }
        let algorithm = key.spec.algorithm;
        let outcome = if let Some(fingerprint) = named_fingerprint(key) {
            let owner = fingerprint
                .parse()
                .ok()
                .and_then(|fingerprint| names.get(&fingerprint));
            if let Some(owner) = owner {
                let message = format!(
                    "the fingerprint of this SealingKey belongs to SealingKey {owner}: remove the \
                     annotation {FINGERPRINT} to get a new key pair"
                );
                Outcome::Stalled(Reason::InvalidSpec, message)
            } else {
                expected |= key.spec.state == KeyState::Active;
                let message =
                    format!("the identity of {fingerprint} is missing: restore it from a backup");
                Outcome::Stalled(Reason::IdentityMissing, message)
            }
        } else if !world.allowed.contains(&algorithm) {
            let message =
                "the controller's --allowed-algorithms do not include this algorithm".to_owned();
            Outcome::Stalled(Reason::AlgorithmNotAllowed, message)
        } else if key.spec.state != KeyState::Active {
            let message = "a new key must begin as Active: set spec.state to Active".to_owned();
            Outcome::Stalled(Reason::InvalidSpec, message)
        } else {
            expected = true;
            actions.push(Action::Generate {
                sealing_key: name.clone(),
                algorithm,
                created_at: after(newest_created, world.now),
            });
            continue;
        };
        let status = key.status.clone().unwrap_or_default();
        actions.extend(write_status(key, status, &outcome, world.now));
    }
    // Nothing to seal to, and nothing under way or waiting to be restored.
    if newest_created.is_none()
        && !expected
        && let Some(algorithm) = world.allowed.first()
    {
        let (algorithm, state) = (*algorithm, KeyState::Active);
        actions.push(Action::CreateSealingKey {
            name: None,
            algorithm,
            state,
        });
    }
    actions
}

/// A new key is newer than all others, whatever this machine's clock says.
fn after(newest: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let next = newest.and_then(|newest| Timestamp::from_second(newest.as_second() + 1).ok());
    next.map_or(now, |next| next.max(now))
}

/// The fingerprint that a SealingKey once had: such a key never triggers generation, since backup
/// tools restore resources before Secrets.
fn named_fingerprint(key: &SealingKey) -> Option<String> {
    let status = key
        .status
        .as_ref()
        .and_then(|status| status.fingerprint.clone());
    let annotation = || key.metadata.annotations.as_ref()?.get(FINGERPRINT).cloned();
    let name = || {
        let rest = key.metadata.name.as_deref()?.strip_prefix("key-")?;
        rest.parse::<Fingerprint>().is_ok().then(|| rest.to_owned())
    };
    status.or_else(annotation).or_else(name)
}

pub(super) fn write_status(
    key: &SealingKey,
    mut status: SealingKeyStatus,
    outcome: &Outcome,
    now: Timestamp,
) -> Option<Action> {
    let old = key.status.clone().unwrap_or_default();
    let generation = key.metadata.generation.unwrap_or_default();
    status.observed_generation = Some(generation);
    status.conditions = status::conditions(outcome, generation, true, &old.conditions, now);
    let same_conditions = status::same(&status.conditions, &old.conditions);
    if same_conditions {
        status.conditions.clone_from(&old.conditions);
    }
    let sealing_key = key.metadata.name.clone()?;
    (status != old).then_some(Action::WriteStatus {
        sealing_key,
        status,
    })
}

#[cfg(test)]
mod tests {
    use sealkit_core::api::SealingKeySpec;
    use sealkit_core::keys::{Identity, KeyType};

    use super::*;

    #[derive(Default)]
    struct Cluster {
        held: BTreeMap<String, Held>,
        keys: BTreeMap<String, SealingKey>,
        users: Vec<String>,
    }

    impl Cluster {
        fn hold(&mut self, state: Option<KeyState>, created: i64) -> Fingerprint {
            let identity = Identity::generate(KeyType::Hybrid);
            let fingerprint = identity.fingerprint();
            let sealing_key = state.map(|_| format!("key-{fingerprint}"));
            if let Some(name) = &sealing_key {
                self.request(name, KeyState::Active);
            }
            let secret = format!("sealing-key-{fingerprint}");
            let created_at = state.map(|_| Timestamp::from_second(created).unwrap());
            let held = Held {
                secret: secret.clone(),
                namespace: String::new(),
                uid: String::new(),
                resource_version: String::new(),
                stored: StoredIdentity {
                    identity,
                    state,
                    created_at,
                    sealing_key,
                    label_is_right: true,
                },
            };
            self.held.insert(secret, held);
            fingerprint
        }

        fn request(&mut self, name: &str, state: KeyState) {
            let spec = SealingKeySpec {
                algorithm: Algorithm::Hybrid,
                state,
            };
            self.keys
                .insert(name.to_owned(), SealingKey::new(name, spec));
        }

        fn decide(&self) -> (Vec<Action>, Keys) {
            self.decide_with(&Users::Known(self.users.clone()))
        }

        fn decide_with(&self, users: &Users) -> (Vec<Action>, Keys) {
            decide(&World {
                held: &self.held,
                sealing_keys: &self.keys,
                allowed: &[Algorithm::Hybrid],
                usage: &|_| users.clone(),
                now: Timestamp::from_second(1_000_000).unwrap(),
            })
        }

        fn status_of(&self, fingerprint: &Fingerprint) -> SealingKeyStatus {
            let name = format!("key-{fingerprint}");
            let written = self.decide().0.into_iter().find_map(|action| match action {
                Action::WriteStatus {
                    sealing_key,
                    status,
                } if sealing_key == name => Some(status),
                _ => None,
            });
            written.unwrap()
        }
    }

    fn creations(actions: &[Action]) -> usize {
        let creates = |action: &&Action| {
            matches!(
                action,
                Action::CreateSealingKey { name: None, .. } | Action::Generate { .. }
            )
        };
        actions.iter().filter(creates).count()
    }

    #[test]
    fn an_empty_cluster_gets_its_first_key() {
        let mut cluster = Cluster::default();
        let (actions, keys) = cluster.decide();
        assert!(keys.ring.is_empty());
        let (algorithm, state) = (Algorithm::Hybrid, KeyState::Active);
        assert_eq!(
            actions,
            [Action::CreateSealingKey {
                name: None,
                algorithm,
                state
            }]
        );
        cluster.request("key-x", KeyState::Active);
        let sealing_key = "key-x".to_owned();
        let created_at = Timestamp::from_second(1_000_000).unwrap();
        assert_eq!(
            cluster.decide().0,
            [Action::Generate {
                sealing_key,
                algorithm,
                created_at
            }]
        );
    }

    #[test]
    fn the_newest_active_key_supersedes_the_others_for_ever() {
        let mut cluster = Cluster::default();
        let old = cluster.hold(Some(KeyState::Active), 1);
        let new = cluster.hold(Some(KeyState::Active), 2);
        let (actions, keys) = cluster.decide();
        assert_eq!(keys.newest, Some((new, KeyType::Hybrid)));
        assert_eq!(keys.ring.iter().count(), 2);
        let demoted = actions.iter().any(|action| matches!(action,
            Action::Annotate { fingerprint, state: KeyState::DecryptOnly, .. } if *fingerprint == old));
        assert!(demoted, "{actions:?}");
        assert_eq!(creations(&actions), 0);

        cluster
            .keys
            .get_mut(&format!("key-{new}"))
            .unwrap()
            .spec
            .state = KeyState::DecryptOnly;
        for held in cluster.held.values_mut() {
            held.stored.state = Some(KeyState::DecryptOnly);
        }
        let (actions, keys) = cluster.decide();
        assert_eq!(keys.newest, None, "the old one does not come back");
        assert_eq!(creations(&actions), 1, "a new one is made");
    }

    #[test]
    fn a_new_key_is_the_newest_whatever_the_clock_says() {
        let mut cluster = Cluster::default();
        cluster.hold(Some(KeyState::Active), 2_000_000);
        cluster.request("rotated", KeyState::Active);
        let generated = cluster
            .decide()
            .0
            .into_iter()
            .find_map(|action| match action {
                Action::Generate { created_at, .. } => Some(created_at.as_second()),
                _ => None,
            });
        assert_eq!(generated, Some(2_000_001));
    }

    #[test]
    fn two_identities_that_claim_one_name_come_to_rest() {
        let mut cluster = Cluster::default();
        let first = cluster.hold(Some(KeyState::Active), 1);
        let second = cluster.hold(Some(KeyState::DecryptOnly), 2);
        let name = format!("key-{first}");
        cluster.keys.remove(&format!("key-{second}"));
        for held in cluster.held.values_mut() {
            held.stored.sealing_key = Some(name.clone());
        }
        let (actions, _) = cluster.decide();
        let status_writes: Vec<_> = actions
            .iter()
            .filter(|action| matches!(action, Action::WriteStatus { sealing_key, .. } if *sealing_key == name))
            .collect();
        assert_eq!(status_writes.len(), 1, "{actions:?}");
        let renamed = actions.iter().any(|action| {
            matches!(action,
            Action::Annotate { fingerprint, sealing_key, .. }
                if *fingerprint == second && *sealing_key == format!("key-{second}"))
        });
        assert!(renamed, "{actions:?}");
    }

    #[test]
    fn a_copied_sealing_key_is_told_why_it_gets_no_key() {
        let mut cluster = Cluster::default();
        let original = cluster.hold(Some(KeyState::Active), 1);
        cluster.request("copy", KeyState::Active);
        let annotations = BTreeMap::from([(FINGERPRINT.to_owned(), original.to_string())]);
        cluster.keys.get_mut("copy").unwrap().metadata.annotations = Some(annotations);
        let (actions, _) = cluster.decide();
        assert_eq!(creations(&actions), 0);
        let told = actions.iter().any(|action| {
            matches!(action,
            Action::WriteStatus { sealing_key, status } if sealing_key == "copy"
                && status.conditions.iter().any(|c| c.reason == "InvalidSpec"))
        });
        assert!(told, "{actions:?}");
    }

    #[test]
    fn nothing_is_said_of_a_revocation_before_it_can_be_judged() {
        let mut cluster = Cluster::default();
        let key = cluster.hold(Some(KeyState::DecryptOnly), 1);
        cluster.hold(Some(KeyState::Active), 2);
        let name = format!("key-{key}");
        cluster.keys.get_mut(&name).unwrap().spec.state = KeyState::Revoked;
        let (actions, keys) = cluster.decide_with(&Users::Unknown);
        assert!(keys.ring.get(&key).is_some());
        let told = actions.iter().any(|action| {
            matches!(action, Action::WriteStatus { sealing_key, .. } if *sealing_key == name)
        });
        assert!(!told);
    }

    #[test]
    fn a_revocation_says_which_objects_it_cannot_judge() {
        let mut cluster = Cluster::default();
        let key = cluster.hold(Some(KeyState::DecryptOnly), 1);
        cluster.hold(Some(KeyState::Active), 2);
        let name = format!("key-{key}");
        cluster.keys.get_mut(&name).unwrap().spec.state = KeyState::Revoked;
        let failing: Vec<String> = (0..11).map(|index| format!("shop/db-{index}")).collect();
        let (actions, keys) = cluster.decide_with(&Users::Failing(failing));
        assert!(keys.ring.get(&key).is_some());
        let message = actions.iter().find_map(|action| match action {
            Action::WriteStatus {
                sealing_key,
                status,
            } if *sealing_key == name => Some(&status.conditions.last()?.message),
            _ => None,
        });
        let message = message.unwrap();
        assert!(
            message.contains("11 objects") && message.contains("shop/db-9, …"),
            "{message}"
        );
    }

    #[test]
    fn a_restored_identity_only_opens() {
        let mut cluster = Cluster::default();
        let active = cluster.hold(Some(KeyState::Active), 1);
        let restored = cluster.hold(None, 0);
        let (actions, keys) = cluster.decide();
        assert!(keys.ring.get(&restored).is_some());
        assert_eq!(keys.newest.map(|(newest, _)| newest), Some(active));
        let name = Some(format!("key-{restored}"));
        let (algorithm, state) = (Algorithm::Hybrid, KeyState::DecryptOnly);
        assert!(actions.contains(&Action::CreateSealingKey {
            name,
            algorithm,
            state
        }));
    }

    #[test]
    fn a_lost_identity_is_never_generated_again() {
        let mut cluster = Cluster::default();
        let lost = cluster.hold(Some(KeyState::Active), 1);
        cluster.held.clear();
        let (actions, _) = cluster.decide();
        assert_eq!(creations(&actions), 0, "{actions:?}");
        let ready = cluster.status_of(&lost).conditions.pop().unwrap();
        assert_eq!(ready.reason, "IdentityMissing");
    }

    #[test]
    fn revoking_a_used_key_is_refused_unless_forced() {
        let mut cluster = Cluster::default();
        let key = cluster.hold(Some(KeyState::DecryptOnly), 1);
        cluster.hold(Some(KeyState::Active), 2);
        let name = format!("key-{key}");
        cluster.keys.get_mut(&name).unwrap().spec.state = KeyState::Revoked;
        cluster.users = vec!["shop/db".to_owned()];
        assert!(cluster.decide().1.ring.get(&key).is_some());
        let ready = cluster.status_of(&key).conditions.pop().unwrap();
        assert_eq!(ready.reason, "InUse");
        assert!(ready.message.contains("shop/db"));

        let annotations = BTreeMap::from([(FORCE_REVOKE.to_owned(), key.to_string())]);
        cluster.keys.get_mut(&name).unwrap().metadata.annotations = Some(annotations);
        assert!(cluster.decide().1.ring.get(&key).is_none());
        cluster.keys.get_mut(&name).unwrap().metadata.annotations = None;
        cluster.users.clear();
        assert!(cluster.decide().1.ring.get(&key).is_none(), "unused");
    }

    #[test]
    fn asking_for_active_does_not_bring_a_key_back() {
        let mut cluster = Cluster::default();
        for state in [KeyState::DecryptOnly, KeyState::Revoked] {
            let key = cluster.hold(Some(state), 5);
            assert_eq!(cluster.status_of(&key).state, Some(state));
        }
        assert_eq!(cluster.decide().1.newest, None);
    }

    #[test]
    fn algorithms_that_are_not_allowed_are_stalled() {
        let mut cluster = Cluster::default();
        cluster.hold(Some(KeyState::Active), 1);
        cluster.request("classic", KeyState::Active);
        cluster.keys.get_mut("classic").unwrap().spec.algorithm = Algorithm::Classic;
        let (actions, _) = cluster.decide();
        assert_eq!(creations(&actions), 0);
        let stalled = actions.iter().any(|action| {
            matches!(action,
            Action::WriteStatus { sealing_key, status } if sealing_key == "classic"
                && status.conditions.iter().any(|c| c.reason == "AlgorithmNotAllowed"))
        });
        assert!(stalled);
    }
}
