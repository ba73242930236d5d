//! Who owns the Secret: Orphan, Merge and adoption with consent.

mod adopt;
mod merge;
mod orphan;
mod shared;

use sealkit_tests::namespace::{Namespace, data};
use serde_json::{Value, json};

/// A Secret of somebody else, with consent for `db` or without.
pub fn theirs(namespace: &Namespace, consents: bool, values: &[(&str, &str)]) -> Value {
    let annotations = if consents {
        json!({"sealkit.dev/allow": "SealedSecret/db"})
    } else {
        json!({})
    };
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": "db", "annotations": annotations, "labels": {"app": "theirs"}},
        "data": data(values),
    });
    let created = namespace.api.create(&namespace.secrets_path(), &secret);
    created.unwrap()
}

/// Lets the SealedSecret `db` have the Secret.
pub fn consent(namespace: &Namespace) {
    let patch = json!({"metadata": {"annotations": {"sealkit.dev/allow": "SealedSecret/db"}}});
    namespace
        .api
        .merge(&namespace.secret_path("db"), &patch)
        .unwrap();
}
