//! `seal keys list`: the sealing keys of a cluster.

use kube::ResourceExt as _;
use sealkit_core::keys::{KeyType, Recipient};
use sealkit_core::names::printable;
use serde_json::json;

use crate::args::ClusterArgs;
use crate::cluster::{connect, is_ready};
use crate::error::Result;
use crate::recipients::names::Names;
use crate::report::{structured, table};
use crate::terminal::{Session, print};

/// Prints them, newest first.
pub(super) fn run(args: &ClusterArgs, session: Session<'_>) -> Result<()> {
    let Session { global, terminal } = session;
    let keys = connect(args, global)?.sealing_keys()?;
    if keys.is_empty() {
        terminal.note("the cluster has no sealing key: the controller makes one when it starts, see `seal doctor`");
    }
    let mut rows = vec![
        [
            "NAME",
            "ALGORITHM",
            "STATE",
            "READY",
            "FINGERPRINT",
            "IN REPOSITORY",
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
        let state = status.state.map(|state| state.name().to_owned());
        let ready = is_ready(key);
        let created = status.created_at.map(|time| time.to_string());
        // What cannot be read as a key is shown without the fingerprint that it claims.
        let recipient = status
            .recipient
            .as_deref()
            .and_then(|text| text.parse::<Recipient>().ok());
        let fingerprint = recipient.as_ref().map(Recipient::fingerprint);
        let dash = || "-".to_owned();
        rows.push(vec![
            printable(&name),
            algorithm.to_owned(),
            state.clone().unwrap_or_else(dash),
            if ready { "True" } else { "False" }.to_owned(),
            fingerprint.map_or_else(dash, |fingerprint| fingerprint.short()),
            fingerprint
                .and_then(|key| Names::here().whose(&key))
                .unwrap_or_else(dash),
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
