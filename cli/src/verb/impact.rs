//! `seal impact`: what makes a Secret, and what uses it or one of its keys.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use sealkit_core::manifest::INPUT_BYTES;
use sealkit_core::references::{Graph, Keys, Missing, Provider, Use, find, nearest};
use serde_json::{Value, json};

use crate::error::{CommandError, Result};
use crate::files;
use crate::files::parallel;
use crate::files::tree::{Found, Tree};
use crate::recipients::config::Config;
use crate::report::{Verdict, structured};
use crate::terminal::{Session, print, safe, shown};

/// Flags of `seal impact`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  # what uses a Secret, and what makes it
  seal impact db -n shop

  # what uses one value: after a leak, what has to restart with a new one
  seal impact db:password

  # what a workload needs
  seal impact deployment/app

  # everything below a folder, for programs
  seal impact -f clusters/production -o json")]
pub(super) struct ImpactArgs {
    /// A Secret (`db`), one of its keys (`db:password`) or a workload (`deployment/app`)
    /// [default: all Secrets]
    #[arg(value_name = "NAME")]
    pub target: Option<String>,
    /// Files and folders; repeatable [default: the working directory]
    #[arg(short = 'f', long = "file", alias = "filename", value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// What is asked for.
enum Target {
    All,
    Secret { name: String, key: Option<String> },
    Workload { kind: String, name: String },
}

impl Target {
    fn of(text: Option<&str>) -> Self {
        let Some(text) = text else { return Self::All };
        match text.split_once('/') {
            Some((kind, name)) if !kind.eq_ignore_ascii_case("secret") => Self::Workload {
                kind: kind.to_ascii_lowercase(),
                name: name.to_owned(),
            },
            _ => {
                let text = text.split_once('/').map_or(text, |(_, name)| name);
                let (name, key) = text
                    .split_once(':')
                    .map_or((text, None), |(name, key)| (name, Some(key)));
                Self::Secret {
                    name: name.to_owned(),
                    key: key.map(str::to_owned),
                }
            }
        }
    }

    /// Is a use part of the answer?
    fn takes(&self, used: &Use) -> bool {
        match self {
            Self::All => true,
            Self::Secret { name, key } => {
                let same_key = |wanted: &String| used.key.as_ref().is_none_or(|key| key == wanted);
                used.name == *name && key.as_ref().is_none_or(same_key)
            }
            Self::Workload { kind, name } => {
                used.object.name == *name && used.object.kind.to_ascii_lowercase() == *kind
            }
        }
    }
}

/// Tells what a change or a leak concerns.
pub(super) fn run(args: &ImpactArgs, session: Session<'_>) -> Result<Verdict> {
    let files = Tree::below(&args.paths)?.files;
    let (_, config) = Config::here()?;
    let mut graph = Graph::default();
    for pattern in config.as_ref().map(Config::external).unwrap_or_default() {
        graph.add_external(pattern);
    }
    let numbers: Vec<usize> = (0..files.len()).collect();
    let read = |number: &usize| read(&files, *number);
    parallel::for_each(&numbers, read, |_, found| -> Result<()> {
        graph.add(found?);
        Ok(())
    })?;
    let target = Target::of(args.target.as_deref());
    let namespace = session.global.namespace.as_deref();
    let in_namespace =
        |other: &str| namespace.is_none_or(|wanted| other.is_empty() || other == wanted);
    let uses: Vec<&Use> = graph
        .uses
        .iter()
        .filter(|used| in_namespace(&used.namespace) && target.takes(used))
        .collect();
    let secrets = secrets(&graph, &target, &uses, &in_namespace);
    if secrets.is_empty() && !matches!(target, Target::All) {
        return Err(unknown(
            &graph,
            &target,
            args.target.as_deref().unwrap_or_default(),
        ));
    }
    if let Some(key) = unheard_of(&target, &graph, &secrets, &uses) {
        let what = format!("nothing here makes the key {}, or asks for it", safe(key));
        session.terminal.warning(what);
    }
    let missing = graph.missing();
    let missing: Vec<&Missing<'_>> = missing
        .iter()
        .filter(|missing| uses.contains(&missing.needed))
        .collect();
    let answer = Answer {
        graph: &graph,
        files: &files,
        uses: &uses,
        missing: &missing,
    };
    match session.global.output {
        Some(form) => {
            let all: Vec<Value> = secrets.iter().map(|secret| answer.object(secret)).collect();
            print(structured(&json!({"secrets": all}), form)?)?;
        }
        None => print(
            secrets
                .iter()
                .map(|secret| answer.text(secret))
                .collect::<String>(),
        )?,
    }
    Ok(Verdict::clean_if(missing.is_empty()))
}

fn read(files: &[Found], number: usize) -> Result<sealkit_core::references::Found> {
    let place = &files[number].place;
    let bytes = files::read(&place.given, INPUT_BYTES)?;
    let beside = |name: &str| files::read(&place.real.parent()?.join(name), files::SMALL_FILE).ok();
    Ok(find(&String::from_utf8_lossy(&bytes), number, &beside))
}

/// Namespace and name of the Secrets of an answer; a Secret whose namespace nothing says has none.
fn secrets(
    graph: &Graph,
    target: &Target,
    uses: &[&Use],
    in_namespace: &dyn Fn(&str) -> bool,
) -> BTreeSet<(String, String)> {
    let title = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
    let mut secrets: BTreeSet<_> = uses
        .iter()
        .map(|used| title(&used.namespace, &used.name))
        .collect();
    let made = graph
        .providers
        .iter()
        .filter(|provider| in_namespace(&provider.namespace));
    secrets.extend(made.filter_map(|provider| {
        let is_wanted = match target {
            Target::All => true,
            Target::Secret { name, .. } => provider.name == *name,
            Target::Workload { .. } => false,
        };
        is_wanted.then(|| title(&provider.namespace, &provider.name))
    }));
    // One without a namespace is the same as one with it, where there is only one.
    let names: Vec<String> = secrets
        .iter()
        .filter(|(namespace, _)| !namespace.is_empty())
        .map(|(_, name)| name.clone())
        .collect();
    secrets.retain(|(namespace, name)| !namespace.is_empty() || !names.contains(name));
    secrets
}

/// The key that is asked for, if nothing uses it by its name and all makers make other keys.
fn unheard_of<'a>(
    target: &'a Target,
    graph: &Graph,
    secrets: &BTreeSet<(String, String)>,
    uses: &[&Use],
) -> Option<&'a str> {
    let Target::Secret { key: Some(key), .. } = target else {
        return None;
    };
    let makers = |(namespace, name): &(String, String)| graph.providers_of(namespace, name);
    let makers: Vec<_> = secrets.iter().flat_map(makers).collect();
    let is_other = |maker: &&Provider| match &maker.keys {
        Keys::Known(keys) => !keys.contains(key),
        Keys::Unknown => false,
    };
    let is_used = uses.iter().any(|used| used.key.as_ref() == Some(key));
    (!is_used && !makers.is_empty() && makers.iter().all(is_other)).then_some(key)
}

