//! `seal keys backup | restore`: the private keys of a cluster in one age file.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use age::armor::{ArmoredReader, ArmoredWriter, Format};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use sealkit_core::api::KeyState;
use sealkit_core::api::identity::{
    CREATED_ANNOTATION, IDENTITY_KEY, IDENTITY_TYPE, SEALING_KEY_ANNOTATION, STATE_ANNOTATION,
    read_identity,
};
use sealkit_core::keys::{Identity, RecipientSet};
use sealkit_core::manifest::{Document, read_documents, to_json, wipe};
use serde_json::{Value, json};
use zeroize::{Zeroize as _, Zeroizing};

use crate::args::WriteClusterArgs;
use crate::cluster::{Cluster, connect_to_write};
use crate::error::{CommandError, Result};
use crate::files::{self, SMALL_FILE};
use crate::git::repository::Location;
use crate::identities;
use crate::recipients::acceptance::Acceptance;
use crate::recipients::config::Config;
use crate::recipients::known::Group;
use crate::recipients::names::named;
use crate::recipients::{Chosen, given};
use crate::terminal::{Session, Terminal, print, shown};

/// Flags of `seal keys backup`.
#[derive(Args, Debug)]
pub(crate) struct BackupArgs {
    /// Which cluster.
    #[command(flatten)]
    pub cluster: WriteClusterArgs,
    /// File for the backup, which must not exist yet [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// File of public keys to encrypt it to [default: the recovery keys of .sealkit.yaml]
    #[arg(short = 'R', long = "recipients-file", value_name = "FILE")]
    pub recipients_files: Vec<PathBuf>,
    /// Accept recovery keys that differ from those used before
    #[arg(long)]
    pub accept_recipients: bool,
    /// Namespace of the controller
    #[arg(long, value_name = "NAME", default_value = sealkit_core::api::CONTROLLER_NAMESPACE)]
    pub system_namespace: String,
}

/// Flags of `seal keys restore`.
#[derive(Args, Debug)]
pub(crate) struct RestoreArgs {
    /// The backup
    #[arg(value_name = "FILE")]
    pub path: PathBuf,
    /// Which cluster.
    #[command(flatten)]
    pub cluster: WriteClusterArgs,
    /// Open the backup and list its keys; change nothing
    #[arg(long)]
    pub check: bool,
    /// Restore even if the backup is of another cluster and this one has keys
    #[arg(long)]
    pub other_cluster: bool,
    /// Namespace of the controller
    #[arg(long, value_name = "NAME", default_value = sealkit_core::api::CONTROLLER_NAMESPACE)]
    pub system_namespace: String,
}

/// Annotations of an identity that a restored one needs to be what it was.
const KEPT: [&str; 3] = [STATE_ANNOTATION, CREATED_ANNOTATION, SEALING_KEY_ANNOTATION];
/// In the file: the cluster that it is of.
const CLUSTER: &str = "sealkit.dev/cluster-uid";

/// Reads the identities of the cluster and encrypts them to the recovery key.
pub(super) fn run(args: &BackupArgs, session: Session<'_>) -> Result<()> {
    let (here, config) = Config::here()?;
    let recipients = recipients(args, config.as_ref())?;
    if args.recipients_files.is_empty() {
        // The recipients get all private keys: compare them as for any value.
        accept(args, &recipients, &here, session.terminal)?;
    }
    let (cluster, _) = connect_to_write(
        &args.cluster,
        config.as_ref(),
        session,
        "read private keys from",
    )?;
    let secrets = secrets(args, &cluster)?;
    let count = secrets.len();
    let file = encrypted(secrets, &recipients)?;
    let Some(path) = args.write.as_ref().filter(|path| path.as_os_str() != "-") else {
        return print(file);
    };
    // Ciphertext, but of all keys: for its owner, and never over another backup.
    files::create(path, &file, files::Access::Private)?;
    let terminal = session.terminal;
    terminal.done("wrote", path);
    let to = named(&recipients.fingerprints());
    terminal.note(format_args!("encrypted to {to}"));
    terminal.note(format_args!(
        "{count} private keys of {}; test the backup: `seal keys restore --check -i RECOVERY_KEY`",
        cluster.title()
    ));
    Ok(())
}

