//! The text of a file: its sealed values and envelopes, distinguished without a key, and private
//! keys that should not be in it.

mod loose;
mod spelling;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use sealkit_core::lint::age_keys;
use sealkit_core::manifest::{Document, read_documents};
use sealkit_core::sealed::{EnvelopeId, SealedView, age_file_text, envelope_id};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

pub(crate) use loose::{AGE_FILE, inside, loose_for_others};

/// Identifies a value wherever it is: its envelope, and a digest of its ciphertext.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ValueId {
    /// The id of its envelope.
    pub envelope: String,
    /// Characters of its text.
    length: usize,
    digest: [u8; 16],
}

impl ValueId {
    fn new(envelope: &str, text: &[u8]) -> Self {
        let whole: [u8; 32] = Sha256::digest(text).into();
        let mut digest = [0; 16];
        digest.copy_from_slice(&whole[..16]);
        Self {
            envelope: envelope.to_owned(),
            length: text.len(),
            digest,
        }
    }

    /// Is it what a text begins with?
    pub fn begins(&self, text: &[u8]) -> bool {
        let beginning = text.get(..self.length);
        beginning.is_some_and(|text| Self::new(&self.envelope, text) == *self)
    }
}

/// The SealedSecrets of a file; nothing where it cannot be read, which a file of another program
/// may be.
pub(crate) fn sealed_secrets(bytes: &[u8]) -> Option<Vec<Document>> {
    if !may_hold_sealed(bytes) {
        return Some(Vec::new());
    }
    let documents = read_documents(bytes).ok()?;
    let sealed = documents.into_iter().filter(Document::is_sealed_secret);
    Some(sealed.collect())
}

/// Could another program find a SealedSecret in it, or a part of one? Escapes hide words.
pub(crate) fn may_hold_sealed(bytes: &[u8]) -> bool {
    let holds = |text: &[u8]| {
        ["SealedSecret", "sk1.", "encryptedData", "ageFile"]
            .iter()
            .any(|word| contains(text, word.as_bytes()))
    };
    holds(bytes) || holds(&spelling::unescaped(bytes))
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

/// The values of an object: each under its key, as itself.
pub(crate) fn values(document: &Document) -> BTreeMap<String, ValueId> {
    let values = SealedView::of(&document.object).values();
    let sealed = values.filter_map(|(key, text)| {
        let id = envelope_id(text)?;
        Some((key.to_owned(), ValueId::new(id, text.as_bytes())))
    });
    sealed.collect()
}

/// The envelopes of a file: their age files, as text.
pub(crate) fn envelopes(bytes: &[u8]) -> HashSet<String> {
    let mut found = HashSet::new();
    for document in sealed_secrets(bytes).unwrap_or_default() {
        let envelopes = SealedView::of(&document.object).envelopes();
        let texts = envelopes.filter_map(|(_, envelope)| age_file_text(envelope));
        found.extend(texts.map(str::to_owned));
    }
    found
}

/// A private key of age in a text.
pub(crate) struct PrivateKey {
    /// Its line, from 1.
    pub line: usize,
    /// Tells it from others.
    pub digest: [u8; 32],
}

impl PrivateKey {
    /// What is wrong with it.
    pub fn message(&self) -> String {
        format!(
            "a private key in line {}: anyone who can read the file can open what is sealed to it",
            self.line
        )
    }
}

/// All private keys in a file, whatever it is; only what really is one.
pub(crate) fn private_keys(bytes: &[u8]) -> Vec<PrivateKey> {
    let mut line = 1;
    let mut at = 0;
    let keys = age_keys(bytes).into_iter().map(|key| {
        line += bytes[at..key.offset].split(|byte| *byte == b'\n').count() - 1;
        at = key.offset;
        PrivateKey {
            line,
            digest: Sha256::digest(key.text).into(),
        }
    });
    keys.collect()
}

/// Tells a plain Secret from others; nothing where it is none, or has no values.
pub(crate) fn plain(document: &Document) -> Option<[u8; 32]> {
    let sections = ["data", "stringData"].map(|name| document.object.get(name));
    let mut entries = sections
        .iter()
        .flatten()
        .filter_map(|section| section.as_object());
    if !document.is_secret() || entries.all(serde_json::Map::is_empty) {
        return None;
    }
    let text = serde_json::to_vec(&(title(document), sections))
        .ok()
        .map(Zeroizing::new)?;
    Some(Sha256::digest(&*text).into())
}

/// A text that looks like a sealed value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Spelled {
    /// The line of its file, from 1; nothing where it is escaped or encoded.
    pub line: Option<usize>,
    /// Which value it is.
    pub value: ValueId,
}

