//! `seal verify`: what can be known of sealed files, with or without a key.

mod age;
mod baseline;
mod config_changes;
mod elsewhere;
mod kustomize;
mod patterns;
mod recipients;
mod staged_config;
mod stored;
mod templates;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::Args;
use jiff::SignedDuration;
use sealkit_core::api::rules::{self, Fault};
use sealkit_core::api::{Reason, SealedSecretSpec, SecretTemplate};
use sealkit_core::keys::{Fingerprint, KeyRing};
use sealkit_core::lint::{Allowed, FileKind, Rule, lint};
use sealkit_core::manifest::{Document, INPUT_BYTES, read_documents, wipe};
use sealkit_core::names::printable;
use sealkit_core::sealed::{EnvelopeId, Scope, SealedObject};
use serde_json::Value;

use crate::error::Result;
use crate::files;
use crate::files::tree::{Found, Tree, is_broken_secret, is_manifest};
use crate::git::repository::{Location, no_repository};
use crate::identities;
use crate::recipients::branch;
use crate::recipients::config::{Config, Configs, scope_for};
use crate::recipients::names::Names;
use crate::recipients::path_rule::is_wider;
use crate::recipients::wanted::Wanted;
use crate::report::{Finding, Scanned, Verdict, print_findings, print_review};
use crate::sealed_text::{ValueId, plain, title, values};
use crate::sealing::target::NAMESPACE_HINT;
use crate::sealing::template_file;
use crate::terminal::{Session, Terminal, safe};
use age::Ages;
use baseline::{Against, Baseline, SeenAt};
use elsewhere::Elsewhere;
use kustomize::Kustomizations;
use staged_config::{Index, Standing};
use stored::mark;
use templates::is_template;

/// Flags of `seal verify`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  # all files below the working directory; without a private key, recipients are claims
  seal verify

  # with a private key: open every value too
  seal verify -i recovery.key clusters/production

  # in a pull request: find old values that return and new recipients; trust the keys of main
  seal verify --base origin/main

  # find values that nobody changed for 90 days
  seal verify --max-age 90d

  # what you are about to commit; the hook of `seal git install` runs this
  seal verify --staged")]
pub(super) struct VerifyArgs {
    /// Compare with this Git revision; trust its config and keys instead of those in the work tree
    #[arg(long, value_name = "REF")]
    pub base: Option<String>,
    /// Check the staged files (what you are about to commit) instead of the work tree
    #[arg(long, conflicts_with_all = ["base", "paths"])]
    pub staged: bool,
    /// Also find values that are older than this by Git's history, such as 90d; a reseal makes no value
    /// younger
    #[arg(long, value_name = "AGE", value_parser = age::age, conflicts_with = "staged")]
    pub max_age: Option<SignedDuration>,
    /// Files and folders [default: the working directory]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// Looks at everything below the paths.
pub(super) fn run(args: &VerifyArgs, session: Session<'_>) -> Result<Verdict> {
    let Session { global, terminal } = session;
    // A hook asks for no passphrase, and finds no fault in what is not its own.
    let ring = if args.staged {
        KeyRing::default()
    } else {
        identities::ring(session)?
    };
    let mut verifier = Verifier::new(ring, terminal);
    verifier.namespace.clone_from(&global.namespace);
    if let Some(revision) = &args.base {
        verifier.compare_with(revision)?;
    }
    verifier.ages = args.max_age.map(Ages::new);
    if args.staged {
        verifier.next_commit()?;
    } else {
        let tree = Tree::below(&args.paths)?;
        for file in &tree.files {
            verifier.file(file)?;
        }
        verifier.findings.extend(verifier.kustomizations.findings());
        verifier.absent(&tree)?;
    }
    if let Some(ages) = verifier.ages.take() {
        verifier.findings.extend(ages.findings(terminal)?);
    }
    verifier.as_stored()?;
    verifier.everything_else()?;
    verifier.note_other_branches();
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
            "; recipients are claims of the files: pass -i FILE to prove them"
        } else {
            ""
        }
    ));
    if args.base.is_some() && global.output.is_none() {
        print_review(&findings, terminal);
    }
    Ok(Verdict::of(&findings))
}

