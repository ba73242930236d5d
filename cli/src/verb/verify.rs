//! `seal verify`: what can be known of sealed files, with or without a key.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};

use sealkit_core::api::{SealedSecretSpec, SecretTemplate};
use sealkit_core::keys::{Fingerprint, KeyRing};
use sealkit_core::manifest::{Document, INPUT_BYTES, read_documents, wipe};
use sealkit_core::sealed::{EnvelopeId, SealedObject};
use serde_json::Value;

use crate::args::{GlobalArgs, VerifyArgs};
use crate::config::Configs;
use crate::error::Result;
use crate::files;
use crate::identities;
use crate::known::short_list;
use crate::recipients::from_config;
use crate::report::{Finding, Scanned, print_findings};
use crate::repository::Location;
use crate::template_file;
use crate::terminal::{Terminal, safe, shown};

/// Looks at everything below the paths. Returns whether nothing was found.
pub fn run(args: &VerifyArgs, global: &GlobalArgs, terminal: Terminal) -> Result<bool> {
    let ring = identities::ring(global, terminal)?;
    let mut verifier = Verifier {
        ring,
        configs: Configs::default(),
        wanted: HashMap::new(),
        findings: Vec::new(),
        scanned: Scanned::default(),
    };
    let here = [PathBuf::from(".")];
    for path in if args.paths.is_empty() {
        &here[..]
    } else {
        &args.paths
    } {
        if path.is_dir() {
            for file in manifests_below(path)? {
                verifier.file(&file, false)?;
            }
        } else {
            verifier.file(path, true)?;
        }
    }
    let Verifier {
        ring,
        findings,
        scanned,
        ..
    } = verifier;
    print_findings(&findings, scanned, global.output)?;
    terminal.detail(format_args!(
        "{} SealedSecrets in {} files, {} findings{}",
        scanned.objects,
        scanned.files,
        findings.len(),
        if ring.is_empty() {
            "; recipients are what the files claim, -i proves them"
        } else {
            ""
        }
    ));
    Ok(findings.is_empty())
}

struct Verifier {
    ring: KeyRing,
    configs: Configs,
    /// What each config wants for its clusters, sorted.
    wanted: HashMap<(PathBuf, Vec<String>), Vec<Fingerprint>>,
    findings: Vec<Finding>,
    scanned: Scanned,
}

impl Verifier {
    /// Looks at one file. `named` by a person, it must be readable; found in a folder, it may be
    /// a template of something else.
    fn file(&mut self, path: &Path, named: bool) -> Result<()> {
        let bytes = files::read(path, INPUT_BYTES)?;
        let mut documents = match read_documents(&bytes) {
            Ok(documents) => documents,
            Err(error) => {
                if named || is_broken_secret(&bytes) {
                    self.scanned.files += 1;
                    self.find(path, None, "Unreadable", error.to_string());
                }
                return Ok(());
            }
        };
        let ours = |document: &Document| document.is_sealed_secret() || document.is_secret();
        self.scanned.files += usize::from(documents.iter().any(ours));
        for document in &documents {
            if document.is_sealed_secret() {
                self.scanned.objects += 1;
                self.sealed_secret(path, document)?;
            } else if document.is_secret() && has_values(&document.object) {
                let detail = "a Secret in plain text: whoever reads the file reads its values";
                self.find(path, Some(document), "PlaintextSecret", detail.to_owned());
            }
        }
        documents
            .iter_mut()
            .for_each(|document| wipe(&mut document.object));
        Ok(())
    }

    fn sealed_secret(&mut self, path: &Path, document: &Document) -> Result<()> {
        if let Some(detail) = resource_fault(&document.object) {
            self.find(path, Some(document), "InvalidSpec", detail);
        }
        let object = match SealedObject::parse(&document.object) {
            Ok(object) => object,
            Err(error) => {
                self.find(path, Some(document), error.code().name(), error.detail);
                return Ok(());
            }
        };
        let claimed: Vec<(EnvelopeId, Vec<Fingerprint>)> = object
            .hints()
            .map(|(id, hints)| (id, hints.to_vec()))
            .collect();
        if self.ring.is_empty() {
            return self.recipients(path, document, "claims to be sealed to", &claimed);
        }
        match identities::open_object(&object, &self.ring) {
            Err(error) => {
                self.find(path, Some(document), error.code().name(), error.detail);
                self.recipients(path, document, "claims to be sealed to", &claimed)
            }
            Ok(opened) => {
                for id in &opened.hint_mismatch {
                    let detail =
                        format!("envelope {id} does not show the recipients that it is sealed to");
                    self.find(path, Some(document), "HintMismatch", detail);
                }
                let proven: Vec<_> = opened
                    .envelopes
                    .iter()
                    .map(|(id, envelope)| (*id, envelope.to.clone()))
                    .collect();
                let template = document.object.pointer("/spec/template").cloned();
                let template = template.and_then(|it| serde_json::from_value(it).ok());
                // A text that does not parse was found already.
                if let Some(template) =
                    template.filter(|it: &SecretTemplate| template_file::fault(it).is_none())
                    && let Err(fault) = template_file::rendered(&template, opened.values)
                {
                    self.find(path, Some(document), "TemplateFailed", fault);
                }
                self.recipients(path, document, "is sealed to", &proven)
            }
        }
    }