/// Whom the backup is encrypted to: the keys of `-R`, else the recovery keys of the config.
fn recipients(args: &BackupArgs, config: Option<&Config>) -> Result<RecipientSet> {
    let recipients = if args.recipients_files.is_empty() {
        let keys = config.map(Config::recovery).transpose()?;
        keys.unwrap_or_default()
    } else {
        given(&[], &args.recipients_files)?
    };
    if recipients.is_empty() {
        return Err(
            CommandError::usage("no recovery key to encrypt the backup to")
                .hint("give the public recovery key: -R FILE")
                .hint("or make one for the repository: `seal init`"),
        );
    }
    RecipientSet::new(recipients).map_err(CommandError::input)
}

/// Compares the recovery keys with those that this clone knows.
fn accept(
    args: &BackupArgs,
    recipients: &RecipientSet,
    here: &Location,
    terminal: Terminal,
) -> Result<()> {
    let groups = vec![Group {
        label: "recovery".to_owned(),
        fingerprints: recipients.fingerprints(),
    }];
    let chosen = Chosen {
        set: recipients.clone(),
        groups,
        others: Vec::new(),
    };
    let mut acceptance = Acceptance::new(args.accept_recipients, terminal);
    acceptance.compare(&chosen, here.root.as_deref())?;
    acceptance.save();
    Ok(())
}

/// The identity Secrets of the cluster, as a backup holds them. They hold private keys: wipe them.
fn secrets(args: &BackupArgs, cluster: &Cluster) -> Result<Vec<Value>> {
    let uid = cluster.uid()?;
    let mut secrets = cluster.identities(&args.system_namespace)?;
    let kept: Vec<Value> = secrets.iter().map(|secret| kept(secret, &uid)).collect();
    secrets.iter_mut().for_each(wipe);
    if kept.is_empty() {
        return Err(
            CommandError::cluster("the cluster has no private keys to back up")
                .on(cluster.title())
                .hint(format_args!(
                    "is {} the namespace of the controller? if not, pass --system-namespace NAME",
                    args.system_namespace
                )),
        );
    }
    Ok(kept)
}

/// What a backup keeps of an identity Secret, with the UID of the cluster that it is of.
fn kept(secret: &Value, uid: &str) -> Value {
    let annotations = KEPT.iter().filter_map(|name| {
        let text = secret.pointer("/metadata/annotations")?.get(*name)?;
        Some(((*name).to_owned(), text.clone()))
    });
    let mut annotations: serde_json::Map<String, Value> = annotations.collect();
    annotations.insert(CLUSTER.to_owned(), uid.into());
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": IDENTITY_TYPE,
        "metadata": {"name": secret.pointer("/metadata/name"), "annotations": annotations},
        "data": secret.get("data"),
    })
}

/// The Secrets as an age file; they are wiped.
fn encrypted(secrets: Vec<Value>, recipients: &RecipientSet) -> Result<Vec<u8>> {
    let mut list = json!({"apiVersion": "v1", "kind": "List"});
    list["items"] = Value::Array(secrets);
    let text = to_json(&[&list]).map(Zeroizing::new);
    wipe(&mut list);
    let text = text.map_err(|_| CommandError::bug("the backup cannot be written"))?;
    encrypt(text.as_bytes(), recipients)
        .ok_or_else(|| CommandError::bug("the backup cannot be encrypted"))
}

/// Restores the identities of a backup to a cluster. Existing ones stay.
pub(super) fn restore(args: &RestoreArgs, session: Session<'_>) -> Result<()> {
    let Session { global, terminal } = session;
    if global.identities().next().is_none() {
        return Err(
            CommandError::usage("no private key to open the backup with")
                .hint("give the recovery key with -i FILE or SEALKIT_IDENTITY_FILE"),
        );
    }
    let ring = identities::ring(session)?;
    let bytes = files::read(&args.path, SMALL_FILE * 16)?;
    let on_file = |error: CommandError| error.on(shown(&args.path));
    let text = decrypt(&bytes, ring.iter()).map_err(on_file)?;
    let mut kept = read_backup(&text).map_err(on_file)?;
    terminal.detail(format_args!("{} private keys in the backup", kept.len()));
    if args.check {
        for identity in &kept {
            let (name, fingerprint) = (&identity.name, identity.fingerprint.short());
            terminal.note(format_args!("{name} {fingerprint}, {}", identity.state));
        }
        return Ok(());
    }
    let (_, config) = Config::here()?;
    let (cluster, _) = connect_to_write(
        &args.cluster,
        config.as_ref(),
        session,
        "write private keys to",
    )?;
    let uid = cluster.uid()?;
    let mut there = cluster.identities(&args.system_namespace)?;
    let held: Vec<_> = there.iter().filter_map(identity_of).collect();
    there.iter_mut().for_each(wipe);
    let held: Vec<_> = held.iter().map(Identity::fingerprint).collect();
    let other = kept
        .iter()
        .any(|kept| kept.cluster.as_ref().is_some_and(|cluster| *cluster != uid));
    if other && !held.is_empty() && !args.other_cluster {
        return Err(CommandError::input(
            "the backup is of another cluster, and this one already has keys",
        )
        .on(cluster.title())
        .hint(
            "this cluster would open what is sealed for the other; if you want that, pass --other-cluster",
        ));
    }
    for identity in &mut kept {
        if held.contains(&identity.fingerprint) {
            terminal.note(format_args!(
                "{} already exists",
                identity.fingerprint.short()
            ));
            continue;
        }
        let made = cluster.create_identity(&args.system_namespace, &identity.secret);
        wipe(&mut identity.secret);
        made?;
        terminal.note(format_args!("{} is restored", identity.fingerprint.short()));
    }
    Ok(())
}

