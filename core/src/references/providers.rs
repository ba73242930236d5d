//! What makes Secrets: sealed and external ones, plain and generated ones, certificates, operators.

use std::collections::BTreeSet;

use super::{At, Found, Keys, Provider, known, pattern, text};
use crate::lint::ReadFile;
use crate::manifest::{Content, Node};

/// What an object makes.
pub(super) fn find(root: &Node, at: &At, read: ReadFile<'_>, found: &mut Found) {
    let version = text(root, &["apiVersion"]);
    let group = version.split('/').next().unwrap_or_default();
    let mut make = Make { root, at, found };
    match (at.object.kind.as_str(), group) {
        ("Secret", "v1" | "") => make.own(plain(root)),
        ("SealedSecret", "sealkit.dev") => {
            make.own(sealed(root));
            if let Some(made) = make.found.providers.last_mut() {
                made.rendered = keys(root, &["spec", "template", "data"]);
            }
        }
        ("SealedSecret", _) => {
            let template = text(root, &["spec", "template", "metadata", "name"]);
            let keys = keys(root, &["spec", "encryptedData"])
                .union(&keys(root, &["spec", "template", "data"]))
                .cloned()
                .collect();
            make.named(template, Keys::Known(keys));
        }
        ("ExternalSecret", _) => make.external(root.get("spec"), ""),
        ("ClusterExternalSecret", _) => {
            let name = text(root, &["spec", "externalSecretName"]);
            make.external(root.at(&["spec", "externalSecretSpec"]), name);
        }
        (_, "secrets.hashicorp.com") => {
            make.named(text(root, &["spec", "destination", "name"]), Keys::Unknown);
        }
        ("Certificate", "cert-manager.io") => {
            make.exactly(text(root, &["spec", "secretName"]), Keys::Unknown);
        }
        ("Ingress" | "Gateway", _) => make.shim(),
        // CloudNativePG, Strimzi.
        ("Cluster", "postgresql.cnpg.io") => {
            for end in ["app", "superuser", "ca", "server", "replication"] {
                let name = format!("{}-{end}", text(root, &["metadata", "name"]));
                make.exactly(&name, Keys::Unknown);
            }
        }
        ("KafkaUser", _) => make.own(Keys::Unknown),
        ("SecretGenerator", _) => make.generator(root, text(root, &["metadata", "name"]), read),
        _ => {}
    }
    make.connection(root.get("spec"));
    for generator in items(root, "secretGenerator") {
        make.generator(generator, text(generator, &["name"]), read);
    }
    let affixes = (text(root, &["namePrefix"]), text(root, &["nameSuffix"]));
    if affixes != ("", "") {
        make.found
            .affixes
            .push((affixes.0.to_owned(), affixes.1.to_owned()));
    }
}

fn items<'a>(node: &'a Node, field: &str) -> &'a [Node] {
    node.get(field).map(Node::items).unwrap_or_default()
}

fn keys(node: &Node, path: &[&str]) -> BTreeSet<String> {
    let entries = node.at(path).map(Node::entries).unwrap_or_default();
    entries
        .into_iter()
        .map(|(key, _)| key.text().to_owned())
        .collect()
}

/// Known, unless a template hides one.
fn known_keys(keys: BTreeSet<String>) -> Keys {
    if keys.iter().any(|key| pattern(key).contains('*')) {
        Keys::Unknown
    } else {
        Keys::Known(keys)
    }
}

fn plain(root: &Node) -> Keys {
    let is_hidden = |field: &str| {
        let section = root.get(field);
        section.is_some_and(|section| matches!(&section.content, Content::Scalar(_)))
    };
    if text(root, &["type"]) == "kubernetes.io/service-account-token"
        || is_hidden("data")
        || is_hidden("stringData")
    {
        return Keys::Unknown;
    }
    let all = keys(root, &["data"])
        .union(&keys(root, &["stringData"]))
        .cloned()
        .collect();
    known_keys(all)
}

/// A Secret that others own has other keys too.
fn sealed(root: &Node) -> Keys {
    if text(root, &["spec", "target", "creationPolicy"]) == "Merge" {
        return Keys::Unknown;
    }
    let mut all = keys(root, &["spec", "template", "data"]);
    if text(root, &["spec", "template", "includeRaw"]) != "false" {
        all.extend(keys(root, &["spec", "encryptedData"]));
    }
    known_keys(all)
}

/// What an ExternalSecret writes; extracted and found keys are in the store.
fn fetched(spec: &Node) -> Keys {
    let target = |field: &str| spec.at(&["target", "template", field]);
    let is_open = !items(spec, "dataFrom").is_empty()
        || target("templateFrom").is_some()
        || matches!(
            text(spec, &["target", "creationPolicy"]),
            "Merge" | "CreateOrMerge"
        );
    if is_open {
        return Keys::Unknown;
    }
    let data = items(spec, "data")
        .iter()
        .map(|entry| text(entry, &["secretKey"]).to_owned());
    let mut all = keys(spec, &["target", "template", "data"]);
    if all.is_empty() || text(spec, &["target", "template", "mergePolicy"]) == "Merge" {
        all.extend(data);
    }
    known_keys(all)
}