impl Spelled {
    /// In words, such as `a value in line 7`.
    pub fn place(&self) -> String {
        self.line.map_or_else(
            || "an escaped or encoded value".to_owned(),
            |line| format!("a value in line {line}"),
        )
    }
}

/// All texts that look like sealed values, whatever file they stand in: patches, templates, texts
/// in texts, files that cannot be read. Each is listed as it is written; then those that only
/// programs see which read escapes, UTF-16 or Base64.
pub(crate) fn spelled(bytes: &[u8]) -> Vec<Spelled> {
    let text = spelling::unescaped(bytes);
    let decoded: Vec<Vec<u8>> = spelling::decoded_runs(&text)
        .map(|decoded| spelling::unescaped(&decoded).into_owned())
        .collect();
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    let plain = lines.flat_map(|(at, line)| texts(line).map(move |text| (Some(at + 1), text)));
    let escaped = (*text != *bytes)
        .then(|| texts(&text))
        .into_iter()
        .flatten();
    let others = escaped.chain(decoded.iter().flat_map(|decoded| texts(decoded)));
    let all: Vec<_> = plain.chain(others.map(|text| (None, text))).collect();
    let whole: BTreeSet<&[u8]> = all.iter().map(|(_, (_, text))| *text).collect();
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for (line, (envelope, text)) in all {
        // The first line of one that goes on in the next looks like another.
        let mut longer = whole.range(text..).skip(1);
        if longer.next().is_some_and(|longer| longer.starts_with(text)) {
            continue;
        }
        if seen.insert(text) || line.is_some() {
            let value = ValueId::new(envelope, text);
            found.push(Spelled { line, value });
        }
    }
    found
}

/// The same values, and those in Base64 that was cut into lines: where such a value ends is a guess,
/// so that some are none.
pub(crate) fn perhaps_spelled(bytes: &[u8]) -> Vec<ValueId> {
    let mut found: Vec<ValueId> = spelled(bytes)
        .into_iter()
        .map(|spelled| spelled.value)
        .collect();
    let text = spelling::unescaped(bytes);
    if spelling::may_encode_value(&spelling::joined(&text)) {
        for decoded in spelling::decoded_whole(&text) {
            let text = spelling::unescaped(&decoded);
            found.extend(texts(&text).map(|(envelope, text)| ValueId::new(envelope, text)));
        }
    }
    found
}

/// The texts of this form, each with the id of its envelope.
fn texts(text: &[u8]) -> impl Iterator<Item = (&str, &[u8])> {
    let is_text = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    starts(text).map(move |(id, text)| {
        let end = START + text[START..].iter().take_while(is_text).count();
        (id, &text[..end])
    })
}

/// Characters before the ciphertext of a value.
const START: usize = 4 + EnvelopeId::LENGTH + 1;

/// All places where a value begins: the id of its envelope, and the text from there on.
fn starts(text: &[u8]) -> impl Iterator<Item = (&str, &[u8])> {
    let places = text.windows(4).enumerate();
    let places = places.filter(|(_, window)| *window == b"sk1.");
    places.filter_map(|(at, _)| {
        let text = &text[at..];
        let id = str::from_utf8(text.get(4..START - 1)?).ok()?;
        id.parse::<EnvelopeId>().ok()?;
        (text.get(START - 1) == Some(&b'.')).then_some((id, text))
    })
}

/// Values that are looked for in what hides where they end.
#[derive(Debug, Default)]
pub(crate) struct KnownValues(HashMap<String, BTreeSet<(usize, [u8; 16])>>);

impl KnownValues {
    /// Adds a value.
    pub fn insert(&mut self, value: &ValueId) {
        let values = self.0.entry(value.envelope.clone()).or_default();
        values.insert((value.length, value.digest));
    }

    /// Those in a file, also where they are folded over lines, cut into pieces that follow one
    /// another, or in Base64 of that kind.
    pub fn hidden_in(&self, bytes: &[u8]) -> HashSet<ValueId> {
        self.texts_in(bytes).into_keys().collect()
    }

    /// The same, each with its whole text.
    pub fn texts_in(&self, bytes: &[u8]) -> HashMap<ValueId, Vec<u8>> {
        /// How often Base64 may hold Base64.
        const DEPTH: usize = 2;
        let mut found = HashMap::new();
        if !self.0.is_empty() {
            self.look(bytes, DEPTH, &mut found);
        }
        found
    }

