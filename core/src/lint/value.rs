//! One value of a Secret: does it expose something, and is it probably a slip?

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::Rule;
use super::braces::is_filled_in;
use crate::manifest::Scalar;

/// As Go reads Base64, so also the API server.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// What surrounds a value.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Around {
    /// Among the templates of a Helm chart: braces are code.
    pub in_chart: bool,
    /// The object has the annotations of argocd-vault-plugin.
    pub is_for_vault_plugin: bool,
}

/// What a value is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Judged {
    /// Anyone who reads the file knows it.
    pub exposes: bool,
    /// What is probably wrong with it.
    pub slips: Vec<Rule>,
}

impl Judged {
    fn slip(rule: Rule) -> Self {
        Self {
            exposes: false,
            slips: vec![rule],
        }
    }
}

/// A value under `data`, as it is written.
pub(super) fn judge_data(scalar: &Scalar, around: Around) -> Judged {
    let text: Zeroizing<String> = Zeroizing::new(scalar.text.split_whitespace().collect());
    if scalar.is_null() {
        return null(around);
    }
    let decoded = BASE64.decode(text.as_bytes()).map(Zeroizing::new);
    match decoded {
        _ if is_filled_in(&scalar.text)
            || is_encrypted(text.as_bytes())
            || is_placeholder(&text) =>
        {
            judge(scalar.text.as_bytes(), around)
        }
        Ok(bytes) => judge(&bytes, around),
        Err(_) => {
            let mut judged = judge(scalar.text.trim().as_bytes(), around);
            if judged.exposes {
                judged.slips = vec![Rule::NotBase64];
            }
            judged
        }
    }
}

/// A value under `stringData`.
pub(super) fn judge_text(scalar: &Scalar, around: Around) -> Judged {
    if scalar.is_null() {
        return null(around);
    }
    judge(scalar.text.as_bytes(), around)
}

/// In a chart, code may write what is missing here.
fn null(around: Around) -> Judged {
    if around.in_chart {
        Judged::default()
    } else {
        Judged::slip(Rule::EmptyValue)
    }
}

/// A value as the cluster would have it.
pub(super) fn judge(value: &[u8], around: Around) -> Judged {
    let Ok(text) = std::str::from_utf8(value) else {
        return Judged {
            exposes: true,
            slips: Vec::new(),
        };
    };
    let trimmed = text.trim_start_matches('\u{feff}').trim();
    if trimmed.is_empty() {
        return Judged::slip(Rule::EmptyValue);
    }
    if is_encrypted(value) {
        return Judged::default();
    }
    if is_vault_placeholder(trimmed, around) {
        return Judged::slip(Rule::VaultPlaceholder);
    }
    // A file with braces may be for another program that fills it in later.
    if is_filled_in(text) && (around.in_chart || !trimmed.contains('\n')) {
        return Judged::default();
    }
    if is_placeholder(trimmed) {
        return Judged::slip(Rule::Placeholder);
    }
    let mut slips = Vec::new();
    if text.starts_with('\u{feff}') {
        slips.push(Rule::ByteOrderMark);
    }
    if text.ends_with('\n') && !trimmed.contains('\n') {
        slips.push(Rule::TrailingNewline);
    }
    if is_base64_of_text(trimmed) {
        slips.push(Rule::DoubleBase64);
    }
    Judged {
        exposes: true,
        slips,
    }
}

/// Encrypted by SOPS, age or `OpenPGP`, a value or a whole file.
pub(super) fn is_encrypted(value: &[u8]) -> bool {
    let begins = |mark: &str| value.starts_with(mark.as_bytes());
    if begins("age-encryption.org/v1\n")
        || begins("-----BEGIN AGE ENCRYPTED FILE-----")
        || begins("-----BEGIN PGP MESSAGE-----")
    {
        return true;
    }
    let Ok(text) = std::str::from_utf8(value) else {
        return false;
    };
    let text = text.trim();
    let is_value = text.starts_with("ENC[") && text.ends_with(']') && !text.contains('\n');
    // Each value of such a file is encrypted, or somebody wanted it otherwise.
    is_value || (text.contains("ENC[AES256_GCM,data:") && text.contains("sops"))
}

/// `<path:secret/data/db#password>`, or `<password>` where an annotation says which path.
fn is_vault_placeholder(text: &str, around: Around) -> bool {
    let inline = text.find("<path:").is_some_and(|at| {
        let rest = &text[at..];
        rest.find('>').is_some_and(|end| rest[..end].contains('#'))
    });
    inline || (around.is_for_vault_plugin && text.starts_with('<') && text.ends_with('>'))
}

