//! `SealedSecrets` made through the library, for tests that want more than `seal` does.

use std::collections::BTreeMap;

use sealkit_core::keys::{Recipient, RecipientSet};
use sealkit_core::sealed::{Context, Scope, seal};
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// A `SealedSecret` to be made.
#[derive(Clone)]
#[must_use]
pub struct Draft {
    namespace: String,
    name: String,
    scope: Scope,
    recipients: Vec<Recipient>,
    values: BTreeMap<String, Vec<u8>>,
    template: Value,
    target: Value,
    suspend: bool,
    render: bool,
}

impl Draft {
    /// An object of scope strict without values.
    pub fn new(namespace: &str, name: &str, recipient: Recipient) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            scope: Scope::Strict,
            recipients: vec![recipient],
            values: BTreeMap::new(),
            template: Value::Null,
            target: Value::Null,
            suspend: false,
            render: false,
        }
    }

    /// With a value.
    pub fn value(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.values.insert(key.to_owned(), value.as_ref().to_vec());
        self
    }

    /// For another recipient.
    pub fn to(mut self, recipient: Recipient) -> Self {
        self.recipients = vec![recipient];
        self
    }

    /// With another scope.
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// With `spec.template`.
    pub fn template(mut self, template: Value) -> Self {
        self.template = template;
        self
    }

    /// With `spec.target`.
    pub fn target(mut self, target: Value) -> Self {
        self.target = target;
        self
    }

    /// With `spec.suspend: true`.
    pub fn suspended(mut self) -> Self {
        self.suspend = true;
        self
    }

    /// With values that templates may read.
    pub fn render(mut self) -> Self {
        self.render = true;
        self
    }

    /// The manifest: all values under one new envelope.
    pub fn manifest(&self) -> Value {
        let context = Context::new(self.scope, &self.namespace, &self.name).unwrap();
        let recipients = RecipientSet::new(self.recipients.iter().cloned()).unwrap();
        let values = self
            .values
            .iter()
            .map(|(key, value)| (key.clone(), Zeroizing::new(value.clone())));
        let sealed = seal(&values.collect(), &context, &recipients, self.render).unwrap();
        let mut spec = json!({
            "scope": self.scope.name(),
            "envelopes": {sealed.id.as_str(): sealed.envelope},
            "encryptedData": sealed.values,
        });
        for (field, part) in [("template", &self.template), ("target", &self.target)] {
            if !part.is_null() {
                spec[field] = part.clone();
            }
        }
        if self.suspend {
            spec["suspend"] = true.into();
        }
        json!({
            "apiVersion": "sealkit.dev/v1beta1",
            "kind": "SealedSecret",
            "metadata": {"namespace": self.namespace, "name": self.name},
            "spec": spec,
        })
    }
}
