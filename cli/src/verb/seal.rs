//! `seal` without a verb: Secrets in, SealedSecrets out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use sealkit_core::manifest::{Document, INPUT_BYTES, SecretManifest, SecretManifestError};
use sealkit_core::names;
use sealkit_core::sealed::Scope;

use crate::args::{Output, RecipientArgs};
use crate::cluster::contexts::context_of;
use crate::cluster::kubeconfig;
use crate::error::{CommandError, Result};
use crate::files;
use crate::files::lock::{Lock, replace_unchanged};
use crate::git::repository::Location;
use crate::recipients::Chooser;
use crate::recipients::acceptance::Acceptance;
use crate::recipients::config::{Config, Configs, namespace_for, scope_for};
use crate::sealing::destination::{Destination, clash};
use crate::sealing::merging::Takes;
use crate::sealing::output::{self, Update};
use crate::sealing::piece::{Passed, Piece};
use crate::sealing::seal_manifest;
use crate::sealing::stream::{Input, read_inputs};
use crate::sealing::target::{ScopeLimit, SealTarget, scopes, tell_target};
use crate::sealing::template_file::{self, TemplateFile};
use crate::sealing::{foreign, held};
use crate::terminal::{Session, Terminal, ask_yes, print, safe, shown};

/// Flags of sealing.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Sealing")]
#[expect(clippy::struct_excessive_bools, reason = "flags")]
pub(super) struct SealArgs {
    /// Manifest to read, - for stdin; repeatable [default: stdin]
    #[arg(short, long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// File to write, or to update key by key; DIR/ gets one <name>.sealed.yaml for each Secret
    #[arg(short, long, value_name = "FILE|DIR/")]
    pub write: Option<PathBuf>,
    /// What the values are bound to
    #[arg(long, value_parser = scopes())]
    pub scope: Option<Scope>,
    /// Name of the object, if the input is a single Secret
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Recipients.
    #[command(flatten)]
    pub to: RecipientArgs,
    /// Let the templates of the object read these values in the cluster
    #[arg(long)]
    pub render: bool,
    /// File with the content of spec.template, such as templates that combine several values
    #[arg(long, value_name = "FILE")]
    pub template: Option<PathBuf>,
    /// Remove keys of the file to update that the input does not have
    #[arg(long, requires = "write")]
    pub prune: bool,
    /// Take type, immutable, labels, annotations and --template of the input over into the file to
    /// update; with --prune, what the input does not say goes
    #[arg(long, requires = "write")]
    pub update_template: bool,
    /// Seal Secrets that have no values, too
    #[arg(long)]
    pub allow_empty: bool,
    /// Replace the file of -f, if -w names the same one, without asking
    #[arg(long, requires = "write")]
    pub in_place: bool,
    /// As -o: what kubeseal calls it
    #[arg(long, hide = true, value_name = "FORMAT", conflicts_with = "output")]
    pub format: Option<Output>,
    /// Copy documents that are not Secrets to the output instead of refusing them
    #[arg(long)]
    pub all_documents: bool,
}

/// Seals what is read, and writes nothing unless all of it can be written.
pub(super) fn run(args: &SealArgs, session: Session<'_>) -> Result<()> {
    seal(&read_inputs(&args.files)?, args, session)
}

/// Seals inputs that were read.
pub(super) fn seal(inputs: &[Input], args: &SealArgs, session: Session<'_>) -> Result<()> {
    let terminal = session.terminal;
    let destination = Destination::new(args.write.as_deref(), args.all_documents)?;
    let secrets = inputs
        .iter()
        .flat_map(|input| &input.documents)
        .filter(|document| document.is_secret());
    let secrets = secrets.count();
    if args.name.is_some() && secrets > 1 {
        return Err(CommandError::usage(format_args!(
            "{secrets} Secrets cannot all have the same name"
        ))
        .on("--name"));
    }
    let mut sealer = Sealer::new(args, session)?;
    let mut outputs = BTreeMap::<Option<PathBuf>, Vec<Piece>>::new();
    for input in inputs {
        tell_comments(input, terminal);
        for document in &input.documents {
            let (path, piece) = sealer
                .piece(document, input, &destination)
                .map_err(|error| error.on(input.subject(document)))?;
            let pieces = outputs.entry(path).or_default();
            if let Some(title) = clash(&piece, pieces, &destination) {
                return Err(CommandError::input(format_args!(
                    "{title} would overwrite another object of the input"
                ))
                .on(input.subject(document))
                .hint("write all objects to one file: -w FILE"));
            }
            pieces.push(piece);
        }
    }
    let templates = sealer.template.as_ref().map(|file| &file.template.data);
    if !args.render && templates.is_some_and(|templates| !templates.is_empty()) {
        terminal.warning("templates cannot read these values: they are sealed without --render");
    }
    if args.render {
        terminal.note("templates in the cluster may read these values: anyone who may change the SealedSecret can learn them");
    }
    sealer.replaced = replaced(inputs, args)?;
    sealer.write(outputs, &destination)
}

