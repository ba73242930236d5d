//! Envelopes that stand in no SealedSecret that can be read: in templates and values of charts, in
//! patches.

use std::collections::BTreeSet;

use sealkit_core::keys::Fingerprint;
use sealkit_core::manifest::Document;
use sealkit_core::sealed::{SealedView, age_file_text};

/// How every age file begins, in Base64.
pub(crate) const AGE_FILE: &str = "YWdlLWVuY3J5cHRpb24ub3JnL3Yx";

/// The envelopes of the SealedSecrets among these documents, by id.
pub(crate) fn inside(documents: &[Document]) -> impl Iterator<Item = &str> {
    let objects = documents
        .iter()
        .filter(|document| document.is_sealed_secret());
    let all = objects.flat_map(|document| SealedView::of(&document.object).envelopes());
    let with_file = all.filter(|(_, envelope)| age_file_text(envelope).is_some());
    with_file.map(|(id, _)| id)
}

/// How many envelopes of a text stand elsewhere, if what stands around claims others than these
/// recipients: all that is known of them. None if all is as it should be.
pub(crate) fn loose_for_others(
    text: &str,
    documents: &[Document],
    wanted: &[Fingerprint],
) -> usize {
    // Armored age files are somebody else's, such as those of SOPS.
    let armored = text.matches("-----BEGIN AGE ENCRYPTED FILE-----").count();
    let count = text.matches(AGE_FILE).count();
    let count = count.saturating_sub(inside(documents).count() + armored);
    if count == 0 {
        return 0;
    }
    let is_hex = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    let words = text.split(|character: char| !character.is_ascii_alphanumeric());
    let claimed: BTreeSet<String> = words
        .filter(|word| word.len() == 32 && word.bytes().all(is_hex))
        .map(str::to_owned)
        .collect();
    let wanted: BTreeSet<String> = wanted.iter().map(ToString::to_string).collect();
    if claimed == wanted { 0 } else { count }
}