/// A word that stands where somebody should have written a value.
fn is_placeholder(text: &str) -> bool {
    const ANYWHERE: [&str; 7] = [
        "changeme",
        "change-me",
        "change_me",
        "replaceme",
        "replace-me",
        "replace_me",
        "change-this",
    ];
    const WHOLE: [&str; 12] = [
        "todo",
        "tbd",
        "fixme",
        "placeholder",
        "redacted",
        "dummy",
        "n/a",
        "none",
        "your-password",
        "your_password",
        "yourpassword",
        "insert-here",
    ];
    let word = Zeroizing::new(text.to_ascii_lowercase());
    let in_angles = word
        .strip_prefix('<')
        .and_then(|word| word.strip_suffix('>'));
    let is_name = |name: &str| {
        let letters = |character: char| character.is_alphanumeric() || " _-./".contains(character);
        !name.is_empty() && name.chars().all(letters)
    };
    let is_one = |byte: u8| word.len() >= 3 && word.bytes().all(|other| other == byte);
    let is_your = |begin: &str, end: &str| word.starts_with(begin) && word.ends_with(end);
    ANYWHERE.iter().any(|part| word.contains(part))
        || WHOLE.contains(&word.as_str())
        || in_angles.is_some_and(is_name)
        || is_one(b'x')
        || is_one(b'*')
        || is_one(b'.')
        || is_your("your-", "-here")
        || is_your("your_", "_here")
}

/// Base64 whose content is text: chance writes that only once in thousands of tokens.
fn is_base64_of_text(text: &str) -> bool {
    /// Shorter ones are words more often.
    const SHORTEST: usize = 12;
    let joined: Zeroizing<String> = Zeroizing::new(text.split_whitespace().collect());
    if joined.len() < SHORTEST || (!joined.ends_with('=') && joined.len() < SHORTEST + 4) {
        return false;
    }
    let Ok(decoded) = base64::prelude::BASE64_STANDARD.decode(joined.as_bytes()) else {
        return false;
    };
    let decoded = Zeroizing::new(decoded);
    let is_readable = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~');
    decoded.iter().all(is_readable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slips(value: &str) -> Vec<Rule> {
        judge(value.as_bytes(), Around::default()).slips
    }

    #[test]
    fn slips_are_told_from_values() {
        for (value, rules) in [
            ("hunter2", &[][..]),
            ("hunter2\n", &[Rule::TrailingNewline]),
            ("hunter2\r\n", &[Rule::TrailingNewline]),
            ("one\ntwo\n", &[]),
            ("aHVudGVyMiE=", &[Rule::DoubleBase64]),
            (
                "aHVudGVyMiBhbmQgbW9yZQ==\n",
                &[Rule::TrailingNewline, Rule::DoubleBase64],
            ),
            ("kJ8f2LmQ9xZr4TwB", &[]),
            ("changeme", &[Rule::Placeholder]),
            ("postgres://u:CHANGEME@db", &[Rule::Placeholder]),
            ("<password>", &[Rule::Placeholder]),
            ("<YOUR TOKEN>", &[Rule::Placeholder]),
            ("xxxx", &[Rule::Placeholder]),
            ("your-api-key-here", &[Rule::Placeholder]),
            ("<path:secret/data/db#password>", &[Rule::VaultPlaceholder]),
            (
                "postgres://<path:secret/data/db#user | base64decode>@db",
                &[Rule::VaultPlaceholder],
            ),
            ("", &[Rule::EmptyValue]),
            (" \n", &[Rule::EmptyValue]),
            ("\u{feff}hunter2", &[Rule::ByteOrderMark]),
            ("<a href='x'>y</a>", &[]),
        ] {
            assert_eq!(slips(value), rules, "{value:?}");
        }
        let around = Around {
            is_for_vault_plugin: true,
            ..Around::default()
        };
        assert_eq!(judge(b"<password>", around).slips, [Rule::VaultPlaceholder]);
    }

    #[test]
    fn what_is_encrypted_or_filled_in_exposes_nothing() {
        for value in [
            "ENC[AES256_GCM,data:x,iv:x,tag:x,type:str]",
            "{\"data\": \"ENC[AES256_GCM,data:x]\", \"sops\": {}}",
            "age-encryption.org/v1\n-> X25519 x",
            "-----BEGIN PGP MESSAGE-----\n\nx",
            "{{ .Values.password }}",
            "postgres://u:${PASSWORD}@db",
        ] {
            assert_eq!(
                judge(value.as_bytes(), Around::default()),
                Judged::default(),
                "{value}"
            );
        }
        let config = b"route: hunter2\ntext: {{ .Labels }}\n";
        assert!(judge(config, Around::default()).exposes);
        let in_chart = Around {
            in_chart: true,
            ..Around::default()
        };
        assert!(!judge(config, in_chart).exposes);
        assert!(judge(b"\xff\xfe", Around::default()).exposes);
    }
}