/// One identity of a backup.
struct Kept {
    name: String,
    fingerprint: sealkit_core::keys::Fingerprint,
    state: String,
    cluster: Option<String>,
    /// As it is to be created. May not be printed.
    secret: Value,
}

impl Drop for Kept {
    fn drop(&mut self) {
        wipe(&mut self.secret);
    }
}

fn read_backup(text: &[u8]) -> Result<Vec<Kept>> {
    let damaged = || CommandError::input("not a backup of `seal keys backup`, or damaged");
    let mut documents = read_documents(text).map_err(|_| damaged())?;
    let kept: Option<Vec<Kept>> = documents.iter_mut().map(taken).collect();
    // What was not taken out, where one of them is damaged.
    documents
        .iter_mut()
        .for_each(|document| wipe(&mut document.object));
    kept.ok_or_else(damaged)
}

/// One Secret of a backup, taken out of its document; nothing where it holds no identity.
fn taken(document: &mut Document) -> Option<Kept> {
    let name = document.metadata("name").to_owned();
    let is_identity = document.object.get("type") == Some(&json!(IDENTITY_TYPE));
    if !is_identity || !sealkit_core::names::is_dns_subdomain(&name) {
        return None;
    }
    let identity = identity_of(&document.object)?;
    let mut secret = std::mem::take(&mut document.object);
    let annotation = |name: &str| {
        let all = secret.pointer("/metadata/annotations")?;
        Some(all.get(name)?.as_str()?.to_owned())
    };
    let (state, cluster) = (annotation(STATE_ANNOTATION), annotation(CLUSTER));
    if let Some(all) = secret
        .pointer_mut("/metadata/annotations")
        .and_then(Value::as_object_mut)
    {
        all.remove(CLUSTER);
    }
    Some(Kept {
        name,
        fingerprint: identity.fingerprint(),
        state: state.unwrap_or_else(|| KeyState::DecryptOnly.name().to_owned()),
        cluster,
        secret,
    })
}

/// The identity of an identity Secret.
fn identity_of(secret: &Value) -> Option<Identity> {
    let encoded = secret.get("data")?.get(IDENTITY_KEY)?.as_str()?;
    read_identity(&Zeroizing::new(BASE64_STANDARD.decode(encoded).ok()?))
}

fn encrypt(text: &[u8], recipients: &RecipientSet) -> Option<Vec<u8>> {
    let recipients = recipients
        .iter()
        .map(|recipient| recipient as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(recipients).ok()?;
    let armored = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor).ok()?;
    let mut writer = encryptor.wrap_output(armored).ok()?;
    writer.write_all(text).ok()?;
    writer.finish().ok()?.finish().ok()
}

fn decrypt<'a>(
    bytes: &[u8],
    ring: impl Iterator<Item = &'a Identity>,
) -> Result<Zeroizing<Vec<u8>>> {
    let damaged = || CommandError::input("not an age file, or damaged");
    let decryptor =
        age::Decryptor::new_buffered(ArmoredReader::new(bytes)).map_err(|_| damaged())?;
    let ring = ring.map(|identity| identity as &dyn age::Identity);
    let mut reader = decryptor.decrypt(ring).map_err(|error| match error {
        age::DecryptError::NoMatchingKeys => {
            CommandError::unopened("none of the given keys opens the backup")
                .hint("pass the recovery key of the backup with -i FILE")
        }
        _ => damaged(),
    })?;
    // One allocation, so that no key stays behind in a smaller one.
    let mut text = Zeroizing::new(Vec::with_capacity(bytes.len() + 64));
    if reader.read_to_end(&mut text).is_err() {
        text.zeroize();
        return Err(damaged());
    }
    Ok(text)
}
