//! `seal keys revoke`: ends a leaked key step by step. Finished steps are found in the cluster and
//! in the repository, not remembered: a later run continues.

use std::path::PathBuf;

use clap::Args;
use kube::ResourceExt as _;
use sealkit_core::api::{KeyState, SealingKey};
use sealkit_core::keys::Fingerprint;
use sealkit_core::names::printable;
use serde::Serialize;
use serde_json::json;

use super::retire::{end, find};
use super::usage::{NAMED, claims};
use crate::args::WriteClusterArgs;
use crate::cluster::{Cluster, connect_to_write, fingerprint_of};
use crate::error::{CommandError, Result};
use crate::exposure::{Exposed, Leaked};
use crate::identities;
use crate::recipients::config::Config;
use crate::recipients::names::named;
use crate::recipients::recipient_file::read_recipient_file;
use crate::report::{Verdict, structured, table};
use crate::terminal::{Session, Terminal, print, quoted};

/// Flags of `seal keys revoke`.
#[derive(Args, Debug)]
pub(crate) struct RevokeArgs {
    /// Name of the SealingKey, or at least 4 characters of its fingerprint
    #[arg(value_name = "KEY")]
    pub key: String,
    /// Files and folders of the repository [default: the working directory]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Which cluster.
    #[command(flatten)]
    pub cluster: WriteClusterArgs,
}

/// One step of the revocation.
#[derive(Serialize)]
struct Step {
    name: &'static str,
    done: bool,
    /// What was found.
    found: String,
    /// What to do, where it is not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Stops at the first step that is not done. A key that is not revoked yet is a finding.
pub(super) fn run(args: &RevokeArgs, session: Session<'_>) -> Result<Verdict> {
    let terminal = session.terminal;
    let (_, config) = Config::here()?;
    let config = config.as_ref();
    let (cluster, _) = connect_to_write(&args.cluster, config, session, "revoke a key in")?;
    let keys = cluster.sealing_keys()?;
    let key = find(&keys, &args.key)?;
    let name = key.name_any();
    let fingerprint = fingerprint(key)?;
    terminal.note(format_args!(
        "{} ({}): anyone who has this key can still read its values in Git's history; only new values end that",
        printable(&name),
        fingerprint.short()
    ));
    let ring = identities::ring(session)?;
    let mut way = Way::default();
    way.step(|| rotated(&cluster, &name, fingerprint, config, terminal))?;
    way.step(|| resealed(&cluster, fingerprint, args, terminal))?;
    let mut exposed = None;
    way.step(|| {
        let found = Exposed::scan(&Leaked::key(fingerprint), &ring, terminal)?;
        let step = changed(&found);
        exposed = Some(found);
        Ok(step)
    })?;
    let mut refusal = None;
    let ready = way.is_done();
    way.step(|| {
        let ended = revoked(&cluster, key, terminal);
        let step = Step::revoked(ended.is_ok());
        refusal = ended.err();
        Ok(step)
    })?;
    way.print(exposed.as_ref(), session)?;
    refusal.map_or(Ok(Verdict::clean_if(ready)), Err)
}

/// The steps so far.
#[derive(Default)]
struct Way(Vec<Step>);

impl Way {
    fn is_done(&self) -> bool {
        self.0.iter().all(|step| step.done)
    }

    /// Takes the next step, unless one before it is not done.
    fn step(&mut self, step: impl FnOnce() -> Result<Step>) -> Result<()> {
        if self.is_done() {
            self.0.push(step()?);
        }
        Ok(())
    }

