//! All values of an object under one envelope: each run that sets values adds an envelope, and an
//! object can have 64 of them.

use std::collections::BTreeMap;

use sealkit_core::keys::{Fingerprint, KeyRing, RecipientSet};
use sealkit_core::manifest::SealedEdit;
use sealkit_core::sealed::{SealedObject, seal};

use crate::identities;

/// An object that has fewer envelopes than before.
pub(super) struct Folded {
    pub(super) edit: SealedEdit,
    /// Whom each old envelope was sealed to.
    pub(super) before: Vec<Vec<Fingerprint>>,
}

/// Seals the values of an object again, under one envelope; those that templates may read stay
/// apart from the others, under one of their own. Nothing if the object has no more envelopes
/// than that. The error is for people.
pub(super) fn fold(
    object: &SealedObject,
    wanted: &RecipientSet,
    ring: &KeyRing,
) -> Result<Option<Folded>, String> {
    if object.hints().count() < 2 {
        return Ok(None);
    }
    let opened = identities::open_object(object, ring).map_err(|error| error.detail)?;
    let mut groups = BTreeMap::<bool, BTreeMap<_, _>>::new();
    for (key, value) in opened.values {
        let group = groups.entry(value.render).or_default();
        group.insert(key, value.bytes);
    }
    if opened.envelopes.len() <= groups.len() {
        return Ok(None);
    }
    let mut edit = SealedEdit::default();
    for (render, values) in groups {
        let sealed = seal(&values, object.context(), wanted, render);
        edit.put(&sealed.map_err(|error| error.to_string())?);
    }
    let before = opened.envelopes.into_values().map(|envelope| envelope.to);
    Ok(Some(Folded {
        edit,
        before: before.collect(),
    }))
}