/// What is wrong with files and folders, and with a stream of built manifests. A stream has no path
/// and so no rule; plain Secrets in it are not in any file for that.
pub(super) fn findings(
    paths: &[PathBuf],
    stream: Option<&[u8]>,
    session: Session<'_>,
) -> Result<Vec<Finding>> {
    let mut verifier = Verifier::new(identities::ring(session)?, session.terminal);
    if let Some(text) = stream {
        verifier.trust(None);
        verifier.content(&Location::of(Path::new("-"))?, true, text)?;
        let is_of_files = |finding: &Finding| finding.code == "PlaintextSecret";
        verifier.findings.retain(|finding| !is_of_files(finding));
        verifier.wanted = Wanted::default();
        verifier.trusted = Trusted::Files;
        verifier.names = Names::here().clone();
    }
    if !paths.is_empty() {
        for file in Tree::below(paths)?.files {
            verifier.file(&file)?;
        }
    }
    Ok(verifier.findings)
}

struct Verifier {
    ring: KeyRing,
    /// The namespace of objects that name none, as the flag says.
    namespace: Option<String>,
    terminal: Terminal,
    wanted: Wanted,
    trusted: Trusted,
    /// Whose keys they are, as the trusted config says.
    names: Names,
    configs: Configs,
    /// As the files say, where a revision is compared with.
    next: Wanted,
    /// The revision that is compared with, and the root of the repository.
    base: Option<(Rc<Baseline>, PathBuf)>,
    /// Values of objects, which the revision was asked about.
    compared: HashSet<ValueId>,
    /// Is it the next commit that matters, and not the work tree?
    is_index: bool,
    /// What was committed before, where only the next commit matters.
    standing: Standing,
    /// How old values are, where that matters.
    ages: Option<Ages>,
    /// Objects at paths whose rules are all for other branches.
    for_other_branches: usize,
    /// Has the revision the file that is looked at as it is?
    unchanged: bool,
    /// What builds the files that were read.
    kustomizations: Kustomizations,
    findings: Vec<Finding>,
    scanned: Scanned,
}

/// Which config holds.
enum Trusted {
    /// That of the path's own repository.
    Files,
    /// That of a revision or of the index, if it has one.
    Revision(Option<Rc<Config>>),
}

impl Verifier {
    fn new(ring: KeyRing, terminal: Terminal) -> Self {
        Self {
            ring,
            namespace: None,
            terminal,
            wanted: Wanted::default(),
            trusted: Trusted::Files,
            names: Names::here().clone(),
            configs: Configs::default(),
            next: Wanted::default(),
            base: None,
            compared: HashSet::new(),
            is_index: false,
            standing: Standing::default(),
            ages: None,
            for_other_branches: 0,
            unchanged: false,
            kustomizations: Kustomizations::default(),
            findings: Vec::new(),
            scanned: Scanned::default(),
        }
    }

    /// Takes the trusted recipients from another revision. New ones in the config are findings.
    fn compare_with(&mut self, revision: &str) -> Result<()> {
        let here = Location::of(Path::new("-"))?;
        let root = here.root.clone().ok_or_else(no_repository)?;
        branch::say_base(revision);
        let base = Baseline::read(revision, &root, self.terminal)?;
        self.findings.extend_from_slice(&base.config_findings);
        self.trust(base.config.clone());
        self.standing.plain.clone_from(&base.private_keys);
        self.base = Some((Rc::new(base), root.canonicalize().unwrap_or(root)));
        Ok(())
    }

    /// From now on this config holds, whatever the work tree says.
    fn trust(&mut self, config: Option<Rc<Config>>) {
        self.wanted = Wanted::by_revision(config.clone());
        self.names = config.as_deref().map(Names::of).unwrap_or_default();
        self.trusted = Trusted::Revision(config);
    }

    /// The path as the revision knows it.
    fn in_repository(&self, place: &Location) -> Option<PathBuf> {
        let (_, root) = self.base.as_ref()?;
        place.real.strip_prefix(root).ok().map(Path::to_owned)
    }

    /// Has the revision that a request is compared with this very file?
    fn is_unchanged(&self, place: &Location, bytes: &[u8]) -> bool {
        let path = self.in_repository(place);
        let base = self.base.as_ref().zip(path);
        base.is_some_and(|((base, _), path)| base.has(&path, bytes))
    }

