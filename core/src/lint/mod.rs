//! What should not be in Git: Secrets in plain text, private keys, and slips in values that a
//! cluster would take as they are. It works on the text of one file, knows lines and columns, and
//! never says a value, its length or a hash of it.

mod allow;
mod braces;
mod generator;
mod manifest;
mod private_key;
mod value;

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::bytes::Regex;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::manifest::Place;
use crate::names::printable;
pub use allow::Allowed;
pub(crate) use braces::{HOLE, without_actions};
pub use private_key::{AgeKey, age_keys};

/// What a finding is about. The names are stable: programs and baselines refer to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// A Secret, a generator or a patch has values in plain text.
    PlaintextSecret,
    /// A private key, in whatever file.
    PrivateKey,
    /// A value in `data` is not Base64.
    NotBase64,
    /// A value of one line ends with a line feed.
    TrailingNewline,
    /// A value is Base64 of Base64.
    DoubleBase64,
    /// A value is a placeholder that nobody replaced.
    Placeholder,
    /// A value is a placeholder that only argocd-vault-plugin replaces.
    VaultPlaceholder,
    /// A value is empty.
    EmptyValue,
    /// A value begins with a byte order mark.
    ByteOrderMark,
    /// A file cannot be read, but looks like a Secret.
    Unreadable,
    /// `seal:allow` without a reason.
    AllowWithoutReason,
    /// A workload needs a Secret or a key that nothing makes.
    MissingReference,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// A secret is exposed, or nothing can be known.
    Error,
    /// Probably a slip.
    Warning,
}

impl Severity {
    /// Its name, as reports have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl Rule {
    /// All rules.
    pub const ALL: [Self; 12] = [
        Self::PlaintextSecret,
        Self::PrivateKey,
        Self::NotBase64,
        Self::TrailingNewline,
        Self::DoubleBase64,
        Self::Placeholder,
        Self::VaultPlaceholder,
        Self::EmptyValue,
        Self::ByteOrderMark,
        Self::Unreadable,
        Self::AllowWithoutReason,
        Self::MissingReference,
    ];

    /// The word for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PlaintextSecret => "PlaintextSecret",
            Self::PrivateKey => "PrivateKey",
            Self::NotBase64 => "NotBase64",
            Self::TrailingNewline => "TrailingNewline",
            Self::DoubleBase64 => "DoubleBase64",
            Self::Placeholder => "Placeholder",
            Self::VaultPlaceholder => "VaultPlaceholder",
            Self::EmptyValue => "EmptyValue",
            Self::ByteOrderMark => "ByteOrderMark",
            Self::Unreadable => "Unreadable",
            Self::AllowWithoutReason => "AllowWithoutReason",
            Self::MissingReference => "MissingReference",
        }
    }

    /// How bad it is.
    pub const fn severity(self) -> Severity {
        match self {
            Self::PlaintextSecret | Self::PrivateKey | Self::Unreadable => Severity::Error,
            _ => Severity::Warning,
        }
    }

    /// What the rule is about, in one sentence.
    pub const fn summary(self) -> &'static str {
        match self {
            Self::PlaintextSecret => "A Secret, a generator or a patch has values in plain text",
            Self::PrivateKey => "A file contains a private key",
            Self::NotBase64 => "A value under data is not Base64",
            Self::TrailingNewline => "A value of one line ends with a line feed",
            Self::DoubleBase64 => "A value is Base64-encoded twice",
            Self::Placeholder => "A value is a placeholder that nobody replaced",
            Self::VaultPlaceholder => "A value is a placeholder of argocd-vault-plugin",
            Self::EmptyValue => "A value is empty",
            Self::ByteOrderMark => "A value begins with a byte order mark",
            Self::Unreadable => "A file looks like a Secret but cannot be read",
            Self::AllowWithoutReason => "A seal:allow comment gives no reason",
            Self::MissingReference => "A workload needs a Secret or a key that nothing provides",
        }
    }

    /// What to do about it.
    pub const fn way_out(self) -> &'static str {
        match self {
            Self::PlaintextSecret => {
                "seal it: `seal -f FILE -w NAME.sealed.yaml`; if it was pushed, change the values too"
            }
            Self::PrivateKey => {
                "take it out of the repository; if it was pushed, replace the key: history keeps it"
            }
            Self::NotBase64 => "encode it, or move it to stringData",
            Self::TrailingNewline => {
                "write the value without it: `printf %s`, or `|-` instead of `|`"
            }
            Self::DoubleBase64 => "encode once under data, and not at all under stringData",
            Self::Placeholder => "set the real value with `seal set`",
            Self::VaultPlaceholder => {
                "use an ExternalSecret, or seal the real value: a sealed placeholder is never replaced"
            }
            Self::EmptyValue => "set a value, or remove the key",
            Self::ByteOrderMark => "save the file as UTF-8 without a byte order mark",
            Self::Unreadable => "correct the file: nothing in it was checked",
            Self::AllowWithoutReason => "write why: `# seal:allow REASON`",
            Self::MissingReference => {
                "correct the name, add what makes it, or name it under `external:` in .sealkit.yaml"
            }
        }
    }
}

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub rule: Rule,
    /// Where it is.
    pub place: Place,
    /// `namespace/name` of its object, if it has one.
    pub object: Option<String>,
    /// The keys that it is about, in the order of the file.
    pub keys: Vec<String>,
    /// What is wrong: a sentence without an end, which names no value.
    pub message: String,
    /// Tells it from others in two versions of a file. Derived from values: never to be shown.
    pub identity: [u8; 32],
}