struct Sealer<'a> {
    args: &'a SealArgs,
    session: Session<'a>,
    chooser: Chooser<'a>,
    configs: Configs,
    acceptance: Acceptance,
    /// The file of `--template`.
    template: Option<TemplateFile>,
    /// Namespace of the kubeconfig context, once asked for.
    context_namespace: Option<String>,
    /// The real path of the input that the output takes the place of.
    replaced: Option<PathBuf>,
}

impl<'a> Sealer<'a> {
    fn new(args: &'a SealArgs, session: Session<'a>) -> Result<Self> {
        let template = args.template.as_deref().map(template_file::read);
        Ok(Self {
            args,
            session,
            chooser: Chooser::new(&args.to, session),
            configs: Configs::default(),
            acceptance: Acceptance::new(args.to.accept_recipients, session.terminal),
            template: template.transpose()?,
            context_namespace: None,
            replaced: None,
        })
    }

    fn output(&self) -> Option<Output> {
        self.args.format.or(self.session.global.output)
    }

    /// One document of the output and the file that it goes to.
    fn piece(
        &mut self,
        document: &Document,
        input: &Input,
        destination: &Destination,
    ) -> Result<(Option<PathBuf>, Piece)> {
        if let Some(refused) = foreign::refusal(document, input.path.as_deref())
            && (!self.args.all_documents || document.is_secret())
        {
            return Err(refused);
        }
        if !document.is_secret() {
            return if self.args.all_documents {
                let piece = Piece::Other(Passed::new(document, input));
                Ok((destination.path("", self.output()), piece))
            } else if document.is_sealed_secret() {
                Err(CommandError::input("already sealed")
                    .hint("to copy sealed and other documents to the output, pass --all-documents"))
            } else {
                Err(CommandError::input("not a Secret of apiVersion v1")
                    .hint("to copy other documents to the output, pass --all-documents"))
            };
        }
        let manifest = self.manifest(document)?;
        let name = self.args.name.as_ref().unwrap_or(&manifest.name).clone();
        if name.is_empty() {
            return Err(CommandError::input("the Secret has no name").hint("set one with --name"));
        }
        if !names::is_dns_subdomain(&name) {
            let shown = names::printable(&name);
            return Err(CommandError::input(format_args!(
                "{shown:?} is not a valid name of a Secret"
            )));
        }
        let path = destination.path(&name, self.output());
        let place = path
            .as_deref()
            .or(input.path.as_deref())
            .map(Location::of)
            .transpose()?;
        let around = place
            .clone()
            .map_or_else(|| Location::of(Path::new("-")), Ok)?;
        let config = self.configs.at(&around)?;
        let scope = self.scope(&manifest, config.as_deref(), place.as_ref())?;
        let mut namespace = self.said_namespace(&manifest, config.as_deref(), place.as_ref())?;
        if namespace.is_empty() {
            namespace = held_namespace(path.as_deref(), &name);
        }
        if namespace.is_empty() && scope != Scope::ClusterWide {
            namespace = self.context_namespace(scope, config.as_deref(), place.as_ref())?;
        }
        let chosen = self.chooser.choose(config.as_deref(), place.as_ref())?;
        self.acceptance.compare(&chosen, around.root.as_deref())?;
        let target = SealTarget {
            scope,
            namespace,
            name,
        };
        // A wide scope that the command line does not name must not go unnoticed. What goes into a
        // file that exists is said there.
        let exists = path.as_deref().is_some_and(Path::exists);
        if scope != Scope::Strict && self.args.scope.is_none() && !exists {
            tell_target(&target, self.session.terminal);
        }
        let given = self.template.as_ref();
        let item = seal_manifest(&manifest, target, &chosen.set, self.args.render, given)?;
        item.marks
            .tell(&item.target.title(), exists, self.session.terminal);
        Ok((path, Piece::Sealed(Box::new(item))))
    }

    fn manifest(&self, document: &Document) -> Result<SecretManifest> {
        if self.args.allow_empty {
            return SecretManifest::maybe_empty(document).map_err(CommandError::input);
        }
        SecretManifest::from_document(document).map_err(|error| {
            let refused = CommandError::input(&error);
            match error {
                SecretManifestError::NoValues => {
                    refused.hint("to seal a Secret without values, pass --allow-empty")
                }
                _ => refused,
            }
        })
    }

