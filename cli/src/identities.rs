//! Private keys that a person holds: reading age identity files, opening objects with them.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use age::armor::ArmoredReader;
use age::secrecy::SecretString;
use sealkit_core::keys::{KeyRing, parse_identity_file};
use sealkit_core::sealed::{
    EnvelopeId, OpenError, Opened, Rule, SealedObject, Search, Unwrapped, open, unwrap,
};
use zeroize::Zeroizing;

use crate::error::{CommandError, Result};
use crate::files::{self, SMALL_FILE};
use crate::signals;
use crate::terminal::{Session, Terminal, shown};

/// First bytes of age files, binary and armored.
const AGE_FILES: [&[u8]; 2] = [
    b"age-encryption.org/v1",
    b"-----BEGIN AGE ENCRYPTED FILE-----",
];

/// The keys of `-i`, or an empty ring where none is given.
pub(crate) fn ring(session: Session<'_>) -> Result<KeyRing> {
    let Session { global, terminal } = session;
    let mut identities = Vec::new();
    for path in global.identities() {
        let bytes = files::read(path, SMALL_FILE)?;
        let bytes = if AGE_FILES.iter().any(|head| bytes.starts_with(head)) {
            let passphrase = ask(terminal, &format!("passphrase of {}: ", shown(path)))
                .map_err(|error| error.on(shown(path)))?;
            decrypt(&bytes, passphrase).map_err(|error| error.on(shown(path)))?
        } else {
            bytes
        };
        let refused = |what: &dyn std::fmt::Display| CommandError::input(what).on(shown(path));
        let text =
            std::str::from_utf8(&bytes).map_err(|_| files::not_text(&bytes).on(shown(path)))?;
        identities.extend(parse_identity_file(text).map_err(|error| refused(&error))?);
    }
    KeyRing::new(identities).map_err(CommandError::input)
}

/// Opens an object with every key on every envelope.
pub(crate) fn open_object(
    object: &SealedObject,
    ring: &KeyRing,
) -> std::result::Result<Opened, OpenError> {
    exhaustively(|search| open(object, ring, search))
}

/// Opens the envelopes of an object alone, with every key on every envelope.
pub(crate) fn unwrap_object(
    object: &SealedObject,
    ring: &KeyRing,
) -> std::result::Result<BTreeMap<EnvelopeId, Unwrapped>, OpenError> {
    exhaustively(|search| unwrap(object, ring, search))
}

/// Where no envelope claims to be sealed to a held key and none opens, the error says that rather
/// than "altered".
fn exhaustively<T>(
    open: impl Fn(Search) -> std::result::Result<T, OpenError>,
) -> std::result::Result<T, OpenError> {
    open(Search::Exhaustive).map_err(|error| {
        if error.rule != Rule::StanzaDoesNotOpen {
            return error;
        }
        match open(Search::Hinted) {
            Err(hinted) if hinted.rule == Rule::NoHeldKey => hinted,
            _ => error,
        }
    })
}

/// Asks for a passphrase, without echo.
pub(crate) fn ask(terminal: Terminal, prompt: &str) -> Result<SecretString> {
    if !terminal.is_attended() {
        return Err(CommandError::usage(
            "a passphrase is needed, but no terminal is available to ask for it",
        )
        .hint("run `seal` on a terminal, or first decrypt the key file into a private folder"));
    }
    let prompt = prompt.to_owned();
    let read = move || rpassword::prompt_password(prompt).map(SecretString::from);
    signals::answer(read)
}

/// Encrypts a key file with a passphrase, as `age -p -a` does.
pub(crate) fn encrypt(text: &str, passphrase: SecretString) -> Result<Vec<u8>> {
    let recipient = age::scrypt::Recipient::new(passphrase);
    age::encrypt_and_armor(&recipient, text.as_bytes())
        .map(String::into_bytes)
        .map_err(|_| CommandError::bug("the key file cannot be encrypted"))
}

/// Decrypts a key file, binary or armored.
fn decrypt(bytes: &[u8], passphrase: SecretString) -> Result<Zeroizing<Vec<u8>>> {
    let damaged = || CommandError::input("not a passphrase-encrypted age file, or damaged");
    let decryptor =
        age::Decryptor::new_buffered(ArmoredReader::new(bytes)).map_err(|_| damaged())?;
    let identity = age::scrypt::Identity::new(passphrase);
    let mut reader = decryptor
        .decrypt(std::iter::once(&identity as &dyn age::Identity))
        .map_err(|error| match error {
            age::DecryptError::DecryptionFailed | age::DecryptError::KeyDecryptionFailed => {
                CommandError::unopened("the passphrase is wrong")
            }
            age::DecryptError::ExcessiveWork { .. } => {
                CommandError::input("decrypting it with a passphrase would take too long")
            }
            _ => damaged(),
        })?;
    // One allocation, so that no key stays behind in a smaller one.
    let mut text = Zeroizing::new(Vec::with_capacity(bytes.len() + 64));
    reader.read_to_end(&mut text).map_err(|_| damaged())?;
    Ok(text)
}

/// A key file as age-keygen writes it.
pub(crate) fn key_file(identity: &sealkit_core::keys::Identity) -> Zeroizing<String> {
    let secret = identity.to_secret_text();
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    Zeroizing::new(format!(
        "# created: {now}\n# public key: {}\n{}\n",
        identity.recipient(),
        secret.as_str()
    ))
}

/// Writes a private key where only its owner can read it; refuses a place that Git would commit.
pub(crate) fn write_key_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let place = crate::git::repository::Location::of(path)?;
    if place.is_committable() {
        return Err(
            CommandError::input("a private key does not belong in a Git work tree")
                .on(shown(path))
                .hint("choose a path outside the repository, or one that Git ignores"),
        );
    }
    files::create(path, bytes, files::Access::Private)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passphrase_files_open_with_their_passphrase_only() {
        let secret = |text: &str| SecretString::from(text.to_owned());
        let mut recipient = age::scrypt::Recipient::new(secret("correct horse"));
        recipient.set_work_factor(2);
        let armored = age::encrypt_and_armor(&recipient, b"# key\n").unwrap();
        let binary = age::encrypt(&recipient, b"# key\n").unwrap();
        for file in [armored.as_bytes(), &binary] {
            assert!(AGE_FILES.iter().any(|head| file.starts_with(head)));
            assert_eq!(
                decrypt(file, secret("correct horse")).unwrap().as_slice(),
                b"# key\n"
            );
            let error = decrypt(file, secret("battery staple")).unwrap_err();
            assert_eq!(
                (error.exit_code(), error.to_string()),
                (4, "the passphrase is wrong".into())
            );
            assert_eq!(
                decrypt(&file[..60], secret("correct horse"))
                    .unwrap_err()
                    .exit_code(),
                3
            );
        }
    }
}
