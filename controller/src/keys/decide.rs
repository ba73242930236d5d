//! Decides what to do about keys; pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sealkit_core::api::identity::{FINGERPRINT, FORCE_REVOKE, StoredIdentity};
use sealkit_core::api::{Algorithm, KeyState, Reason, SealingKey, SealingKeyStatus, watch_command};
use sealkit_core::keys::{Fingerprint, KeyRing, KeyType};
use sealkit_core::names::printable;

use super::{Keys, Users};
use crate::status::{self, Outcome};

/// An identity Secret as it was read. The fingerprint was recomputed from the identity.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) secret: String,
    pub(super) namespace: String,
    pub(super) uid: String,
    pub(super) resource_version: String,
    pub(super) stored: StoredIdentity,
}

/// One step towards the wanted state.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    /// Generate a key pair for this SealingKey.
    Generate {
        sealing_key: String,
        algorithm: Algorithm,
        created_at: Timestamp,
    },
    /// Correct the label and annotations of an identity Secret.
    Annotate {
        secret: String,
        fingerprint: Fingerprint,
        state: KeyState,
        created_at: Timestamp,
        sealing_key: String,
    },
    /// Write into the annotation of a SealingKey whose it is.
    NameIdentity {
        sealing_key: String,
        fingerprint: Fingerprint,
    },
    /// Create a SealingKey: of this name for an identity, or of a new one to get a key pair.
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

/// What the decision depends on.
pub(super) struct World<'a> {
    /// Identities by name of the Secret.
    pub(super) held: &'a BTreeMap<String, Held>,
    /// SealingKeys by name.
    pub(super) sealing_keys: &'a BTreeMap<String, SealingKey>,
    pub(super) allowed: &'a [Algorithm],
    pub(super) usage: &'a dyn Fn(&Fingerprint) -> Users,
    pub(super) now: Timestamp,
}

/// What must be done, and the keys in force meanwhile.
pub(super) fn decide(world: &World<'_>) -> (Vec<Action>, Keys) {
    let mut pairs = key_pairs(world);
    let newest = newest(world, &pairs);
    // A newer key supersedes the others for ever: their Secrets record it.
    for (fingerprint, pair) in &mut pairs {
        if pair.state == KeyState::Active && newest != Some(*fingerprint) {
            pair.state = KeyState::DecryptOnly;
        }
    }
    let newest = newest.and_then(|fingerprint| pairs.get(&fingerprint));
    let mut actions = Vec::new();
    for pair in pairs.values() {
        actions.extend(annotate(pair));
        actions.extend(name_identity(world, pair));
        actions.extend(project(world, pair));
    }
    let newest_created = newest.map(|pair| pair.created_at);
    actions.extend(keys_without_identity(world, &pairs, newest_created));
    (actions, keys_in_force(&pairs, newest))
}

/// An identity, and the decisions about it.
struct KeyPair<'a> {
    held: &'a Held,
    /// Name of its SealingKey.
    name: String,
    state: KeyState,
    /// What prevents the state that its SealingKey requests.
    trouble: Option<Trouble>,
    created_at: Timestamp,
}

impl KeyPair<'_> {
    fn fingerprint(&self) -> Fingerprint {
        self.held.stored.identity.fingerprint()
    }

    fn key_type(&self) -> KeyType {
        self.held.stored.identity.recipient().key_type()
    }
}

/// All identities, in the states that their annotations and SealingKeys request.
fn key_pairs<'a>(world: &World<'a>) -> BTreeMap<Fingerprint, KeyPair<'a>> {
    let identities = by_fingerprint(world.held);
    let mut names = names(world.sealing_keys, &identities);
    let pair = |(fingerprint, held): (Fingerprint, &'a Held)| {
        let name = names.remove(&fingerprint)?;
        let (state, trouble) = requested_state(world, fingerprint, held, &name);
        let created_at = held.stored.created_at.unwrap_or(world.now);
        let pair = KeyPair {
            held,
            name,
            state,
            trouble,
            created_at,
        };
        Some((fingerprint, pair))
    };
    identities.into_iter().filter_map(pair).collect()
}

