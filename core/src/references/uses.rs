//! References to Secrets: in pods, service accounts, ingresses and gateways, and in the custom
//! resources of the table.

use super::table::{ROWS, references};
use super::{At, Found, Use, known, pattern, text};
use crate::manifest::{Content, Node};

/// How a Secret is used that no container reads.
pub(super) const TO_PULL_IMAGES: &str = "imagePullSecrets";

/// The references of an object.
pub(super) fn find(root: &Node, at: &At, found: &mut Found) {
    let mut uses = Uses { at, found };
    uses.custom(root);
    uses.argocd(root);
    match at.object.kind.as_str() {
        "ServiceAccount" => {
            uses.pull_secrets(root);
            for secret in items(root, &["secrets"]) {
                uses.add(secret.get("name"), None, "secrets", false, None);
            }
        }
        "Ingress" => {
            for tls in items(root, &["spec", "tls"]) {
                uses.certificate(tls.get("secretName"), None);
            }
        }
        "Gateway" => {
            for listener in items(root, &["spec", "listeners"]) {
                for reference in items(listener, &["tls", "certificateRefs"]) {
                    if matches!(text(reference, &["kind"]), "" | "Secret") {
                        uses.certificate(reference.get("name"), reference.get("namespace"));
                    }
                }
            }
        }
        // Its containers are examples, not pods.
        "CustomResourceDefinition" => {}
        _ => uses.pods(root),
    }
}

fn items<'a>(node: &'a Node, path: &[&str]) -> &'a [Node] {
    node.at(path).map(Node::items).unwrap_or_default()
}

struct Uses<'a> {
    at: &'a At,
    found: &'a mut Found,
}

/// Where the labels of a Secret are in what makes it.
const LABELS: [&[&str]; 3] = [
    &["metadata", "labels"],
    &["spec", "template", "metadata", "labels"],
    &["spec", "target", "template", "metadata", "labels"],
];

impl Uses<'_> {
    /// The references of kinds in the table.
    fn custom(&mut self, root: &Node) {
        let version = text(root, &["apiVersion"]);
        let group = version.split('/').next().unwrap_or_default();
        let kind = self.at.object.kind.clone();
        for row in ROWS.iter().filter(|row| row.is_for(group, &kind)) {
            for reference in references(root, row.path) {
                let name = text(reference, &[row.name]);
                // A ConfigMap, or the Secret of another namespace in one word.
                if !matches!(text(reference, &["kind"]), "" | "Secret") || name.contains('/') {
                    continue;
                }
                // `flux bootstrap` makes the Secret of its own source.
                let is_bootstrap = name == "flux-system" && self.at.object.name == name;
                let optional = row.is_outside || is_bootstrap || is_optional(reference);
                let namespace = reference.get("namespace");
                let (name, key) = (reference.get(row.name), row.key.of(reference));
                self.add(name, key, row.path, optional, namespace);
            }
        }
    }

    /// Argo CD finds the Secrets of repositories and clusters by a label.
    fn argocd(&mut self, root: &Node) {
        let labels = LABELS.iter().filter_map(|path| root.at(path));
        let label = |labels: &Node| labels.get("argocd.argoproj.io/secret-type").cloned();
        let Some(label) = labels.into_iter().find_map(label) else {
            return;
        };
        let target = root.at(&["spec", "target", "name"]);
        let name = target.or_else(|| root.at(&["metadata", "name"]));
        let before = self.found.uses.len();
        self.add(name, None, "secret-type", false, None);
        for used in &mut self.found.uses[before..] {
            "ArgoCD".clone_into(&mut used.object.kind);
            label.text().clone_into(&mut used.object.name);
            used.place = label.place;
        }
    }

    /// Whatever has containers is a pod, or the template of one: also in resources of others.
    fn pods(&mut self, node: &Node) {
        match &node.content {
            Content::Scalar(_) => {}
            Content::List(nodes) => nodes.iter().for_each(|node| self.pods(node)),
            Content::Map(_)
                if node
                    .get("containers")
                    .is_some_and(|it| !it.items().is_empty()) =>
            {
                self.pod(node);
            }
            Content::Map(entries) => entries.iter().for_each(|(_, value)| self.pods(value)),
        }
    }

    fn pod(&mut self, pod: &Node) {
        for field in ["initContainers", "containers", "ephemeralContainers"] {
            for container in items(pod, &[field]) {
                self.container(container);
            }
        }
        for volume in items(pod, &["volumes"]) {
            let how = format!("volume {}", text(volume, &["name"]));
            if let Some(secret) = volume.get("secret") {
                self.volume(secret, "secretName", &how);
            }
            for source in items(volume, &["projected", "sources"]) {
                if let Some(secret) = source.get("secret") {
                    self.volume(secret, "name", &how);
                }
            }
            if let Some(secret) = volume.at(&["csi", "nodePublishSecretRef"]) {
                self.add(secret.get("name"), None, &how, false, None);
            }
        }
        self.pull_secrets(pod);
    }

    fn container(&mut self, container: &Node) {
        for variable in items(container, &["env"]) {
            if let Some(secret) = variable.at(&["valueFrom", "secretKeyRef"]) {
                let how = format!("env {}", text(variable, &["name"]));
                let key = secret.get("key").map(Node::text);
                self.add(secret.get("name"), key, &how, is_optional(secret), None);
            }
        }
        for source in items(container, &["envFrom"]) {
            if let Some(secret) = source.get("secretRef") {
                self.add(
                    secret.get("name"),
                    None,
                    "envFrom",
                    is_optional(secret),
                    None,
                );
            }
        }
    }

    fn volume(&mut self, secret: &Node, name: &str, how: &str) {
        let (name, optional) = (secret.get(name), is_optional(secret));
        let keys = items(secret, &["items"]);
        for item in keys {
            self.add(name, item.get("key").map(Node::text), how, optional, None);
        }
        if keys.is_empty() {
            self.add(name, None, how, optional, None);
        }
    }

    fn pull_secrets(&mut self, node: &Node) {
        for secret in items(node, &[TO_PULL_IMAGES]) {
            let key = Some(".dockerconfigjson");
            self.add(secret.get("name"), key, TO_PULL_IMAGES, false, None);
        }
    }

    fn certificate(&mut self, name: Option<&Node>, namespace: Option<&Node>) {
        for key in ["tls.crt", "tls.key"] {
            self.add(name, Some(key), "tls", false, namespace);
        }
    }

    fn add(
        &mut self,
        name: Option<&Node>,
        key: Option<&str>,
        how: &str,
        optional: bool,
        namespace: Option<&Node>,
    ) {
        let Some(name) = name.filter(|name| !name.text().is_empty()) else {
            return;
        };
        let namespace = namespace.map(|namespace| known(namespace.text()));
        self.found.uses.push(Use {
            object: self.at.object.clone(),
            file: self.at.file,
            place: name.place,
            namespace: namespace.unwrap_or_else(|| self.at.object.namespace.clone()),
            name: pattern(name.text()),
            key: key.map(pattern),
            how: how.to_owned(),
            optional,
        });
    }
}

fn is_optional(node: &Node) -> bool {
    text(node, &["optional"]) == "true"
}
