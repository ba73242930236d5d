//! `seal open`: plaintext for the person who holds a key.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sealkit_core::api::SecretTemplate;
use sealkit_core::keys::KeyRing;
use sealkit_core::manifest::{Document, SCOPE_ANNOTATION, to_json, to_yaml};
use sealkit_core::names::printable;
use sealkit_core::sealed::{Code, Opened, SealedObject};
use serde::Serialize;
use serde_json::{Map, Value};
use zeroize::{Zeroize, Zeroizing};

use crate::args::{GlobalArgs, OpenArgs, Output};
use crate::error::{CommandError, Result};
use crate::identities;
use crate::repository::Location;
use crate::stream::read_inputs;
use crate::template_file;
use crate::terminal::{Terminal, print, shown};

/// Opens every SealedSecret that is read; prints nothing unless all of them open.
pub fn run(args: &OpenArgs, global: &GlobalArgs, terminal: Terminal) -> Result<()> {
    if global.identities().next().is_none() {
        return Err(CommandError::usage("no private key to open with")
            .hint("give one with -i FILE or SEALKIT_IDENTITY_FILE"));
    }
    refuse_work_tree()?;
    let paths: Vec<_> = args.files.iter().chain(&args.paths).cloned().collect();
    let inputs = read_inputs(&paths)?;
    let ring = identities::ring(global, terminal)?;
    let mut opened = Vec::new();
    for input in &inputs {
        for document in &input.documents {
            let subject = input.subject(document);
            let one = open(document, &ring).map_err(|error| error.on(&subject))?;
            if !one.hint_mismatch.is_empty() {
                terminal.warning(format_args!(
                    "HintMismatch: the recipients shown are not those of the envelope, seal it anew, {subject}"
                ));
            }
            opened.push((&**document, one, subject));
        }
    }
    if let Some(key) = &args.key {
        let [(_, opened, subject)] = opened.as_slice() else {
            return Err(CommandError::usage("--key takes one object")
                .on(format_args!("{} objects", opened.len())));
        };
        let value = opened.values.get(key).ok_or_else(|| {
            let keys: Vec<_> = opened.values.keys().map(|key| printable(key)).collect();
            CommandError::input(format_args!("no key {:?}", printable(key)))
                .on(subject)
                .hint(format_args!("its keys are {}", keys.join(", ")))
        })?;
        return print(&value.bytes);
    }
    let kept_nowhere = |pointer: &str| {
        let found =
            |(document, ..): &&(&Document, _, _)| document.object.pointer(pointer).is_some();
        opened.iter().any(|it| found(&it))
    };
    if kept_nowhere("/spec/target") || kept_nowhere("/spec/template/data") {
        terminal.note(
            "a Secret has no place for spec.target and templates: whoever seals this output again \
             loses them; single values are sealed over the old file with -w",
        );
    }
    let secrets: Vec<Plain> = opened
        .into_iter()
        .map(|(document, opened, _)| rebuild(document, opened, args.decode))
        .collect::<Result<_>>()?;
    let text = match global.output.unwrap_or(Output::Yaml) {
        Output::Yaml => to_yaml(&secrets).map_err(|_| ()),
        Output::Json => to_json(&secrets).map_err(|_| ()),
    };
    let text = text.map_err(|()| CommandError::bug("the Secret cannot be written"))?;
    print(Zeroizing::new(text).as_bytes())
}

/// A Secret with its values: wiped when dropped.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Plain {
    api_version: &'static str,
    kind: &'static str,
    metadata: Map<String, Value>,
    #[serde(rename = "type")]
    type_: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    immutable: Option<Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    data: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    string_data: BTreeMap<String, String>,
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.data
            .values_mut()
            .chain(self.string_data.values_mut())
            .for_each(Zeroize::zeroize);
    }
}

fn open(document: &Document, ring: &KeyRing) -> Result<Opened> {
    if !document.is_sealed_secret() {
        return Err(CommandError::input("is not a SealedSecret of sealkit.dev"));
    }
    let object = SealedObject::parse(&document.object)
        .map_err(|error| CommandError::input(format_args!("{}: {}", error.code(), error.detail)))?;
    identities::open_object(&object, ring).map_err(|error| {
        let refused = CommandError::unopened(format_args!("{}: {}", error.code(), error.detail));
        match error.code() {
            Code::NoMatchingKey => {
                refused.hint("give the private key of one of its recipients with -i FILE")
            }
            Code::ScopeMismatch => {
                refused.hint("values open only in the object that they were sealed for")
            }
            _ => refused.hint("take the last good version from Git"),
        }
    })
}

/// The Secret that the controller would make.
fn rebuild(document: &Document, opened: Opened, decode: bool) -> Result<Plain> {
    let mut metadata = Map::new();
    for field in ["name", "namespace"] {
        let text = document.metadata(field);
        if !text.is_empty() {
            metadata.insert(field.to_owned(), text.into());
        }
    }
    let template = |pointer: &str| {
        document
            .object
            .pointer(&format!("/spec/template/{pointer}"))
            .cloned()
    };
    for field in ["labels", "annotations"] {
        if let Some(entries) = template(&format!("metadata/{field}")) {
            metadata.insert(field.to_owned(), entries);
        }
    }
    // `seal` reads it back.
    if let Some(scope) = document
        .object
        .pointer("/spec/scope")
        .filter(|it| *it != "strict")
    {
        let annotations = metadata
            .entry("annotations")
            .or_insert_with(|| Map::new().into());
        annotations[SCOPE_ANNOTATION] = scope.clone();
    }
    let mut secret = Plain {
        api_version: "v1",
        kind: "Secret",
        metadata,
        type_: template("type").unwrap_or_else(|| "Opaque".into()),
        immutable: template("immutable"),
        data: BTreeMap::new(),
        string_data: BTreeMap::new(),
    };
    let spec: SecretTemplate = document
        .object
        .pointer("/spec/template")
        .map_or_else(
            || Ok(SecretTemplate::default()),
            |it| serde_json::from_value(it.clone()),
        )
        .map_err(|_| CommandError::input("spec.template is malformed"))?;
    let values = template_file::rendered(&spec, opened.values)
        .map_err(|fault| CommandError::unopened(fault).hint("take single values with --key"))?;
    for (key, bytes) in values {
        match std::str::from_utf8(&bytes) {
            Ok(text) if decode => secret.string_data.insert(key, text.to_owned()),
            _ => secret.data.insert(key, BASE64_STANDARD.encode(&bytes)),
        };
    }
    Ok(secret)
}

/// `seal open x > y` inside a work tree puts plaintext one `git add` away from everybody.
fn refuse_work_tree() -> Result<()> {
    let Ok(path) = std::fs::read_link("/proc/self/fd/1") else {
        return Ok(());
    };
    if !path.is_file() {
        return Ok(());
    }
    let place = Location::of(&path)?;
    if place.is_committable() {
        return Err(
            CommandError::input("plaintext does not belong into a Git work tree")
                .on(shown(&path))
                .hint("write outside the repository, or to a path that .gitignore names"),
        );
    }
    Ok(())
}