    fn scope(
        &self,
        manifest: &SecretManifest,
        config: Option<&Config>,
        place: Option<&Location>,
    ) -> Result<Scope> {
        if let Some(scope) = self.args.scope {
            return Ok(scope);
        }
        if let Some(word) = &manifest.scope {
            return word.parse().map_err(|()| {
                let word = names::printable(word);
                CommandError::input(format_args!(
                    "unknown scope {word:?} in annotation sealkit.dev/scope"
                ))
                .hint("use strict, namespace-wide or cluster-wide")
            });
        }
        if let Some((config, place)) = config.zip(place)
            && let Some(rule) = config.rule(place)?
        {
            let branch = match rule.branches.as_slice() {
                [] => String::new(),
                _ => format!(" to branch {}", config.branch(place)?),
            };
            self.session.terminal.detail(format_args!(
                "the rule for {} applies{branch}",
                safe(&rule.path)
            ));
        }
        scope_for(config, place)
    }

    /// The namespace as the manifest, the flag or the rule of the path says, or nothing.
    fn said_namespace(
        &self,
        manifest: &SecretManifest,
        config: Option<&Config>,
        place: Option<&Location>,
    ) -> Result<String> {
        let given = self.session.global.namespace.as_deref().unwrap_or_default();
        if !given.is_empty() && !names::is_dns_label(given) {
            return Err(CommandError::usage("not a valid namespace name").on(safe(given)));
        }
        if !manifest.namespace.is_empty() {
            if !given.is_empty() && given != manifest.namespace {
                let namespace = names::printable(&manifest.namespace);
                return Err(CommandError::usage(format_args!(
                    "the manifest says namespace {namespace}, but -n says {given}"
                ))
                .hint("leave out one of them"));
            }
            if !names::is_dns_label(&manifest.namespace) {
                let namespace = names::printable(&manifest.namespace);
                return Err(CommandError::input(format_args!(
                    "{namespace:?} is not a valid namespace name"
                )));
            }
            return Ok(manifest.namespace.clone());
        }
        namespace_for(Some(given), config, place)
    }

    /// The namespace of the kubeconfig context in force, if that leads to a cluster that is sealed to:
    /// the namespace of another cluster means nothing here.
    fn context_namespace(
        &mut self,
        scope: Scope,
        config: Option<&Config>,
        place: Option<&Location>,
    ) -> Result<String> {
        if let Some(config) = config {
            self.check_context(scope, config, place)?;
        }
        if self.context_namespace.is_none() {
            let (namespace, context) = kubeconfig::current_namespace(self.session.global)?
                .ok_or_else(|| no_namespace(scope))?;
            self.session.terminal.note(format_args!(
                "sealed for namespace {}, that of context {}",
                names::printable(&namespace),
                names::printable(&context)
            ));
            self.context_namespace = Some(namespace);
        }
        Ok(self.context_namespace.clone().unwrap_or_default())
    }

    /// Refuses the namespace of a context that is not known to be that of a cluster of the path.
    fn check_context(&self, scope: Scope, config: &Config, place: Option<&Location>) -> Result<()> {
        let (global, to) = (self.session.global, &self.args.to);
        // Whoever names keys or a context chooses the cluster.
        if global.context.is_some() || !to.recipients.is_empty() || !to.recipients_files.is_empty()
        {
            return Ok(());
        }
        let named = (!to.clusters.is_empty()).then(|| to.clusters.clone());
        let names = match named {
            Some(names) => names,
            None => config.clusters_for(place)?.unwrap_or_default(),
        };
        let current = kubeconfig::current_namespace(global)?;
        for name in &names {
            let known = context_of(config, name, global)?;
            let is_current = |(_, current): &(String, String)| {
                known
                    .as_ref()
                    .is_some_and(|known| known.context() == current)
            };
            if current.as_ref().is_some_and(is_current) {
                return Ok(());
            }
        }
        let error = no_namespace(scope);
        Err(match current {
            Some((_, context)) => error.hint(format_args!(
                "the current context, {}, is not known to lead to the cluster that is sealed to, so its namespace is not taken",
                safe(&context)
            )),
            None => error,
        })
    }

    /// Puts sealed objects in the place of the plain ones of a file, after a question.
    fn convert(
        &self,
        path: &Path,
        place: &Location,
        old: &str,
        pieces: &[Piece],
        form: Output,
    ) -> Result<()> {
        let terminal = self.session.terminal;
        let what = format!(
            "replace {}, which has the values in plain text",
            shown(path)
        );
        if !self.args.in_place {
            if !terminal.can_ask() {
                return Err(CommandError::usage(format_args!("this would {what}")).hint(
                    "nothing was changed; pass --in-place to do that, or write to another file",
                ));
            }
            if !ask_yes(&format!("this will {what}. Continue?"))? {
                return Err(CommandError::usage("nothing was changed"));
            }
        }
        let text = output::stream(pieces, form, terminal)?;
        replace_unchanged(&place.real, Some(old), text.as_bytes())
            .map_err(|error| error.on(shown(path)))?;
        terminal.done("sealed", path);
        if place.root.is_some() {
            terminal.warning("if the plain values were ever committed or pushed, Git's history still has them: change them where they are used, and `seal set` the new ones");
        }
        Ok(())
    }