/// The Active key of an allowed type that was created last: the one that sealing uses.
fn newest(world: &World<'_>, pairs: &BTreeMap<Fingerprint, KeyPair<'_>>) -> Option<Fingerprint> {
    pairs
        .iter()
        .filter(|(_, pair)| pair.state == KeyState::Active)
        .filter(|(_, pair)| world.allowed.contains(&pair.key_type().into()))
        .max_by_key(|(fingerprint, pair)| (pair.created_at, **fingerprint))
        .map(|(fingerprint, _)| *fingerprint)
}

/// Corrects the label and annotations of an identity Secret, unless they are right.
fn annotate(pair: &KeyPair<'_>) -> Option<Action> {
    let stored = &pair.held.stored;
    let complete = stored.label_is_right
        && stored.state == Some(pair.state)
        && stored.created_at.is_some()
        && stored.sealing_key.as_ref() == Some(&pair.name);
    (!complete).then(|| Action::Annotate {
        secret: pair.held.secret.clone(),
        fingerprint: pair.fingerprint(),
        state: pair.state,
        created_at: pair.created_at,
        sealing_key: pair.name.clone(),
    })
}

/// Writes into the SealingKey of an identity whose it is, unless its metadata says so: once the
/// identity is lost, it must not get another one.
fn name_identity(world: &World<'_>, pair: &KeyPair<'_>) -> Option<Action> {
    let key = world.sealing_keys.get(&pair.name)?;
    named_fingerprint(key)
        .is_none()
        .then(|| Action::NameIdentity {
            sealing_key: pair.name.clone(),
            fingerprint: pair.fingerprint(),
        })
}

/// Creates the SealingKey of an identity, or writes its status.
fn project(world: &World<'_>, pair: &KeyPair<'_>) -> Option<Action> {
    let Some(key) = world.sealing_keys.get(&pair.name) else {
        return Some(Action::CreateSealingKey {
            name: Some(pair.name.clone()),
            algorithm: pair.key_type().into(),
            state: pair.state,
        });
    };
    let outcome = match &pair.trouble {
        Some(Trouble::Unknown) => return None,
        Some(Trouble::Refused(outcome)) => outcome.clone(),
        None => Outcome::Ready(Reason::KeyAvailable, "the key pair is available".to_owned()),
    };
    let status = SealingKeyStatus {
        recipient: Some(pair.held.stored.identity.recipient().to_string()),
        fingerprint: Some(pair.fingerprint().to_string()),
        created_at: Some(pair.created_at),
        state: Some(pair.state),
        ..SealingKeyStatus::default()
    };
    write_status(key, status, &outcome, world.now)
}

/// The keys that open and the one that sealing uses.
fn keys_in_force(pairs: &BTreeMap<Fingerprint, KeyPair<'_>>, newest: Option<&KeyPair<'_>>) -> Keys {
    let openable = pairs
        .values()
        .filter(|pair| pair.state != KeyState::Revoked)
        .map(|pair| pair.held.stored.identity.clone());
    #[expect(
        clippy::expect_used,
        reason = "fingerprints are unique: they are the map's keys"
    )]
    let ring = KeyRing::new(openable).expect("no two keys of one fingerprint");
    Keys {
        ring,
        own: pairs.keys().copied().collect(),
        newest: newest.map(|pair| (pair.fingerprint(), pair.key_type())),
        newest_created: newest.map_or(0, |pair| pair.created_at.as_second()),
    }
}

/// What prevents the state that a SealingKey requests.
#[derive(Clone)]
enum Trouble {
    /// It is not known yet whether objects need the key.
    Unknown,
    /// Objects need the key, or may need it.
    Refused(Outcome),
}

