//! The rules of the format, each with a name and a code, and the error that names one.

use std::fmt;

/// The result of opening an object that does not open, in the order of checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// Public text alone shows it; no key is needed to find it.
    InvalidSpec,
    /// No hint of an envelope names a held key.
    NoMatchingKey,
    /// Anything else that needs a key: altered, moved or malformed.
    DecryptFailed,
    /// A well-formed envelope that was sealed for another id, scope, namespace or name.
    ScopeMismatch,
}

impl Code {
    /// The word in conditions, metrics and JSON reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidSpec => "InvalidSpec",
            Self::NoMatchingKey => "NoMatchingKey",
            Self::DecryptFailed => "DecryptFailed",
            Self::ScopeMismatch => "ScopeMismatch",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

macro_rules! rules {
    ($($(#[$doc:meta])* $variant:ident = $code:ident $name:literal,)+) => {
        /// One rule of the format. Its name is stable: reports and test vectors use it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Rule { $($(#[$doc])* $variant,)+ }

        impl Rule {
            /// All rules.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable name of the rule.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The code under which a breach of the rule is reported.
            pub const fn code(self) -> Code {
                match self { $(Self::$variant => Code::$code,)+ }
            }
        }
    };
}

rules! {
    /// Names that the scope binds are Kubernetes names.
    ObjectNames = InvalidSpec "object-names",
    /// The object is one that may carry a sealed spec.
    ObjectShape = InvalidSpec "object-shape",
    /// At most 1,200,000 bytes as compact JSON.
    ObjectSize = InvalidSpec "object-size",
    /// No field of `spec` besides the known ones.
    SpecFields = InvalidSpec "spec-fields",
    /// Scope is one of three lower-case words, or absent.
    ScopeWord = InvalidSpec "scope-word",
    /// At most 64 envelopes.
    EnvelopeCount = InvalidSpec "envelope-count",
    /// An envelope id is 32 characters of lower-case base32.
    EnvelopeId = InvalidSpec "envelope-id",
    /// An envelope is `recipients` and `ageFile`, nothing else, nothing missing.
    EnvelopeEntry = InvalidSpec "envelope-entry",
    /// 1 to 32 hints.
    RecipientCount = InvalidSpec "recipient-count",
    /// A hint is a fingerprint.
    HintGrammar = InvalidSpec "hint-grammar",
    /// No hint twice.
    HintsDuplicate = InvalidSpec "hints-duplicate",
    /// One hint for each stanza of an accepted type.
    HintsCount = InvalidSpec "hints-count",
    /// `ageFile` is canonical standard base64.
    AgeFileBase64 = InvalidSpec "age-file-base64",
    /// Header and payload within their sizes.
    AgeFileSize = InvalidSpec "age-file-size",
    /// A strict age v1 header.
    AgeHeader = InvalidSpec "age-header",
    /// At most 64 stanzas.
    StanzaCount = InvalidSpec "stanza-count",
    /// No stanza of a type that is neither accepted nor grease.
    StanzaUnknown = InvalidSpec "stanza-unknown",
    /// A stanza of an accepted type has its exact shape.
    StanzaShape = InvalidSpec "stanza-shape",
    /// Stanzas of one type only.
    StanzaMixed = InvalidSpec "stanza-mixed",
    /// Key names are those of Kubernetes Secrets.
    KeyName = InvalidSpec "key-name",
    /// A value is `sk1.`, an id, a dot and base64url.
    ValueGrammar = InvalidSpec "value-grammar",
    /// The base64url of a value is canonical.
    ValueBase64 = InvalidSpec "value-base64",
    /// A value's decoded length less 40 is a bucket.
    ValueSize = InvalidSpec "value-size",
    /// A value names an envelope that exists.
    DanglingId = InvalidSpec "dangling-id",
    /// At least one hint of each envelope names a held key.
    NoHeldKey = NoMatchingKey "no-hint-names-a-held-key",
    /// A hinted stanza opens with the key that the hint names.
    StanzaDoesNotOpen = DecryptFailed "stanza-does-not-open",
    /// The header's MAC is that of the file key.
    AgeMac = DecryptFailed "age-mac",
    /// The payload is intact and within its size.
    AgePayload = DecryptFailed "age-payload",
    /// The envelope is version 1.
    EnvelopeVersion = DecryptFailed "envelope-version",
    /// The envelope has its eight fields, of their types, no other.
    EnvelopeFields = DecryptFailed "envelope-fields",
    /// The envelope is spelt canonically.
    EnvelopeCanonical = DecryptFailed "envelope-canonical",
    /// Id, scope and names in the envelope follow their grammar.
    EnvelopeGrammar = DecryptFailed "envelope-grammar",
    /// `to` is 1 to 32 fingerprints, sorted, unique.
    EnvelopeTo = DecryptFailed "envelope-to",
    /// The data key has 32 bytes.
    EnvelopeKey = DecryptFailed "envelope-key",
    /// The envelope's id is that of its data key and its `render`.
    EnvelopeCommitment = DecryptFailed "envelope-commitment",
    /// The envelope was made for this id.
    ContextId = ScopeMismatch "context-id",
    /// The envelope was made for this scope.
    ContextScope = ScopeMismatch "context-scope",
    /// The envelope was made for this namespace.
    ContextNamespace = ScopeMismatch "context-namespace",
    /// The envelope was made for this name.
    ContextName = ScopeMismatch "context-name",
    /// A value is authentic for its key, object, scope and envelope.
    ValueAead = DecryptFailed "value-aead",
    /// A value's length lies within what was decrypted.
    ValueLength = DecryptFailed "value-length",
    /// A value's padded length is the bucket of its length.
    ValueBucket = DecryptFailed "value-bucket",
    /// Padding is zero.
    ValuePadding = DecryptFailed "value-padding",
}

/// An object does not open, or opens for nobody. Contains the rule and public text only: never
/// plaintext, a data key or the length of a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct OpenError {
    /// The rule that was broken.
    pub rule: Rule,
    /// What happened, for people.
    pub detail: String,
}

impl OpenError {
    pub(crate) fn new(rule: Rule, detail: impl Into<String>) -> Self {
        Self {
            rule,
            detail: detail.into(),
        }
    }

    /// The code of the broken rule.
    pub fn code(&self) -> Code {
        self.rule.code()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<_> = Rule::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), Rule::ALL.len());
    }
}
