//! Manifests of objects that controllers make Secrets of, out of files, folders and streams.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use kube::api::ApiResource;
use sealkit_core::manifest::{Document, INPUT_BYTES, read_documents, wipe};
use sealkit_core::names::printable;
use serde_json::Value;
use zeroize::Zeroizing;

use super::kinds::{ObjectKey, SecretsKind};
use crate::error::{CommandError, Result};
use crate::files;
use crate::files::tree::{Found, Tree, is_broken_secret};
use crate::terminal::shown;

/// Fields of a kustomization that leave the manifests of its folder as they are.
const HARMLESS: [&str; 8] = [
    "apiVersion",
    "kind",
    "metadata",
    "resources",
    "configMapGenerator",
    "secretGenerator",
    "generatorOptions",
    "sortOptions",
];

/// One object to apply or to wait for.
pub(crate) struct Manifest {
    /// Which one.
    pub key: ObjectKey,
    /// The object, with its namespace.
    pub object: Value,
    /// The file, and the object in it.
    pub subject: String,
}

impl Manifest {
    /// How the API server finds its kind, at the version that it has.
    pub fn resource(&self) -> ApiResource {
        let version = self.object["apiVersion"].as_str().unwrap_or_default();
        let version = version
            .split_once('/')
            .map_or(version, |(_, version)| version);
        self.key.kind.api_resource(version)
    }
}

/// What the inputs hold.
#[derive(Default)]
pub(crate) struct Manifests {
    /// The objects, in the order of their stages.
    pub objects: Vec<Manifest>,
    /// Namespaces by name.
    pub namespaces: BTreeMap<String, Value>,
    /// Objects of other kinds, which are left alone.
    pub others: usize,
    /// The text of stdin if it was among the inputs. It may hold plaintext.
    pub stdin: Option<Zeroizing<Vec<u8>>>,
}

/// Reads files, all files below folders, and stdin for `-`. Objects without a namespace are in
/// `namespace`.
pub(crate) fn read(paths: &[PathBuf], namespace: &str) -> Result<Manifests> {
    let is_stdin = |path: &&PathBuf| path.as_os_str() == "-";
    if paths.iter().filter(is_stdin).count() > 1 {
        return Err(CommandError::usage("stdin can be read only once").on("-"));
    }
    let mut reader = Reader {
        namespace,
        read: Manifests::default(),
        seen: BTreeSet::new(),
    };
    let files: Vec<PathBuf> = paths
        .iter()
        .filter(|path| !is_stdin(path))
        .cloned()
        .collect();
    if !files.is_empty() {
        for file in Tree::below(&files)?.files {
            reader.file(&file)?;
        }
    }
    if paths.iter().any(|path| is_stdin(&path)) {
        let text = files::read_stdin(INPUT_BYTES)?;
        reader.stream(&text, "stdin")?;
        reader.read.stdin = Some(text);
    }
    let mut read = reader.read;
    read.objects.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(read)
}

struct Reader<'a> {
    namespace: &'a str,
    read: Manifests,
    seen: BTreeSet<ObjectKey>,
}

impl Reader<'_> {
    /// A file that was named must be readable; in a folder there may be templates of charts.
    fn file(&mut self, file: &Found) -> Result<()> {
        let path = &file.place.given;
        let bytes = files::read(path, INPUT_BYTES)?;
        match read_documents(&bytes) {
            Ok(documents) => self.documents(documents, &shown(path), Some(path)),
            Err(_) if !file.named && !is_broken_secret(&bytes) => Ok(()),
            Err(error) => Err(CommandError::input(error).on(shown(path))),
        }
    }

    fn stream(&mut self, text: &[u8], name: &str) -> Result<()> {
        let documents =
            read_documents(text).map_err(|error| CommandError::input(error).on(name))?;
        self.documents(documents, name, None)
    }

    fn documents(
        &mut self,
        documents: Vec<Document>,
        name: &str,
        path: Option<&Path>,
    ) -> Result<()> {
        for mut document in documents {
            if path.is_some() {
                check_kustomization(&document, name)?;
            }
            if document.kind() == "Namespace" && document.api_version() == "v1" {
                let key = document.metadata("name").to_owned();
                self.read.namespaces.insert(key, document.object);
            } else if let Some(kind) =
                SecretsKind::of_manifest(document.api_version(), document.kind())
                    .filter(|kind| kind.stage.is_some())
            {
                self.object(kind, document, name)?;
            } else {
                self.read.others += 1;
                wipe(&mut document.object);
            }
        }
        Ok(())
    }

    fn object(&mut self, kind: &'static SecretsKind, document: Document, name: &str) -> Result<()> {
        let given = document.metadata("namespace").to_owned();
        let namespace = match (kind.namespaced, given.is_empty()) {
            (false, _) => "",
            (true, true) => self.namespace,
            (true, false) => &given,
        };
        let key = ObjectKey {
            kind,
            namespace: namespace.to_owned(),
            name: document.metadata("name").to_owned(),
        };
        let subject = format!("{name}: {key}");
        if key.name.is_empty() {
            return Err(CommandError::input("the object has no metadata.name").on(subject));
        }
        if !self.seen.insert(key.clone()) {
            return Err(CommandError::input("the object is given twice")
                .on(subject)
                .hint("pass the folder of one cluster, or the output of `kustomize build`"));
        }
        let mut object = document.object;
        if kind.namespaced {
            object["metadata"]["namespace"] = namespace.into();
        }
        // What a cluster wrote is no wish.
        if let Some(fields) = object.as_object_mut() {
            fields.remove("status");
        }
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("creationTimestamp");
        }
        self.read.objects.push(Manifest {
            key,
            object,
            subject,
        });
        Ok(())
    }
}

/// A kustomization may give the objects of its folder other names, namespaces and contents.
fn check_kustomization(document: &Document, name: &str) -> Result<()> {
    let is_one = document.kind() == "Kustomization"
        && document
            .api_version()
            .starts_with("kustomize.config.k8s.io/");
    let fields = document.object.as_object().filter(|_| is_one);
    let mut fields = fields.into_iter().flat_map(serde_json::Map::keys);
    fields
        .find(|field| !HARMLESS.contains(&field.as_str()))
        .map_or(Ok(()), |field| {
            let field = printable(field);
            Err(CommandError::input(format_args!(
                "the kustomization changes its objects ({field}): they do not stand as their files say"
            ))
            .on(name)
            .hint("pipe what it builds: `kustomize build FOLDER | seal … -`"))
        })
}