    fn write(
        &mut self,
        outputs: BTreeMap<Option<PathBuf>, Vec<Piece>>,
        destination: &Destination,
    ) -> Result<()> {
        if let Destination::Folder(folder) = destination {
            std::fs::create_dir_all(folder).map_err(|_| {
                CommandError::input("the folder cannot be created").on(shown(folder))
            })?;
        }
        let mut places = Vec::new();
        for path in outputs.keys().flatten() {
            places.push(Location::of(path)?.real);
        }
        let _lock = Lock::of(places.iter().map(PathBuf::as_path))?;
        let mut updates = Vec::new();
        for (path, pieces) in outputs {
            let Some(path) = path else {
                let form = self.output().unwrap_or(Output::Yaml);
                print(output::stream(&pieces, form, self.session.terminal)?)?;
                continue;
            };
            let by_name = if path.extension().is_some_and(|end| end == "json") {
                Output::Json
            } else {
                Output::Yaml
            };
            let form = self.output().unwrap_or(by_name);
            let place = Location::of(&path)?;
            let config = self.configs.at(&place)?;
            let limit = ScopeLimit {
                rule: scope_for(config.as_deref(), Some(&place))?,
                flag: self.args.scope,
            };
            if self.replaced.as_ref() == Some(&place.real) {
                let old = files::read_text(&place.real, INPUT_BYTES)?;
                self.convert(&path, &place, &old, &pieces, form)?;
                continue;
            }
            let update = output::update(
                place,
                &pieces,
                form,
                limit,
                Takes {
                    missing: self.args.prune,
                    template: self.args.update_template,
                },
                self.session.terminal,
            )?;
            for difference in &update.differences {
                self.acceptance
                    .accept(difference)
                    .map_err(|error| error.on(shown(&path)))?;
            }
            updates.push((path, update));
        }
        for (path, update) in &updates {
            let Update {
                place, old, text, ..
            } = update;
            replace_unchanged(&place.real, old.as_deref(), text.as_bytes())
                .map_err(|error| error.on(shown(path)))?;
            self.session.terminal.done("sealed", path);
        }
        self.acceptance.save();
        Ok(())
    }
}

fn no_namespace(scope: Scope) -> CommandError {
    CommandError::input(format_args!(
        "scope {scope} binds values to a namespace, and none is given"
    ))
    .hint("give it with -n NAME, or as `namespace:` of the path's rule in .sealkit.yaml")
}

/// The namespace of the one object of this name in a file that exists, or nothing.
fn held_namespace(path: Option<&Path>, name: &str) -> String {
    let documents = path
        .and_then(|path| held::read(path).ok())
        .map(|(_, documents)| documents);
    let documents = documents.unwrap_or_default();
    let named =
        |document: &&Document| document.is_sealed_secret() && document.metadata("name") == name;
    let mut found = documents.iter().filter(named);
    match (found.next(), found.next()) {
        (Some(only), None) => only.metadata("namespace").to_owned(),
        _ => String::new(),
    }
}

/// The input that the output takes the place of: `-f F -w F`, where F holds Secrets.
fn replaced(inputs: &[Input], args: &SealArgs) -> Result<Option<PathBuf>> {
    let Some(write) = args.write.as_deref().filter(|path| path.is_file()) else {
        return Ok(None);
    };
    let real = Location::of(write)?.real;
    for input in inputs {
        let Some(path) = &input.path else { continue };
        let is_plain = input.documents.iter().any(|document| document.is_secret());
        if is_plain && Location::of(path)?.real == real {
            if inputs.len() > 1 {
                return Err(CommandError::usage(
                    "only a single file can be replaced by what is sealed of it",
                )
                .on(shown(write)));
            }
            return Ok(Some(real));
        }
    }
    Ok(None)
}

/// Comments of Secrets stay behind: says so, since they may say what the values are for.
fn tell_comments(input: &Input, terminal: Terminal) {
    let text = String::from_utf8_lossy(&input.text);
    let is_comment = |line: &str| {
        let line = line.trim_start();
        line.starts_with('#') && !line.starts_with("# seal:allow")
    };
    if input.documents.iter().any(|document| document.is_secret()) && text.lines().any(is_comment) {
        let name = input
            .path
            .as_deref()
            .map_or_else(|| "stdin".to_owned(), shown);
        terminal.note(format_args!("comments of {name} are not taken over"));
    }
}