    fn look(&self, bytes: &[u8], depth: usize, found: &mut HashMap<ValueId, Vec<u8>>) {
        let text = spelling::unescaped(bytes);
        for (envelope, text) in starts(&spelling::joined(&text)) {
            let values = self.0.get(envelope).into_iter().flatten();
            let texts = values.filter_map(|(length, _)| text.get(..*length));
            let values = texts.map(|text| (ValueId::new(envelope, text), text.to_vec()));
            found.extend(values.filter(|(value, _)| self.has(value)));
        }
        if depth > 0 {
            for decoded in spelling::decoded_whole(&text) {
                self.look(&decoded, depth - 1, found);
            }
        }
    }

    fn has(&self, value: &ValueId) -> bool {
        let values = self.0.get(&value.envelope);
        values.is_some_and(|values| values.contains(&(value.length, value.digest)))
    }
}

impl<'a> FromIterator<&'a ValueId> for KnownValues {
    fn from_iter<I: IntoIterator<Item = &'a ValueId>>(values: I) -> Self {
        let mut known = Self::default();
        values.into_iter().for_each(|value| known.insert(value));
        known
    }
}

/// Namespace and name of an object.
pub(crate) fn title(document: &Document) -> String {
    format!(
        "{}/{}",
        document.metadata("namespace"),
        document.metadata("name")
    )
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use sealkit_core::keys::{Identity, KeyType};

    use super::*;

    #[test]
    fn private_keys_are_found_and_no_talk_of_them() {
        let [classic, hybrid] = [KeyType::Classic, KeyType::Hybrid].map(Identity::generate);
        let (classic, hybrid) = (classic.to_secret_text(), hybrid.to_secret_text());
        let text = format!(
            "# AGE-SECRET-KEY-PQ-1... and AGE-SECRET-KEY-1QQ\nKEY=\"{}\"\n\r\n  key: {}\r\n",
            classic.as_str(),
            hybrid.as_str()
        );
        let lines = |text: &str| -> Vec<usize> {
            private_keys(text.as_bytes())
                .iter()
                .map(|key| key.line)
                .collect()
        };
        assert_eq!(lines(&text), [2, 4]);
        let glued = format!("x{}-old {}KEY", classic.as_str(), hybrid.as_str());
        assert_eq!(lines(&glued), [1, 1]);
        let other = if &classic[20..21] == "Q" { "P" } else { "Q" };
        assert!(lines(&classic.replace(&classic[20..21], other)).is_empty());
        assert!(private_keys(b"AGE-SECRET-KEY-AGE-SECRET-KEY-\xff").is_empty());
        // Each place is looked at once.
        assert!(lines(&"AGE-SECRET-KEY-".repeat(200_000)).is_empty());
    }

    #[test]
    fn values_are_found_wherever_they_are_spelled() {
        let value = "sk1.dkygiqm6nibo27suvpmyknuwvetd3o33.AB-_9";
        let text = format!(
            "x: {value}\n- \"{value}\" {value}, sk1.short sk1.\nsk1.dkygiqm6nibo27suvpmyknuwvetd3o31.A\n"
        );
        let found = spelled(text.as_bytes());
        let lines: Vec<Option<usize>> = found.iter().map(|spelled| spelled.line).collect();
        assert_eq!(lines, [Some(1), Some(2), Some(2)]);
        let object = format!(
            "kind: SealedSecret\napiVersion: sealkit.dev/v1beta1\nspec: {{encryptedData: {{K: {value}}}}}\n"
        );
        let documents = sealed_secrets(object.as_bytes()).unwrap();
        let id = values(&documents[0])["K"].clone();
        assert_eq!(id, found[0].value);
        assert!(sealed_secrets(b"kind: SealedSecret\na: 1\na: 2\n").is_none());
        assert!(sealed_secrets(b"{{ template }}").unwrap().is_empty());

        let known: KnownValues = [&id].into_iter().collect();
        let text = format!("\"value\": \"{value}\"\n");
        let encoded = BASE64_STANDARD.encode(&text);
        let certain = [
            text.clone(),
            text.replace("sk1", "\\u0073k1"),
            text.replace('q', "\\\n   q"),
            text.chars().flat_map(|it| [it, '\0']).collect(),
            format!("data: {encoded}"),
        ];
        for text in &certain {
            assert_eq!(spelled(text.as_bytes()).len(), 1, "{text:?}");
        }
        let folded = |text: &str| text.replace('q', "q\r\n\t  ").replace('Z', "Z\n  ");
        let hidden = [
            folded(&text),
            text.replace("iqm6", "iq\" + \n\"m6"),
            folded(&encoded),
            folded(&BASE64_STANDARD.encode(folded(&encoded))),
            format!("{text}glued"),
        ];
        for text in certain.iter().chain(&hidden) {
            assert!(known.hidden_in(text.as_bytes()).contains(&id), "{text:?}");
        }
        let other = text.replace("AB-", "AC-");
        assert!(known.hidden_in(other.as_bytes()).is_empty());
    }
}