/// One identity for each fingerprint. Two Secrets may hold the same one (a backup restored beside
/// the original): the Secret with the lowest state counts.
fn by_fingerprint(all: &BTreeMap<String, Held>) -> BTreeMap<Fingerprint, &Held> {
    let mut identities: BTreeMap<Fingerprint, &Held> = BTreeMap::new();
    for held in all.values() {
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

/// Keys whose revocation is requested and has not happened yet. The Secrets of the identities decide
/// it, since anybody with the right may have written the statuses.
pub(super) fn to_be_revoked(
    held: &BTreeMap<String, Held>,
    sealing_keys: &BTreeMap<String, SealingKey>,
) -> Vec<Fingerprint> {
    let identities = by_fingerprint(held);
    let names = names(sealing_keys, &identities).into_iter();
    let requested = names.filter(|(fingerprint, name)| {
        let key = sealing_keys.get(name);
        identities[fingerprint].stored.state != Some(KeyState::Revoked)
            && key.is_some_and(|key| key.spec.state == KeyState::Revoked)
    });
    requested.map(|(fingerprint, _)| fingerprint).collect()
}

/// The SealingKey of each identity: the one that its Secret's annotation names, or the one whose
/// metadata names the identity. A name belongs to one identity: if two claim it, the one that the
/// SealingKey's metadata names keeps it, else the older one.
fn names(
    sealing_keys: &BTreeMap<String, SealingKey>,
    identities: &BTreeMap<Fingerprint, &Held>,
) -> BTreeMap<Fingerprint, String> {
    let mut owners: BTreeMap<&str, Fingerprint> = BTreeMap::new();
    let rank = |name: &str, fingerprint: &Fingerprint| {
        let named = sealing_keys.get(name).and_then(named_fingerprint);
        let is_named = named == Some(fingerprint.to_string());
        (
            !is_named,
            identities[fingerprint].stored.created_at,
            *fingerprint,
        )
    };
    let annotated = |held: &&Held| {
        let name = held.stored.sealing_key.as_deref()?;
        // Anybody may have written it: it must be a name that the API server accepts.
        sealkit_core::names::is_dns_subdomain(name).then(|| name.to_owned())
    };
    // An identity restored without annotations.
    let named = |fingerprint: &Fingerprint| {
        let fingerprint = Some(fingerprint.to_string());
        let mut keys = sealing_keys.iter();
        keys.find(|(_, key)| named_fingerprint(key) == fingerprint)
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
/// chosen; and what prevents the requested state. A state never goes back up.
fn requested_state(
    world: &World<'_>,
    fingerprint: Fingerprint,
    held: &Held,
    name: &str,
) -> (KeyState, Option<Trouble>) {
    let base = held.stored.state.unwrap_or(KeyState::DecryptOnly);
    let key = world.sealing_keys.get(name);
    // Nobody requests anything.
    let Some(key) = key else { return (base, None) };
    let wanted = base.max(key.spec.state);
    // No revocation, or one that has happened.
    if wanted != KeyState::Revoked || base == KeyState::Revoked {
        return (wanted, None);
    }
    let forced = key
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(FORCE_REVOKE));
    // A revocation that nothing may hold up.
    if forced.is_some_and(|forced| *forced == fingerprint.to_string()) {
        return (KeyState::Revoked, None);
    }
    match (world.usage)(&fingerprint) {
        // Nothing needs the key.
        Users::Known(users) if users.is_empty() => (KeyState::Revoked, None),
        // Not known yet: no status is written until it is.
        Users::Unknown => (KeyState::DecryptOnly, Some(Trouble::Unknown)),
        // Some objects cannot be checked, and may stay so.
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
        // Some namespaces cannot be looked at, and may stay so.
        Users::Unwatched(namespaces) => {
            let message = format!(
                "not revoked yet: the controller may not watch {} namespaces ({}), so it does not \
                 know whether objects there need this key; run `{}`, take the namespace out of \
                 SEALKIT_WATCH_NAMESPACES, or force the revocation with the annotation \
                 {FORCE_REVOKE}: {fingerprint}",
                namespaces.len(),
                first_of(&namespaces),
                watch_command(namespaces.first().map_or("NAMESPACE", String::as_str)),
            );
            let outcome = Outcome::Retrying(Reason::InUse, message);
            (KeyState::DecryptOnly, Some(Trouble::Refused(outcome)))
        }
        // Objects need the key.
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

/// What to do about SealingKeys without an identity: it is to be generated, or it was lost.
fn keys_without_identity(
    world: &World<'_>,
    pairs: &BTreeMap<Fingerprint, KeyPair<'_>>,
    newest_created: Option<Timestamp>,
) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut expected = false;
    for (name, key) in world.sealing_keys {
        if pairs.values().any(|pair| pair.name == *name) {
            continue;
        }
        let algorithm = key.spec.algorithm;
        let outcome = if let Some(fingerprint) = named_fingerprint(key) {
            let owner = fingerprint
                .parse()
                .ok()
                .and_then(|fingerprint| pairs.get(&fingerprint))
                .map(|pair| &pair.name);
            if let Some(owner) = owner {
                // A copy of another SealingKey.
                let message = format!(
                    "the fingerprint of this SealingKey belongs to SealingKey {owner}: remove the \
                     annotation {FINGERPRINT} to get a new key pair"
                );
                Outcome::Stalled(Reason::InvalidSpec, message)
            } else {
                // Its identity was lost, or is not restored yet.
                expected |= key.spec.state == KeyState::Active;
                // Whoever may write SealingKeys may have annotated any text.
                let fingerprint = printable(&fingerprint);
                let message =
                    format!("the identity of {fingerprint} is missing: restore it from a backup");
                Outcome::Stalled(Reason::IdentityMissing, message)
            }
        } else if !world.allowed.contains(&algorithm) {
            // A new key of a type that the administrator does not allow.
            let message =
                "the controller's --allowed-algorithms do not include this algorithm".to_owned();
            Outcome::Stalled(Reason::AlgorithmNotAllowed, message)
        } else if key.spec.state != KeyState::Active {
            // A new key that could not seal.
            let message = "a new key must begin as Active: set spec.state to Active".to_owned();
            Outcome::Stalled(Reason::InvalidSpec, message)
        } else {
            // A new key.
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
    // Nothing to seal to, and no key is being generated or waits to be restored.
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

/// When a new key counts as created: after all others, whatever this machine's clock says.
fn after(newest: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let next = newest.and_then(|newest| Timestamp::from_second(newest.as_second() + 1).ok());
    next.map_or(now, |next| next.max(now))
}

/// The fingerprint that a SealingKey had before, by its metadata: no status is believed. Such a key
/// is never generated again, since backup tools restore resources before Secrets.
fn named_fingerprint(key: &SealingKey) -> Option<String> {
    let annotation = key
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(FINGERPRINT).cloned());
    let name = || {
        let rest = key.metadata.name.as_deref()?.strip_prefix("key-")?;
        rest.parse::<Fingerprint>().is_ok().then(|| rest.to_owned())
    };
    annotation.or_else(name)
}

/// Writes the status of a SealingKey, unless it is right.
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
    use sealkit_core::keys::Identity;

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
    fn a_copied_sealing_key_reports_why_it_gets_no_key() {
        let mut cluster = Cluster::default();
        let original = cluster.hold(Some(KeyState::Active), 1);
        cluster.request("copy", KeyState::Active);
        let annotations = BTreeMap::from([(FINGERPRINT.to_owned(), original.to_string())]);
        cluster.keys.get_mut("copy").unwrap().metadata.annotations = Some(annotations);
        let (actions, _) = cluster.decide();
        assert_eq!(creations(&actions), 0);
        let reported = actions.iter().any(|action| {
            matches!(action,
            Action::WriteStatus { sealing_key, status } if sealing_key == "copy"
                && status.conditions.iter().any(|c| c.reason == "InvalidSpec"))
        });
        assert!(reported, "{actions:?}");
    }

    #[test]
    fn a_fingerprint_that_is_none_is_quoted_escaped_and_cut() {
        let mut cluster = Cluster::default();
        cluster.hold(Some(KeyState::Active), 1);
        cluster.request("copy", KeyState::Active);
        let text = format!("x\u{1b}]0;pwned\u{7}\n{}", "y".repeat(900_000));
        let annotations = BTreeMap::from([(FINGERPRINT.to_owned(), text)]);
        cluster.keys.get_mut("copy").unwrap().metadata.annotations = Some(annotations);
        let written = cluster
            .decide()
            .0
            .into_iter()
            .find_map(|action| match action {
                Action::WriteStatus {
                    sealing_key,
                    status,
                } if sealing_key == "copy" => Some(status),
                _ => None,
            });
        let message = &written.unwrap().conditions[0].message;
        assert!(message.contains("x\\u{1b}]0;pwned\\u{7}\\ny"), "{message}");
        assert!(message.len() < 500);
    }

    #[test]
    fn nothing_is_reported_of_a_revocation_before_users_are_known() {
        let mut cluster = Cluster::default();
        let key = cluster.hold(Some(KeyState::DecryptOnly), 1);
        cluster.hold(Some(KeyState::Active), 2);
        let name = format!("key-{key}");
        cluster.keys.get_mut(&name).unwrap().spec.state = KeyState::Revoked;
        let (actions, keys) = cluster.decide_with(&Users::Unknown);
        assert!(keys.ring.get(&key).is_some());
        let reported = actions.iter().any(|action| {
            matches!(action, Action::WriteStatus { sealing_key, .. } if *sealing_key == name)
        });
        assert!(!reported);
    }

    #[test]
    fn a_revocation_names_the_objects_that_cannot_be_checked() {
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
    fn statuses_decide_nothing_about_keys() {
        let mut cluster = Cluster::default();
        let old = cluster.hold(Some(KeyState::DecryptOnly), 1);
        cluster.hold(Some(KeyState::Active), 2);
        let forge = |key: &mut SealingKey, fingerprint: String| {
            key.status = Some(SealingKeyStatus {
                fingerprint: Some(fingerprint),
                state: Some(KeyState::Revoked),
                ..SealingKeyStatus::default()
            });
        };
        let key = cluster.keys.get_mut(&format!("key-{old}")).unwrap();
        key.spec.state = KeyState::Revoked;
        forge(key, "0".repeat(32));
        assert_eq!(to_be_revoked(&cluster.held, &cluster.keys), [old]);

        cluster.request("new", KeyState::Active);
        forge(cluster.keys.get_mut("new").unwrap(), old.to_string());
        let (actions, _) = cluster.decide();
        assert_eq!(creations(&actions), 1, "{actions:?}");
        let restored = cluster.hold(None, 3);
        forge(cluster.keys.get_mut("new").unwrap(), restored.to_string());
        let (actions, _) = cluster.decide();
        let named = actions.iter().any(|action| {
            matches!(action,
            Action::Annotate { fingerprint, sealing_key, .. }
                if *fingerprint == restored && *sealing_key == format!("key-{restored}"))
        });
        assert!(named, "{actions:?}");
    }

    #[test]
    fn a_sealing_key_is_told_whose_it_is_before_its_identity_can_be_lost() {
        let mut cluster = Cluster::default();
        let key = cluster.hold(Some(KeyState::Active), 1);
        cluster.request("mine", KeyState::Active);
        for held in cluster.held.values_mut() {
            held.stored.sealing_key = Some("mine".to_owned());
        }
        let sealing_key = "mine".to_owned();
        assert!(cluster.decide().0.contains(&Action::NameIdentity {
            sealing_key,
            fingerprint: key,
        }));
        let annotations = BTreeMap::from([(FINGERPRINT.to_owned(), key.to_string())]);
        cluster.keys.get_mut("mine").unwrap().metadata.annotations = Some(annotations);
        cluster.held.clear();
        assert_eq!(creations(&cluster.decide().0), 0);
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
