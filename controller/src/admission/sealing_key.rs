//! A SealingKey may not be deleted or revoked while objects need it. This is a first answer, from
//! what the objects say of themselves; the controller holds back a revocation by what it opened.

use kube::Api;
use kube::api::ListParams;
use sealkit_core::api::identity::FORCE_REVOKE;
use sealkit_core::api::{KeyState, SealedSecret, SealingKey};
use sealkit_core::keys::Fingerprint;
use serde_json::Value;

use super::review::{Request, Verdict};
use crate::keys::{Keys, KeysReceiver};
use crate::kubernetes::ApiFailure;
use crate::object::{Key, Namespaces, Raw, api};
use crate::watch::all_pass;

/// Objects that an answer names.
const NAMED: usize = 5;

/// Is the key deleted, or revoked by this change?
pub fn takes_away(request: &Request<'_>) -> bool {
    let key = |text: Option<&serde_json::value::RawValue>| -> Option<Raw<SealingKey>> {
        serde_json::from_str(text?.get()).ok()
    };
    let is_revoked = |key: &Raw<SealingKey>| key.spec().value["state"] == KeyState::Revoked.name();
    match request.operation.as_str() {
        "DELETE" => true,
        "UPDATE" => {
            let (old, new) = (key(request.old_object), key(request.object));
            !old.is_some_and(|old| is_revoked(&old)) && new.is_some_and(|new| is_revoked(&new))
        }
        _ => false,
    }
}

/// Refuses while objects need the key, unless its annotation says that nothing may hold it up.
pub async fn verdict(
    client: &kube::Client,
    served: &[Namespaces],
    keys: &KeysReceiver,
    request: &Request<'_>,
) -> Verdict {
    // A change is forced by what it sets, a deletion by what was set before.
    let text = request.object.or(request.old_object);
    let key = text.and_then(|text| serde_json::from_str::<Raw<SealingKey>>(text.get()).ok());
    let Some(key) = key else {
        return Verdict::Allowed;
    };
    let status = key.status.as_ref();
    let fingerprint: Option<Fingerprint> =
        status.and_then(|status| status.fingerprint.as_deref()?.parse().ok());
    let (Some(fingerprint), Some(keys)) = (fingerprint, keys.borrow().clone()) else {
        return Verdict::Allowed;
    };
    let annotations = key.metadata.annotations.as_ref();
    let forced = annotations.and_then(|all| all.get(FORCE_REVOKE));
    if forced.is_some_and(|forced| *forced == fingerprint.to_string()) {
        return Verdict::Allowed;
    }
    match users(client, served, &keys, fingerprint).await {
        (users, _) if !users.is_empty() => Verdict::Denied("InUse", refusal(&users, fingerprint)),
        (_, None) => Verdict::Allowed,
        (_, Some(failure)) => Verdict::Warned(format!(
            "not checked whether objects need the key: {failure}"
        )),
    }
}

fn refusal(users: &[String], fingerprint: Fingerprint) -> String {
    let more = match users.len() {
        count if count > NAMED => format!(" and {} more", count - NAMED),
        _ => String::new(),
    };
    let named = users[..users.len().min(NAMED)].join(", ");
    format!(
        "{} objects need this key ({named}{more}); reseal them, or set the annotation \
         {FORCE_REVOKE}: {fingerprint}",
        users.len(),
    )
}

/// The objects that no other key would open, by their own word; and why not all of them are known. A
/// namespace that cannot be read hides no object of another.
async fn users(
    client: &kube::Client,
    served: &[Namespaces],
    keys: &Keys,
    key: Fingerprint,
) -> (Vec<String>, Option<ApiFailure>) {
    let mut users = Vec::new();
    let mut unread = None;
    for namespaces in served {
        let objects: Api<Raw<SealedSecret>> = api(client, namespaces);
        let read = all_pass(&objects, ListParams::default(), |object| {
            if !object.is_terminating() && needs(&object.spec().value, keys, key) {
                users.push(Key::of(&object.metadata).to_string());
            }
            true
        })
        .await;
        unread = unread.or(read.err());
    }
    (users, unread)
}

/// Is there an envelope that this key opens, and no other one that the cluster holds?
fn needs(spec: &Value, keys: &Keys, key: Fingerprint) -> bool {
    let envelopes = spec["envelopes"].as_object().into_iter().flatten();
    let hints = |envelope: &Value| -> Vec<Fingerprint> {
        let hints = envelope["recipients"].as_array().into_iter().flatten();
        let parsed = hints.filter_map(|hint| hint.as_str()?.parse().ok());
        parsed.collect()
    };
    envelopes.map(|(_, envelope)| hints(envelope)).any(|hints| {
        let others = |hint: &Fingerprint| *hint != key && keys.ring.get(hint).is_some();
        hints.contains(&key) && !hints.iter().any(others)
    })
}