fn unknown(graph: &Graph, target: &Target, asked: &str) -> CommandError {
    let error = CommandError::input("nothing here makes or uses it").on(safe(asked));
    let meant = match target {
        Target::All => None,
        Target::Secret { name, .. } => {
            let made = graph
                .providers
                .iter()
                .map(|provider| provider.name.as_str());
            nearest(
                name,
                made.chain(graph.uses.iter().map(|used| used.name.as_str())),
            )
        }
        Target::Workload { name, .. } => {
            let objects = graph.uses.iter().map(|used| &used.object);
            let same = objects.clone().find(|object| object.name == *name);
            same.map(|object| format!("{}/{name}", object.kind.to_ascii_lowercase()))
                .or_else(|| nearest(name, objects.map(|object| object.name.as_str())))
        }
    };
    match meant {
        Some(meant) => error.hint(format_args!("did you mean {}?", safe(&meant))),
        None => error.hint("name the files with -f, and the namespace with -n"),
    }
}

struct Answer<'a> {
    graph: &'a Graph,
    files: &'a [Found],
    uses: &'a [&'a Use],
    missing: &'a [&'a Missing<'a>],
}

impl Answer<'_> {
    /// The uses of a Secret, each with what is missing.
    fn uses_of(&self, (namespace, name): &(String, String)) -> Vec<(&Use, Option<&Missing<'_>>)> {
        let same = |used: &&&Use| {
            used.name == *name
                && (used.namespace.is_empty()
                    || namespace.is_empty()
                    || used.namespace == *namespace)
        };
        let uses = self.uses.iter().filter(same);
        uses.map(|used| {
            let missing = self.missing.iter().find(|missing| missing.needed == *used);
            (*used, missing.copied())
        })
        .collect()
    }

    fn place(&self, file: usize, line: usize) -> String {
        format!("{}:{line}", shown(&self.files[file].place.given))
    }

    fn text(&self, secret: &(String, String)) -> String {
        let slash = if secret.0.is_empty() { "" } else { "/" };
        let mut text = format!("Secret {}{slash}{}\n", safe(&secret.0), safe(&secret.1));
        for provider in self.graph.providers_of(&secret.0, &secret.1) {
            let keys = match &provider.keys {
                Keys::Unknown => "keys unknown here".to_owned(),
                Keys::Known(keys) if keys.is_empty() => "no keys".to_owned(),
                Keys::Known(keys) => safe(
                    &keys
                        .iter()
                        .map(String::as_str)
                        .collect::<Vec<_>>()
                        .join(", "),
                ),
            };
            let place = self.place(provider.file, provider.place.line);
            text += &format!(
                "  made by {} {} ({place}): {keys}\n",
                safe(&provider.object.kind),
                safe(&provider.object.title())
            );
        }
        for (used, missing) in self.uses_of(secret) {
            let key = used
                .key
                .as_ref()
                .map_or("all keys".to_owned(), |key| format!("key {}", safe(key)));
            let place = self.place(used.file, used.place.line);
            let state = if missing.is_some() { ": MISSING" } else { "" };
            text += &format!(
                "  {key} used by {} {}, {} ({place}){state}\n",
                safe(&used.object.kind),
                safe(&used.object.title()),
                safe(&used.how)
            );
        }
        text
    }

    fn object(&self, secret: &(String, String)) -> Value {
        let object = |object: &sealkit_core::references::Object| json!({"kind": object.kind, "namespace": object.namespace, "name": object.name});
        let path = |file: usize| self.files[file].place.given.to_string_lossy().into_owned();
        let providers = self.graph.providers_of(&secret.0, &secret.1).into_iter().map(|provider| {
            let keys = match &provider.keys {
                Keys::Known(keys) => json!(keys),
                Keys::Unknown => Value::Null,
            };
            json!({"object": object(&provider.object), "path": path(provider.file), "line": provider.place.line, "keys": keys})
        });
        let uses = self.uses_of(secret).into_iter().map(|(used, missing)| {
            json!({
                "object": object(&used.object), "path": path(used.file), "line": used.place.line,
                "key": used.key, "how": used.how, "optional": used.optional,
                "missing": missing.map(Missing::message),
            })
        });
        let (providers, uses): (Vec<Value>, Vec<Value>) = (providers.collect(), uses.collect());
        json!({"namespace": secret.0, "name": secret.1, "providers": providers, "uses": uses})
    }
}