struct Make<'a> {
    root: &'a Node,
    at: &'a At,
    found: &'a mut Found,
}

impl Make<'_> {
    /// A Secret with the object's own name.
    fn own(&mut self, keys: Keys) {
        let name = self.at.object.name.clone();
        self.add(name, self.at.object.namespace.clone(), keys);
    }

    /// A Secret of this name, or of the object's.
    fn named(&mut self, name: &str, keys: Keys) {
        if name.is_empty() {
            self.own(keys);
        } else {
            self.exactly(name, keys);
        }
    }

    fn exactly(&mut self, name: &str, keys: Keys) {
        self.add(pattern(name), self.at.object.namespace.clone(), keys);
    }

    fn add(&mut self, name: String, namespace: String, keys: Keys) {
        if name.is_empty() {
            return;
        }
        self.found.providers.push(Provider {
            object: self.at.object.clone(),
            file: self.at.file,
            place: self.root.place,
            namespace,
            name,
            keys,
            rendered: BTreeSet::new(),
        });
    }

    fn external(&mut self, spec: Option<&Node>, name: &str) {
        let Some(spec) = spec else { return };
        if text(spec, &["target", "creationPolicy"]) == "None" {
            return;
        }
        let target = text(spec, &["target", "name"]);
        self.named(if target.is_empty() { name } else { target }, fetched(spec));
    }

    /// cert-manager makes the certificates of ingresses and gateways that ask for it.
    fn shim(&mut self) {
        let annotations = self.root.at(&["metadata", "annotations"]);
        let entries = annotations.map(Node::entries).unwrap_or_default();
        let asks = |key: &str| {
            matches!(
                key,
                "cert-manager.io/issuer"
                    | "cert-manager.io/cluster-issuer"
                    | "kubernetes.io/tls-acme"
            )
        };
        if !entries.iter().any(|(key, _)| asks(key.text())) {
            return;
        }
        let spec = self.root.get("spec");
        let tls = spec.map(|spec| items(spec, "tls")).unwrap_or_default();
        let listeners = spec
            .map(|spec| items(spec, "listeners"))
            .unwrap_or_default();
        let references = listeners
            .iter()
            .filter_map(|listener| listener.at(&["tls", "certificateRefs"]));
        let names: Vec<&str> = tls
            .iter()
            .map(|tls| text(tls, &["secretName"]))
            .chain(
                references
                    .flat_map(Node::items)
                    .map(|reference| text(reference, &["name"])),
            )
            .collect();
        for name in names {
            self.exactly(name, Keys::Unknown);
        }
    }

    /// Crossplane and others write what is needed to connect.
    fn connection(&mut self, spec: Option<&Node>) {
        if let Some(reference) = spec.and_then(|spec| spec.get("writeConnectionSecretToRef")) {
            let namespace = known(text(reference, &["namespace"]));
            let own = self.at.object.namespace.clone();
            let namespace = if namespace.is_empty() { own } else { namespace };
            self.add(
                pattern(text(reference, &["name"])),
                namespace,
                Keys::Unknown,
            );
        }
    }

    fn generator(&mut self, generator: &Node, name: &str, read: ReadFile<'_>) {
        let mut all = BTreeSet::new();
        let before = |text: &str| text.split_once('=').map(|(key, _)| key.trim().to_owned());
        all.extend(
            items(generator, "literals")
                .iter()
                .filter_map(|literal| before(literal.text())),
        );
        for file in items(generator, "files") {
            let name = || {
                file.text()
                    .rsplit('/')
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            };
            all.insert(before(file.text()).unwrap_or_else(name));
        }
        let env = generator
            .get("env")
            .into_iter()
            .chain(items(generator, "envs"));
        let mut is_open = text(generator, &["behavior"]) == "merge";
        for file in env {
            let Some(bytes) = read(file.text()) else {
                is_open = true;
                continue;
            };
            let lines = String::from_utf8_lossy(&bytes);
            let lines = lines
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty() && !line.starts_with('#'));
            all.extend(lines.map(|line| before(line).unwrap_or_else(|| line.to_owned())));
        }
        let namespace = text(generator, &["namespace"]);
        let namespace = if namespace.is_empty() {
            text(self.root, &["namespace"])
        } else {
            namespace
        };
        let keys = if is_open {
            Keys::Unknown
        } else {
            known_keys(all)
        };
        self.add(pattern(name), known(namespace), keys);
    }
}
