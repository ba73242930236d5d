//! `seal keys`: the life of a key.

mod backup;
mod exposure;
mod revoke;
mod rotate;
mod trust;
mod usage;

use kube::ResourceExt as _;
use sealkit_core::keys::{Identity, KeyType};
use sealkit_core::names::printable;
use serde_json::json;

use crate::args::{ClusterArgs, FetchArgs, GenerateArgs, GlobalArgs, KeysCommand};
use crate::cluster::{connect, is_ready};
use crate::error::Result;
use crate::identities::{key_file, write_key_file};
use crate::recipients::recipient_file::{recipient_file, write_recipient_file};
use crate::report::{structured, table};
use crate::terminal::{Terminal, print};

/// Runs one of the verbs.
/// Returns false where there are findings.
pub(crate) fn run(command: &KeysCommand, global: &GlobalArgs, terminal: Terminal) -> Result<bool> {
    match command {
        KeysCommand::Exposure(args) => return exposure::exposure(args, global, terminal),
        KeysCommand::Revoke(args) => return revoke::revoke(args, global, terminal),
        KeysCommand::Generate(args) => generate(args, terminal),
        KeysCommand::List(args) => list(args, global),
        KeysCommand::Fetch(args) => fetch(args, global, terminal),
        KeysCommand::Usage(args) => usage::usage(args, global, terminal),
        KeysCommand::Rotate(args) => rotate::rotate(args, global, terminal),
        KeysCommand::Trust(args) => trust::trust(args, global, terminal),
        KeysCommand::Retire(args) => rotate::retire(args, global, terminal),
        KeysCommand::Backup(args) => backup::backup(args, global, terminal),
        KeysCommand::Restore(args) => backup::restore(args, global, terminal),
    }
    .map(|()| true)
}

fn generate(args: &GenerateArgs, terminal: Terminal) -> Result<()> {
    let key_type = if args.classic {
        KeyType::Classic
    } else {
        KeyType::Hybrid
    };
    let identity = Identity::generate(key_type);
    let text = key_file(&identity);
    let Some(path) = args.write.as_ref().filter(|path| path.as_os_str() != "-") else {
        print(text.as_bytes())?;
        terminal.note(format_args!("public key: {}", identity.recipient()));
        return Ok(());
    };
    write_key_file(path, text.as_bytes())?;
    terminal.done("wrote", path);
    print(format!("{}\n", identity.recipient()))
}

fn list(args: &ClusterArgs, global: &GlobalArgs) -> Result<()> {
    let keys = connect(args, global)?.sealing_keys()?;
    let mut rows = vec![
        [
            "NAME",
            "ALGORITHM",
            "STATE",
            "READY",
            "FINGERPRINT",
            "CREATED",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let mut items = Vec::new();
    for key in &keys {
        let status = key.status.clone().unwrap_or_default();
        let name = key.name_any();
        let algorithm = KeyType::from(key.spec.algorithm).name();
        let state = status.state.map(|state| format!("{state:?}"));
        let ready = is_ready(key);
        let created = status.created_at.map(|time| time.to_string());
        // What cannot be read as a key is shown without the fingerprint that it claims.
        let recipient = status
            .recipient
            .as_deref()
            .and_then(|text| text.parse::<sealkit_core::keys::Recipient>().ok());
        let fingerprint = recipient
            .as_ref()
            .map(sealkit_core::keys::Recipient::fingerprint);
        let dash = || "-".to_owned();
        rows.push(vec![
            printable(&name),
            algorithm.to_owned(),
            state.clone().unwrap_or_else(dash),
            if ready { "True" } else { "False" }.to_owned(),
            fingerprint.map_or_else(dash, |fingerprint| fingerprint.short()),
            created.clone().unwrap_or_else(dash),
        ]);
        items.push(json!({
            "name": name, "algorithm": algorithm, "state": state, "ready": ready,
            "fingerprint": fingerprint.map(|fingerprint| fingerprint.to_string()),
            "recipient": recipient.map(|recipient| recipient.to_string()),
            "createdAt": created,
        }));
    }
    print(match global.output {
        Some(form) => structured(&json!({"keys": items}), form)?,
        None => table(&rows),
    })
}

fn fetch(args: &FetchArgs, global: &GlobalArgs, terminal: Terminal) -> Result<()> {
    let cluster = connect(&args.cluster, global)?;
    let key = cluster.newest_key(terminal)?;
    let text = recipient_file(&cluster, &key);
    let Some(path) = args.write.as_ref().filter(|path| path.as_os_str() != "-") else {
        return print(text);
    };
    write_recipient_file(path, &text)?;
    terminal.done("wrote", path);
    Ok(())
}