    /// Compares the values of an object, and the recipients of its path, with the revision.
    fn against_base(
        &mut self,
        place: &Location,
        document: &Document,
        objects: &HashSet<String>,
    ) -> Result<()> {
        let Some(path) = self.in_repository(place) else {
            return Ok(());
        };
        let Some((base, _)) = &self.base else {
            return Ok(());
        };
        let mut findings = base.judge_object(&path, document, objects);
        findings.extend(self.values_against(base, &path, document));
        self.compared.extend(values(document).into_values());
        for key in base.gone(document) {
            let (key, title) = (printable(&key), document.title());
            self.terminal
                .note(format_args!("{key} was removed, {title}"));
        }
        // The next object at this path is sealed as the request's own config wants.
        let scope = scope_for(base.config.as_deref(), Some(place))?;
        let next = scope_for(self.configs.at(place)?.as_deref(), Some(place))?;
        if is_wider(next, scope) {
            let detail = format!("new objects at this path will have scope {next}, not {scope}");
            findings.push(("NewScope", detail));
        }
        let wanted = self.wanted.at(place)?;
        let wanted = wanted
            .map(|chosen| chosen.set.fingerprints())
            .unwrap_or_default();
        let next = self.next.at(place)?.map(|chosen| chosen.set.fingerprints());
        let new: Vec<Fingerprint> = next
            .into_iter()
            .flatten()
            .filter(|fingerprint| !wanted.contains(fingerprint))
            .collect();
        if !new.is_empty() {
            let detail = format!(
                "new values at this path will also be sealed to {}",
                self.names.list(&new)
            );
            findings.push(("NewRecipient", detail));
        }
        for (code, detail) in findings {
            self.find(&place.given, Some(document), code, detail);
        }
        Ok(())
    }

    /// What a revision says of the values of an object, as code and words.
    fn values_against(
        &self,
        base: &Baseline,
        path: &Path,
        document: &Document,
    ) -> Vec<(&'static str, String)> {
        let object = &title(document);
        let mut findings = Vec::new();
        for (key, sealed) in &values(document) {
            let Some(against) = base.judge(sealed, Some(SeenAt { path, object, key })) else {
                continue;
            };
            let what = format!("the value of {}", printable(key));
            let is_old = matches!(against, Against::Rollback(_));
            if is_old && base.consents_to(object, key) {
                let object = safe(object);
                self.terminal.note(format_args!(
                    "{what} is an old one, with the consent of a commit, {object}"
                ));
                continue;
            }
            let (code, mut detail) = against.message(&what, sealed);
            if is_old {
                detail += &base.way_out(object, key);
            }
            findings.push((code, detail));
        }
        findings
    }

    /// What stands in no object that was read.
    fn everything_else(&mut self) -> Result<()> {
        let Some((base, root)) = &self.base else {
            return Ok(());
        };
        let mut elsewhere = Elsewhere {
            base,
            root,
            compared: &self.compared,
            standing: &self.standing,
            changed: Vec::new(),
            findings: Vec::new(),
        };
        elsewhere.look()?;
        let findings = elsewhere.findings;
        self.findings.extend(findings);
        Ok(())
    }

    /// The manifests that Git has stored otherwise than this checkout shows them.
    fn as_stored(&mut self) -> Result<()> {
        let Some((base, root)) = self.base.clone() else {
            return Ok(());
        };
        let scanned = self.scanned;
        for stored in base.stored() {
            stored.each(&root, |file| {
                if let Some(bytes) = file.bytes
                    && is_manifest(&file.place.given)
                {
                    let start = self.findings.len();
                    self.content(&file.place, false, bytes)?;
                    mark(&mut self.findings, start);
                }
                Ok(())
            })?;
        }
        self.scanned = scanned;
        Ok(())
    }

    /// What is staged: Secrets and private keys that would be committed, and SealedSecrets as ever.
    /// What was committed before is not reported again.
    fn next_commit(&mut self) -> Result<()> {
        self.is_index = true;
        let index = Index::read()?;
        self.trust(index.config.clone());
        self.standing = index.standing()?;
        index.each(|place, is_manifest, bytes| {
            let path = &place.given;
            match bytes {
                Some(bytes) if is_manifest => self.content(place, false, bytes)?,
                Some(bytes) => self.private_keys(path, bytes),
                None => {
                    let detail = "the file is too large to be checked".to_owned();
                    self.find(path, None, "Unreadable", detail);
                }
            }
            Ok(())
        })?;
        if !self.findings.is_empty() {
            self.terminal.note(
                "fix the files and stage them again, or unstage them with `git restore --staged FILE`",
            );
        }
        Ok(())
    }

