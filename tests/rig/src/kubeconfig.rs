//! Kubeconfig files.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::RigError;
use crate::run_dir::write_private;

/// What a client needs to reach the API server as somebody.
pub(crate) struct Kubeconfig<'a> {
    pub(crate) server: &'a str,
    pub(crate) ca_pem: &'a str,
    pub(crate) user: &'a str,
    pub(crate) token: &'a str,
    pub(crate) namespace: Option<&'a str>,
}

impl Kubeconfig<'_> {
    /// Writes JSON, which is YAML too, for the owner's eyes only.
    pub(crate) fn write(&self, path: &Path) -> Result<(), RigError> {
        let mut context = json!({ "cluster": "rig", "user": self.user });
        if let Some(namespace) = self.namespace {
            context["namespace"] = json!(namespace);
        }
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": "rig",
                "cluster": {
                    "server": self.server,
                    "certificate-authority-data": STANDARD.encode(self.ca_pem),
                },
            }],
            "users": [{ "name": self.user, "user": { "token": self.token } }],
            "contexts": [{ "name": "rig", "context": context }],
            "current-context": "rig",
        });
        write_private(path, &format!("{config:#}\n"))
    }
}
