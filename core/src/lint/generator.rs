//! What kustomize makes Secrets of: generators with values in literals and files, and patches.

use zeroize::Zeroizing;

use super::manifest::{Values, Walk};
use super::value::{is_encrypted, judge};
use crate::manifest::{Node, Place, read_located};
use crate::names::printable;

impl Walk<'_> {
    /// The root of a document, if it is a kustomization or a generator of its own.
    pub(super) fn kustomization(&mut self, root: &Node) {
        if root.get("kind").map_or("", Node::text) == "SecretGenerator" {
            self.generator(root);
        }
        let generators = root.get("secretGenerator").map(Node::items);
        generators
            .unwrap_or_default()
            .iter()
            .for_each(|generator| self.generator(generator));
        for field in ["patches", "patchesJson6902"] {
            let patches = root.get(field).map(Node::items).unwrap_or_default();
            let is_for_secret =
                |patch: &&Node| patch.at(&["target", "kind"]).map_or("", Node::text) == "Secret";
            patches
                .iter()
                .filter(is_for_secret)
                .for_each(|patch| self.patch(patch));
        }
    }

    fn patch(&mut self, patch: &Node) {
        if let Some(text) = patch.get("patch") {
            self.inline_operations(text);
        }
        if let Some(path) = patch.get("path")
            && let Some(bytes) = (self.read)(path.text())
            && let Ok(text) = std::str::from_utf8(&bytes)
        {
            for document in &read_located(text).documents {
                self.operations(document.items(), &["data", "stringData"], Some(path.place));
            }
        }
    }

    fn generator(&mut self, generator: &Node) {
        let name = generator
            .get("name")
            .or_else(|| generator.at(&["metadata", "name"]));
        let name = name.map_or("", Node::text);
        let mut values = Values::default();
        for literal in generator
            .get("literals")
            .map(Node::items)
            .unwrap_or_default()
        {
            if let Some((key, value)) = literal.text().split_once('=') {
                let value = unquoted(value);
                self.generated(&mut values, name, key, literal.place, value.as_bytes());
            }
        }
        let one = generator.get("env").into_iter();
        let env_files = generator.get("envs").map(Node::items).unwrap_or_default();
        for file in one.chain(env_files) {
            self.env_file(&mut values, name, file);
        }
        for file in generator.get("files").map(Node::items).unwrap_or_default() {
            let text = file.text();
            let (key, path) = text
                .split_once('=')
                .unwrap_or_else(|| (text.rsplit('/').next().unwrap_or(text), text));
            if let Some(bytes) = (self.read)(path) {
                self.generated(&mut values, name, key, file.place, &bytes);
            }
        }
        let who = format!("the generator of Secret {}", printable(name));
        self.exposed(values, Some(name), &who);
    }

    /// Lines of `KEY=value`. A key alone takes its value from the environment of the build.
    fn env_file(&mut self, values: &mut Values, name: &str, file: &Node) {
        let bytes: Option<Zeroizing<Vec<u8>>> = (self.read)(file.text());
        let Some(bytes) = bytes.filter(|bytes| !is_encrypted(bytes)) else {
            return;
        };
        let text = Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned());
        let lines = text.lines().map(str::trim_start);
        for line in lines.filter(|line| !line.starts_with('#')) {
            if let Some((key, value)) = line.split_once('=') {
                self.generated(values, name, key, file.place, value.as_bytes());
            }
        }
    }

    fn generated(
        &mut self,
        values: &mut Values,
        name: &str,
        key: &str,
        place: Place,
        value: &[u8],
    ) {
        let judged = judge(value, self.around());
        self.named_value(values, Some(name), key, place, value, judged);
    }
}

/// As kustomize reads literals: quotes around the whole value are not part of it.
fn unquoted(value: &str) -> &str {
    let quotes = ['"', '\''];
    let inner = quotes
        .iter()
        .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    inner.unwrap_or(value)
}