    /// Compares recipients with what the config wants for the path.
    fn recipients(
        &mut self,
        path: &Path,
        document: &Document,
        verb: &str,
        envelopes: &[(EnvelopeId, Vec<Fingerprint>)],
    ) -> Result<()> {
        let place = Location::of(path)?;
        let Some(config) = self.configs.at(&place)? else {
            return Ok(());
        };
        let Some(clusters) = config.clusters_for(Some(&place)) else {
            return Ok(());
        };
        let wanted = match self.wanted.entry((config.root().to_owned(), clusters)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let chosen = from_config(&config, &new.key().1)?;
                new.insert(chosen.set.fingerprints())
            }
        };
        let mut findings = Vec::new();
        for (id, fingerprints) in envelopes {
            let mut sorted = fingerprints.clone();
            sorted.sort_unstable();
            if sorted != *wanted {
                let detail = format!(
                    "envelope {id} {verb} {}, its path is for {}",
                    short_list(&sorted),
                    short_list(wanted)
                );
                findings.push(detail);
            }
        }
        for detail in findings {
            self.find(path, Some(document), "OtherRecipients", detail);
        }
        Ok(())
    }

    fn find(&mut self, path: &Path, document: Option<&Document>, code: &str, detail: String) {
        let object = document.map(|document| {
            let (namespace, name) = (document.metadata("namespace"), document.metadata("name"));
            let slash = if namespace.is_empty() { "" } else { "/" };
            format!("{namespace}{slash}{name}")
        });
        self.findings.push(Finding {
            path: path.to_string_lossy().into_owned(),
            object,
            code: code.to_owned(),
            detail,
        });
    }
}

/// What the resource around the sealed format gets wrong.
fn resource_fault(object: &Value) -> Option<String> {
    let spec = object.get("spec")?;
    // The format's own fields are checked more closely elsewhere; their values stay out of texts.
    match serde_json::from_value::<SealedSecretSpec>(spec.clone()) {
        Ok(spec) => template_file::fault(&spec.template.unwrap_or_default()),
        Err(error) => Some(format!(
            "spec does not follow the schema: {}",
            safe(&error.to_string())
        )),
    }
}

fn has_values(secret: &Value) -> bool {
    ["data", "stringData"]
        .iter()
        .filter_map(|field| secret.get(field)?.as_object())
        .any(|entries| !entries.is_empty())
}

/// Does a file that is no YAML look like a Secret, sealed or not? Charts hold templates, which
/// need not be YAML.
fn is_broken_secret(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return true;
    };
    !text.contains("{{")
        && text.lines().any(|line| {
            let line = line.trim().trim_start_matches("- ").trim_end_matches(',');
            let Some((key, value)) = line.split_once(':') else {
                return false;
            };
            let bare = |text: &str| text.trim().trim_matches(['"', '\'']).to_owned();
            bare(key) == "kind" && matches!(bare(value).as_str(), "Secret" | "SealedSecret")
        })
}

/// All YAML and JSON files below a folder, sorted; `.git` and links are left out.
fn manifests_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let fail = |error: &std::io::Error| crate::repository::reading(error).on(shown(folder));
    let mut entries = std::fs::read_dir(folder)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .map_err(|error| fail(&error))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    let mut found = Vec::new();
    for entry in entries {
        let kind = entry.file_type().map_err(|error| fail(&error))?;
        let path = entry.path();
        let path = path.strip_prefix(".").map(Path::to_owned).unwrap_or(path);
        if kind.is_dir() && entry.file_name() != ".git" {
            found.extend(manifests_below(&entry.path())?);
        } else if kind.is_file()
            && path
                .extension()
                .is_some_and(|end| end == "yaml" || end == "yml" || end == "json")
        {
            found.push(path);
        }
    }
    Ok(found)
}