    /// Private keys in plain text, in any file.
    fn private_keys(&mut self, path: &Path, bytes: &[u8]) {
        let new = self.standing.new_private_keys(bytes);
        let new = new.filter(|key| !self.is_allowed(bytes, key.line));
        let messages: Vec<String> = new.map(|key| key.message()).collect();
        for detail in messages {
            self.find(path, None, "PrivateKey", detail);
        }
    }

    /// Does a comment allow what is in a line? A request cannot allow itself anything.
    fn is_allowed(&self, bytes: &[u8], line: usize) -> bool {
        self.base.is_none() && Allowed::of(&String::from_utf8_lossy(bytes)).holds(line)
    }

    /// Does a plain Secret tell anything, and does no comment allow that?
    fn is_exposed(&self, bytes: &[u8], document: &Document) -> bool {
        let title = title(document);
        let title = title.trim_start_matches('/');
        let findings = lint(bytes, FileKind::Manifest, &|_| None).findings;
        let mut exposed = findings
            .iter()
            .filter(|it| it.rule == Rule::PlaintextSecret);
        let is_it = |object: Option<&str>| object.unwrap_or_default() == title;
        self.base.is_some() || exposed.any(|finding| is_it(finding.object.as_deref()))
    }

    /// Does the trusted config name the path under `ignore:`?
    fn is_ignored(&mut self, place: &Location) -> Result<bool> {
        let config = match &self.trusted {
            Trusted::Files => self.configs.at(place)?,
            Trusted::Revision(config) => config.clone(),
        };
        Ok(config.is_some_and(|config| {
            let path = place.real.strip_prefix(config.root());
            path.is_ok_and(|path| config.ignores(path))
        }))
    }

    fn file(&mut self, file: &Found) -> Result<()> {
        let bytes = files::read(&file.place.given, INPUT_BYTES)?;
        self.content(&file.place, file.named, &bytes)
    }

    /// A file that should be a manifest, and has to be one if it was named.
    fn content(&mut self, place: &Location, named: bool, bytes: &[u8]) -> Result<()> {
        let path = &place.given;
        self.unchanged = self.is_unchanged(place, bytes);
        // What the config ignores may have plain text in it, and need be no manifest.
        let ignored = !named && self.is_ignored(place)?;
        if !ignored {
            self.private_keys(path, bytes);
        }
        let mut documents = match read_documents(bytes) {
            Ok(documents) => documents,
            Err(error) => {
                if !ignored && is_template(bytes) {
                    self.template(place, bytes)?;
                }
                if named || (!ignored && is_broken_secret(bytes)) {
                    self.scanned.files += 1;
                    self.find(path, None, "Unreadable", error.to_string());
                }
                return Ok(());
            }
        };
        let ours = |document: &Document| document.is_sealed_secret() || document.is_secret();
        self.scanned.files += usize::from(documents.iter().any(ours));
        let sealed = documents
            .iter()
            .filter(|document| document.is_sealed_secret());
        let objects: HashSet<String> = sealed.map(title).collect();
        for document in &documents {
            self.kustomizations.add(place, document);
            if document.is_sealed_secret() {
                self.scanned.objects += 1;
                self.sealed_secret(place, document, &objects)?;
            } else if !ignored
                && plain(document).is_some_and(|digest| !self.standing.plain.contains(&digest))
                && self.is_exposed(bytes, document)
            {
                let detail =
                    "a Secret in plain text: anyone who can read the file can read its values";
                self.find(path, Some(document), "PlaintextSecret", detail.to_owned());
            }
        }
        if !ignored {
            self.loose(place, bytes, &documents)?;
        }
        documents
            .iter_mut()
            .for_each(|document| wipe(&mut document.object));
        Ok(())
    }