    fn print(&self, exposed: Option<&Exposed>, session: Session<'_>) -> Result<()> {
        let Session { global, terminal } = session;
        if let Some(form) = global.output {
            let exposed = exposed.map(Exposed::json);
            let whole = json!({"steps": self.0, "exposure": exposed});
            return print(structured(&whole, form)?);
        }
        if let Some(exposed) = exposed.filter(|exposed| exposed.in_use() > 0) {
            exposed.show(terminal)?;
        }
        print(shown(&self.0))?;
        if let Some(next) = self.0.last().and_then(|step| step.next.as_ref()) {
            terminal.note(format_args!("next: {next}; then run this again"));
        }
        Ok(())
    }
}

impl Step {
    /// The last one.
    fn revoked(done: bool) -> Self {
        let found = if done {
            "the cluster no longer opens anything with it"
        } else {
            "the cluster refuses to revoke it"
        };
        Self {
            name: "revoke",
            done,
            found: found.to_owned(),
            next: None,
        }
    }
}

/// Has the cluster revoke the key, unless it has.
fn revoked(cluster: &Cluster, key: &SealingKey, terminal: Terminal) -> Result<()> {
    let state = key.status.as_ref().and_then(|status| status.state);
    if state == Some(KeyState::Revoked) {
        return Ok(());
    }
    end(cluster, &key.name_any(), terminal)
}

fn fingerprint(key: &SealingKey) -> Result<Fingerprint> {
    fingerprint_of(key).ok_or_else(|| {
        CommandError::cluster("the key has no fingerprint yet")
            .on(printable(&key.name_any()))
            .hint("see `seal keys list`")
    })
}

fn rotated(
    cluster: &Cluster,
    name: &str,
    fingerprint: Fingerprint,
    config: Option<&Config>,
    terminal: Terminal,
) -> Result<Step> {
    let newest = cluster.newest_key(terminal)?;
    if let Some(file) = config
        .map(|config| still_in(config, fingerprint))
        .transpose()?
        .flatten()
    {
        let context = quoted(cluster.context());
        let next = if newest.name == name {
            format!("`seal keys rotate --context {context}`")
        } else {
            format!(
                "`seal keys fetch --context {context} -w {file}`, or remove the key from the file"
            )
        };
        return Ok(Step {
            name: "rotate",
            done: false,
            found: format!("{file} still has it: new values are sealed to it"),
            next: Some(next),
        });
    }
    let done = newest.name != name;
    Ok(Step {
        name: "rotate",
        done,
        found: if done {
            format!(
                "new values are sealed to {}",
                named(&[newest.recipient.fingerprint()])
            )
        } else {
            "the cluster still seals to it".to_owned()
        },
        next: (!done)
            .then(|| format!("`seal keys rotate --context {}`", quoted(cluster.context()))),
    })
}

/// A recipient file that holds this key.
fn still_in(config: &Config, fingerprint: Fingerprint) -> Result<Option<String>> {
    for (_, path) in config.key_files()? {
        let keys = read_recipient_file(&path)?;
        if keys.iter().any(|key| key.fingerprint() == fingerprint) {
            let path = path.strip_prefix(config.root()).unwrap_or(&path);
            return Ok(Some(quoted(&path.to_string_lossy())));
        }
    }
    Ok(None)
}

fn resealed(
    cluster: &Cluster,
    fingerprint: Fingerprint,
    args: &RevokeArgs,
    terminal: Terminal,
) -> Result<Step> {
    let text = fingerprint.to_string();
    let claimed = claims(&args.paths, terminal)?
        .remove(&text)
        .unwrap_or_default();
    let opened = cluster.objects(None)?;
    let opened = opened
        .iter()
        .filter(|object| object.sealed_to.contains(&text));
    let named: Vec<String> = opened
        .map(|object| printable(&format!("{}/{}", object.namespace, object.name)))
        .collect();
    let objects = named.len();
    let context = quoted(cluster.context());
    let next = match (claimed.envelopes, objects) {
        (0, 0) => None,
        (0, _) => Some("commit, and let the cluster apply what was resealed".to_owned()),
        _ => Some(format!(
            "`seal reseal --context {context}` (or -i RECOVERY_KEY), commit, and let the cluster apply it"
        )),
    };
    Ok(Step {
        name: "reseal",
        done: next.is_none(),
        found: format!(
            "{} envelopes in {} files claim it{}, and the cluster opens {objects} objects with it{}",
            claimed.envelopes,
            claimed.files,
            first_of(&claimed.named, claimed.files),
            first_of(&named, objects)
        ),
        next,
    })
}

/// The first of so many names, in brackets.
fn first_of(names: &[String], count: usize) -> String {
    let shown = &names[..names.len().min(NAMED)];
    if shown.is_empty() {
        return String::new();
    }
    let more = if count > shown.len() { ", …" } else { "" };
    format!(" ({}{more})", shown.join(", "))
}

fn changed(exposed: &Exposed) -> Step {
    let in_use = exposed.in_use();
    Step {
        name: "new values",
        done: in_use == 0,
        found: format!(
            "{in_use} values that it can read may be in use, {} are gone from the files: invalidate those where they were used",
            exposed.gone()
        ),
        next: (in_use > 0).then(|| {
            "change these values where they are used, and `seal set` them; pass -i FILE to see which have changed already".to_owned()
        }),
    }
}

fn shown(steps: &[Step]) -> String {
    let mut rows = vec![["STEP", "DONE", "FOUND"].map(str::to_owned).to_vec()];
    for name in ["rotate", "reseal", "new values", "revoke"] {
        let step = steps.iter().find(|step| step.name == name);
        let done = match step.map(|step| step.done) {
            Some(true) => "yes",
            Some(false) => "no",
            None => "-",
        };
        let found = step.map(|step| step.found.clone()).unwrap_or_default();
        rows.push(vec![name.to_owned(), done.to_owned(), found]);
    }
    table(&rows)
}
