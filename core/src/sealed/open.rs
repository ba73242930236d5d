//! Opens an object: from its public text and private keys to its values.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::envelope::{CheckedEnvelope, EnvelopePlaintext};
use super::rewrap::Unwrapped;
use super::{Context, EnvelopeId, OpenError, Rule, SealedObject};
use crate::keys::{Fingerprint, Identity, KeyRing, KeyType};

/// Which keys are tried on which stanza.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// Only a key that a hint names, and only on that hint's stanza. The controller uses this: at
    /// most one decapsulation per envelope and held key.
    Hinted,
    /// After that, every held key on every stanza. For people with an identity at a terminal: a
    /// lying hint hides nothing, and is reported.
    Exhaustive,
}

/// One opened value. Wiped when dropped; no Debug.
pub struct OpenedValue {
    /// The bytes.
    pub bytes: Zeroizing<Vec<u8>>,
    /// May templates read it?
    pub render: bool,
}

/// The recipients of one envelope.
pub struct OpenedEnvelope {
    /// The type of all its recipients.
    pub key_type: KeyType,
    /// The fingerprints of all its recipients, as authenticated.
    pub to: Vec<Fingerprint>,
    /// The key of the ring that opened it.
    pub opened_by: Fingerprint,
}

/// The result of opening an object. No Debug on purpose.
pub struct Opened {
    /// The values by key.
    pub values: BTreeMap<String, OpenedValue>,
    /// The recipients of each envelope.
    pub envelopes: BTreeMap<EnvelopeId, OpenedEnvelope>,
    /// Envelopes whose hints are not their true recipients: they should be resealed.
    pub hint_mismatch: Vec<EnvelopeId>,
}

/// Opens an object, all or nothing. First every envelope must have a hint that names a held key
/// (`NoMatchingKey`), then envelopes open in the order of ids, then values in the order of keys;
/// the first failure is reported.
pub fn open(object: &SealedObject, ring: &KeyRing, search: Search) -> Result<Opened, OpenError> {
    let unwrapped = unwrap(object, ring, search)?;
    let mut values = BTreeMap::new();
    for (key, value) in &object.values {
        // Every value's envelope exists: `SealedObject` checked it.
        let Some(envelope) = unwrapped.get(&value.id) else {
            continue;
        };
        let bytes = value.open(&envelope.plaintext.key, &object.context, key)?;
        let render = envelope.plaintext.render;
        values.insert(key.clone(), OpenedValue { bytes, render });
    }
    let lying = unwrapped
        .iter()
        .filter(|(_, envelope)| !envelope.hints_are_true());
    Ok(Opened {
        values,
        hint_mismatch: lying.map(|(id, _)| *id).collect(),
        envelopes: unwrapped
            .into_iter()
            .map(|(id, envelope)| (id, envelope.into_opened()))
            .collect(),
    })
}

/// Opens the envelopes of an object and none of its values. Errors as in [`open`].
pub fn unwrap(
    object: &SealedObject,
    ring: &KeyRing,
    search: Search,
) -> Result<BTreeMap<EnvelopeId, Unwrapped>, OpenError> {
    let attempts = object
        .envelopes
        .iter()
        .map(|(id, envelope)| attempts(*id, envelope, ring, search))
        .collect::<Result<Vec<_>, _>>()?;
    let mut unwrapped = BTreeMap::new();
    for ((id, envelope), attempts) in object.envelopes.iter().zip(attempts) {
        let envelope = unwrap_checked(*id, envelope, &attempts)?;
        check_context(*id, &envelope.plaintext, &object.context)?;
        unwrapped.insert(*id, envelope);
    }
    Ok(unwrapped)
}

/// Opens an envelope that came without its object, with hinted keys only. It checks the envelope's
/// id; the caller must check what else the envelope is bound to. Errors as in [`open`].
pub fn unwrap_envelope(
    id: EnvelopeId,
    entry: &serde_json::Value,
    ring: &KeyRing,
) -> Result<Unwrapped, OpenError> {
    let envelope = CheckedEnvelope::parse(id, entry)?;
    let attempts = attempts(id, &envelope, ring, Search::Hinted)?;
    let unwrapped = unwrap_checked(id, &envelope, &attempts)?;
    if unwrapped.plaintext.id == id {
        Ok(unwrapped)
    } else {
        Err(moved(id, unwrapped.plaintext.id))
    }
}

fn unwrap_checked(
    id: EnvelopeId,
    envelope: &CheckedEnvelope,
    attempts: &[(usize, &Identity)],
) -> Result<Unwrapped, OpenError> {
    let in_envelope =
        |error: OpenError| OpenError::new(error.rule, format!("envelope {id}: {}", error.detail));
    let (plaintext, attempt) = envelope.file.decrypt(attempts).map_err(in_envelope)?;
    let plaintext = EnvelopePlaintext::decode(&plaintext).map_err(in_envelope)?;
    let (stanza, identity) = attempts[attempt];
    let opened_by = identity.fingerprint();
    Ok(Unwrapped {
        hints_are_true: envelope.hints.get(stanza) == Some(&opened_by)
            && plaintext.to == envelope.hints,
        key_type: envelope.file.key_type(),
        stanzas: envelope.file.recipients(),
        plaintext,
        opened_by,
    })
}

/// Pairs of stanza and key to try, in order.
fn attempts<'a>(
    id: EnvelopeId,
    envelope: &CheckedEnvelope,
    ring: &'a KeyRing,
    search: Search,
) -> Result<Vec<(usize, &'a Identity)>, OpenError> {
    let mut attempts: Vec<(usize, &Identity)> = envelope
        .hints
        .iter()
        .enumerate()
        .filter_map(|(index, hint)| Some((index, ring.get(hint)?)))
        .collect();
    if search == Search::Exhaustive {
        for identity in ring.iter() {
            for index in 0..envelope.file.recipients() {
                attempts.push((index, identity));
            }
        }
    }
    if attempts.is_empty() {
        let list = |fingerprints: &mut dyn Iterator<Item = Fingerprint>| {
            let texts: Vec<_> = fingerprints
                .map(|fingerprint| fingerprint.short())
                .collect();
            if texts.is_empty() {
                "none".to_owned()
            } else {
                texts.join(", ")
            }
        };
        let what = format!(
            "envelope {id} is sealed to {}, but the keys held are {}",
            list(&mut envelope.hints.iter().copied()),
            list(&mut ring.iter().map(Identity::fingerprint)),
        );
        return Err(OpenError::new(Rule::NoHeldKey, what));
    }
    Ok(attempts)
}

fn check_context(
    id: EnvelopeId,
    envelope: &EnvelopePlaintext,
    context: &Context,
) -> Result<(), OpenError> {
    let rule = if envelope.id != id {
        Rule::ContextId
    } else if envelope.scope != context.scope() {
        Rule::ContextScope
    } else if envelope.namespace != context.namespace() {
        Rule::ContextNamespace
    } else if envelope.name != context.name() {
        Rule::ContextName
    } else {
        return Ok(());
    };
    if rule == Rule::ContextId {
        return Err(moved(id, envelope.id));
    }
    let sealed_for = envelope.sealed_for();
    let what = format!("envelope {id} is sealed for {sealed_for}, but was found in {context}");
    Err(OpenError::new(rule, what))
}

fn moved(id: EnvelopeId, sealed_as: EnvelopeId) -> OpenError {
    let what = format!("envelope {id} was sealed as envelope {sealed_as}: it was moved");
    OpenError::new(Rule::ContextId, what)
}