    /// `objects` are those of its file.
    fn sealed_secret(
        &mut self,
        place: &Location,
        document: &Document,
        objects: &HashSet<String>,
    ) -> Result<()> {
        let path = &place.given;
        let template = match resource(&document.object) {
            Ok(template) => Some(template),
            Err(fault) => {
                self.find(path, Some(document), fault.reason.name(), fault.message);
                None
            }
        };
        let namespace = self.wanted.namespace(self.namespace.as_deref(), place)?;
        let object = match SealedObject::parse_in(&document.object, &namespace) {
            Ok(object) => object,
            Err(mut error) => {
                if namespace.is_empty() && document.metadata("namespace").is_empty() {
                    error.detail.push_str("; ");
                    error.detail.push_str(NAMESPACE_HINT);
                }
                self.find(path, Some(document), error.code().name(), error.detail);
                return Ok(());
            }
        };
        self.against_base(place, document, objects)?;
        if let Some(ages) = &mut self.ages {
            ages.take_in(place, document)?;
        }
        let scope = object.context().scope();
        self.kustomizations
            .add_sealed(place, document, &namespace, scope);
        self.scope(place, document, scope)?;
        let claimed: Vec<(EnvelopeId, Vec<Fingerprint>)> = object
            .hints()
            .map(|(id, hints)| (id, hints.to_vec()))
            .collect();
        if self.ring.is_empty() {
            return self.recipients(place, document, "claims to be sealed to", &claimed);
        }
        match identities::open_object(&object, &self.ring) {
            Err(error) => {
                self.find(path, Some(document), error.code().name(), error.detail);
                self.recipients(place, document, "claims to be sealed to", &claimed)
            }
            Ok(opened) => {
                for id in &opened.hint_mismatch {
                    let detail =
                        format!("envelope {id} lists other recipients than those it is sealed to");
                    self.find(path, Some(document), "HintMismatch", detail);
                }
                let proven: Vec<_> = opened
                    .envelopes
                    .iter()
                    .map(|(id, envelope)| (*id, envelope.to.clone()))
                    .collect();
                // One that breaks a rule was found already.
                if let Some(template) = template
                    && let Err(fault) = template_file::rendered(&template, opened.values)
                {
                    self.find(path, Some(document), "TemplateFailed", fault);
                }
                self.recipients(place, document, "is sealed to", &proven)
            }
        }
    }

    /// Compares the scope with what the config wants for the path.
    fn scope(&mut self, place: &Location, document: &Document, scope: Scope) -> Result<()> {
        let config = match &self.trusted {
            Trusted::Files => self.configs.at(place)?,
            Trusted::Revision(config) => config.clone(),
        };
        let Some(config) = config else {
            return Ok(());
        };
        let wanted = scope_for(Some(&config), Some(place))?;
        if is_wider(scope, wanted) && !self.standing.scopes.contains(&(title(document), scope)) {
            let detail = format!(
                "its scope is {scope}, but its path requires {wanted}: more objects can use its values"
            );
            self.find(&place.given, Some(document), "OtherScope", detail);
        }
        Ok(())
    }

    /// Nobody should take for checked what no rule speaks of on this branch alone.
    fn note_other_branches(&self) {
        if self.for_other_branches > 0 {
            self.terminal.note(format_args!(
                "{} SealedSecrets have rules for other branches alone, so their recipients were not compared: name the branch that they are for with --branch NAME",
                self.for_other_branches
            ));
        }
    }

    fn find(&mut self, path: &Path, document: Option<&Document>, code: &str, detail: String) {
        self.findings
            .push(Finding::new(path, document, code, detail));
    }
}

/// The template of a resource whose parts around the sealed format are as the cluster takes them.
/// Prefixes that an administrator denies to templates are known to the cluster alone.
fn resource(object: &Value) -> std::result::Result<SecretTemplate, Fault> {
    let Some(spec) = object.get("spec") else {
        return Ok(SecretTemplate::default());
    };
    // The format's own fields are checked more closely elsewhere; their values stay out of texts.
    if let Err(error) = serde_json::from_value::<SealedSecretSpec>(spec.clone()) {
        let message = format!(
            "spec does not follow the schema: {}",
            safe(&error.to_string())
        );
        return Err(Fault {
            reason: Reason::InvalidSpec,
            message,
            may_pass: false,
        });
    }
    let (_, template) = rules::target_and_template(spec, &[])?;
    rules::texts(&template)?;
    Ok(template)
}