impl Finding {
    /// Something about a place, and what identifies it besides the rule.
    pub fn new(rule: Rule, place: Place, message: String, identity: &[&[u8]]) -> Self {
        let mut digest = Sha256::new_with_prefix(rule.name());
        for part in identity {
            digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(part);
        }
        Self {
            rule,
            place,
            object: None,
            keys: Vec::new(),
            message,
            identity: digest.finalize().into(),
        }
    }

    /// The same about an object and its keys.
    fn about(mut self, object: Option<&str>, keys: Vec<String>) -> Self {
        self.object = object.map(str::to_owned);
        self.keys = keys;
        self
    }
}

/// What a file is, as its path tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// YAML or JSON.
    Manifest,
    /// The same among the templates of a Helm chart: braces are code.
    ChartTemplate,
    /// Anything else, which may hold private keys.
    Text,
}

/// Reads another file that a manifest names, relative to its folder; nothing where it is none that
/// Git would commit.
pub type ReadFile<'a> = &'a dyn Fn(&str) -> Option<Zeroizing<Vec<u8>>>;

/// What was found in a file.
#[derive(Clone, Debug, Default)]
pub struct Linted {
    /// In the order of their places.
    pub findings: Vec<Finding>,
    /// Secrets that were looked at.
    pub secrets: usize,
}

/// Looks at the bytes of one file.
pub fn lint(bytes: &[u8], kind: FileKind, read: ReadFile<'_>) -> Linted {
    let Some(text) = text(bytes) else {
        return Linted::default();
    };
    let may_hold_secret = kind != FileKind::Text && names_secret(text.as_bytes());
    let mut linted = Linted::default();
    let allowed = Allowed::of(&text);
    linted.findings.extend(private_key::find(&text));
    if may_hold_secret {
        let found = manifest::find(&text, kind == FileKind::ChartTemplate, &allowed, read);
        linted.secrets = found.secrets;
        linted.findings.extend(found.findings);
    }
    linted
        .findings
        .retain(|finding| !allowed.holds(finding.place.line));
    linted.findings.extend(allowed.without_reason());
    linted
        .findings
        .sort_by_key(|finding| (finding.place, finding.rule));
    linted
}

/// Could there be a Secret with values in it, or something that makes one? Escapes hide letters.
fn names_secret(bytes: &[u8]) -> bool {
    static WORDS: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"(?-u)(?:^|[^A-Za-z])Secret(?:List|Generator)?(?:[^A-Za-z]|$)|secretGenerator|/stringData|\\(?:x|u00|U000000)[4-7][0-9A-Fa-f]")
            .ok()
    });
    WORDS.as_ref().is_none_or(|words| words.is_match(bytes))
}

/// The file as text, UTF-16 included; nothing where it is binary.
fn text(bytes: &[u8]) -> Option<Zeroizing<String>> {
    /// Git looks at as many.
    const BEGINNING: usize = 8_000;
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Zeroizing<Vec<u16>> = bytes
            .chunks_exact(2)
            .map(|pair| unit([pair[0], pair[1]]))
            .collect::<Vec<_>>()
            .into();
        Zeroizing::new(String::from_utf16_lossy(&units))
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => return Some(wide(rest, u16::from_le_bytes)),
        [0xfe, 0xff, rest @ ..] => return Some(wide(rest, u16::from_be_bytes)),
        _ => {}
    }
    if bytes[..bytes.len().min(BEGINNING)].contains(&0) {
        return None;
    }
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let text: Cow<'_, str> = String::from_utf8_lossy(bytes);
    Some(Zeroizing::new(text.into_owned()))
}

/// Names for a message, the first few of many.
fn listed(names: &[String]) -> String {
    const MOST: usize = 5;
    let shown: Vec<String> = names
        .iter()
        .take(MOST)
        .map(|name| printable(name))
        .collect();
    let more = names.len().saturating_sub(MOST);
    let rest = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    shown.join(", ") + &rest
}

#[cfg(test)]
mod tests;
