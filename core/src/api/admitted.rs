//! Names and texts that the API server itself refuses, without the webhook: rules in CEL for maps of
//! our resources, and what it says of a map that breaks one.
//!
//! Each is one rule for a whole map, behind `maxProperties`. A pattern for the members would give an
//! error for each of them, which quotes the text: it may be a value that somebody forgot to seal.

/// A rule in CEL, and what the API server says of an object that breaks it.
type Admitted = (&'static str, &'static str);

/// Ids of envelopes: the rule `envelope-id` of the format.
pub(super) const ENVELOPE_IDS: Admitted = (
    "self.all(id, id.matches('^[a-z2-7]{32}$'))",
    "an envelope id must be 32 characters of [a-z2-7]",
);

/// Keys of a Secret: [`crate::names::is_secret_key`]. The length comes first, since a regular
/// expression costs by the length of the text.
pub(super) const SECRET_KEYS: Admitted = (
    "self.all(key, size(key) <= 253 && key.matches('^[-._a-zA-Z0-9]+$') \
        && key != '.' && !key.startsWith('..'))",
    "a key must be 1 to 253 characters of [-._a-zA-Z0-9], and neither . nor begin with ..",
);

/// Sealed values: `sk1.`, the 32 characters of an id, a dot, and the base64url of at least the
/// smallest bucket. The API server estimates what a rule costs before it sees an object, and refuses a
/// CRD with a regular expression over texts as long as values may be: their characters are left to the
/// controller.
pub(super) const VALUES: Admitted = (
    "self.all(key, self[key].startsWith('sk1.') && size(self[key]) >= 176 \
        && self[key].charAt(36) == '.')",
    "a value must be sk1.<envelope id>.<base64url>, as seal writes it, whole",
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealed::{EnvelopeId, limits};

    #[test]
    fn lengths_are_those_of_the_format() {
        let dot = "sk1.".len() + EnvelopeId::LENGTH;
        for length in [limits::VALUE_CHARACTERS, dot] {
            assert!(VALUES.0.contains(&length.to_string()), "{length}");
        }
        assert!(ENVELOPE_IDS.0.contains(&EnvelopeId::LENGTH.to_string()));
    }
}
