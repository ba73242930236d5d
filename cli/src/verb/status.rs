//! `seal status`: the keys and objects of a cluster at a glance.

mod external;

use std::collections::BTreeMap;

use clap::Args;
use kube::ResourceExt as _;
use sealkit_core::api::SealingKey;
use sealkit_core::names::printable;
use serde_json::json;

use crate::args::ClusterArgs;
use crate::cluster::{ObjectState, Unwatched, age_in_days, connect, is_ready};
use crate::error::Result;
use crate::report::{Verdict, structured, table};
use crate::terminal::{Session, Terminal, print, safe};

/// Flags of `seal status`.
#[derive(Args, Debug)]
#[command(after_help = "\
Exits with 1 if something is not Ready.

Examples:
  seal status --context prod-eu

  # one namespace, as JSON
  seal status -n shop -o json")]
pub(super) struct StatusArgs {
    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Namespace of the controller
    #[arg(long, value_name = "NAME", default_value = sealkit_core::api::CONTROLLER_NAMESPACE)]
    pub system_namespace: String,
}

/// Objects that are not ready and are shown one by one.
const SHOWN: usize = 20;

/// Prints which key seals what, how old keys are, what is not ready, and what stores and
/// ExternalSecrets do. What is not ready is a finding.
pub(super) fn run(args: &StatusArgs, session: Session<'_>) -> Result<Verdict> {
    let Session { global, terminal } = session;
    let cluster = connect(&args.cluster, global)?;
    let keys = cluster.sealing_keys()?;
    let mut objects = cluster.objects(global.namespace.as_deref())?;
    objects.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    let external = cluster.external(global.namespace.as_deref())?;
    let used = objects.iter().map(|object| object.namespace.as_str());
    let used = used.chain(global.namespace.as_deref()).collect();
    // Whoever may not ask is told by the objects themselves.
    let mut unwatched = cluster
        .unwatched(&args.system_namespace, &used)
        .unwrap_or_default();
    let is_shown = |namespace: &str| {
        global
            .namespace
            .as_deref()
            .is_none_or(|one| one == namespace)
    };
    unwatched.retain(|unwatched| is_shown(&unwatched.namespace));
    let externals_ready = external
        .as_ref()
        .is_none_or(|external| external.is_ready(global.namespace.as_deref()));
    let is_ready =
        externals_ready && objects.iter().all(|object| object.ready) && unwatched.is_empty();
    let verdict = Verdict::clean_if(is_ready);
    if let Some(form) = global.output {
        let mut whole = as_json(&keys, &objects);
        whole["unwatched"] = json!(unwatched);
        external::add_json(&mut whole, external.as_ref());
        print(structured(&whole, form)?)?;
        return Ok(verdict);
    }
    terminal.note(cluster.title());
    print(shown_keys(&keys, &objects))?;
    show_sealed(&objects, terminal)?;
    for Unwatched {
        namespace,
        detail,
        mend,
    } in &unwatched
    {
        let namespace = printable(namespace);
        terminal.warning(format_args!(
            "namespace {namespace} is not watched: {}",
            safe(detail)
        ));
        for command in mend {
            terminal.note(format_args!("run: {command}"));
        }
    }
    if let Some(external) = &external {
        external::show(external, terminal)?;
    }
    Ok(verdict)
}

fn show_sealed(objects: &[ObjectState], terminal: Terminal) -> Result<()> {
    if objects.is_empty() {
        terminal.note("no SealedSecrets");
        return Ok(());
    }
    print("\n")?;
    print(shown_namespaces(objects))?;
    let waiting: Vec<&ObjectState> = objects.iter().filter(|object| !object.ready).collect();
    if !waiting.is_empty() {
        print("\n")?;
        print(shown_waiting(&waiting))?;
    }
    if waiting.len() > SHOWN {
        let more = waiting.len() - SHOWN;
        terminal.note(format_args!(
            "{more} more are not ready: -o json lists all of them"
        ));
    }
    if objects.iter().any(|object| object.needs_reseal) {
        terminal.note(
            "some objects are not sealed to the newest key: run `seal reseal` in their repository",
        );
    }
    Ok(())
}

fn users<'a>(
    key: &SealingKey,
    objects: &'a [ObjectState],
) -> impl Iterator<Item = &'a ObjectState> {
    let fingerprint = key
        .status
        .as_ref()
        .and_then(|status| status.fingerprint.clone());
    objects.iter().filter(move |object| {
        fingerprint
            .as_ref()
            .is_some_and(|fingerprint| object.sealed_to.contains(fingerprint))
    })
}

fn shown_keys(keys: &[SealingKey], objects: &[ObjectState]) -> String {
    let heading = ["KEY", "STATE", "READY", "AGE", "FINGERPRINT", "OBJECTS"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for key in keys {
        let status = key.status.clone().unwrap_or_default();
        let dash = || "-".to_owned();
        let fingerprint = status.fingerprint.as_deref().map(printable);
        rows.push(vec![
            printable(&key.name_any()),
            status
                .state
                .map_or_else(dash, |state| state.name().to_owned()),
            if is_ready(key) { "True" } else { "False" }.to_owned(),
            age_in_days(key).map_or_else(dash, |days| format!("{days}d")),
            fingerprint.map_or_else(dash, |text| text.chars().take(16).collect()),
            users(key, objects).count().to_string(),
        ]);
    }
    table(&rows)
}

/// Counts of one namespace.
#[derive(Clone, Copy, Default)]
struct Counts {
    objects: usize,
    ready: usize,
    needs_reseal: usize,
}

fn namespaces(objects: &[ObjectState]) -> BTreeMap<&str, Counts> {
    let mut namespaces: BTreeMap<&str, Counts> = BTreeMap::new();
    for object in objects {
        let counts = namespaces.entry(&object.namespace).or_default();
        counts.objects += 1;
        counts.ready += usize::from(object.ready);
        counts.needs_reseal += usize::from(object.needs_reseal);
    }
    namespaces
}

fn shown_namespaces(objects: &[ObjectState]) -> String {
    let heading = ["NAMESPACE", "OBJECTS", "READY", "NEEDS RESEAL"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for (namespace, counts) in namespaces(objects) {
        rows.push(vec![
            printable(namespace),
            counts.objects.to_string(),
            counts.ready.to_string(),
            counts.needs_reseal.to_string(),
        ]);
    }
    table(&rows)
}

fn shown_waiting(waiting: &[&ObjectState]) -> String {
    let mut rows = vec![
        ["NOT READY", "REASON", "MESSAGE"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for object in waiting.iter().take(SHOWN) {
        let looked = !object.reason.is_empty();
        rows.push(vec![
            printable(&format!("{}/{}", object.namespace, object.name)),
            if looked {
                printable(&object.reason)
            } else {
                "-".to_owned()
            },
            if looked {
                safe(&object.message)
            } else {
                "no controller has looked at it: is its namespace watched?".to_owned()
            },
        ]);
    }
    table(&rows)
}

fn as_json(keys: &[SealingKey], objects: &[ObjectState]) -> serde_json::Value {
    let keys: Vec<_> = keys
        .iter()
        .map(|key| {
            let status = key.status.clone().unwrap_or_default();
            json!({
                "name": key.name_any(), "ready": is_ready(key),
                "state": status.state.map(|state| state.name().to_owned()),
                "fingerprint": status.fingerprint,
                "createdAt": status.created_at.map(|time| time.to_string()),
                "objects": users(key, objects).count(),
            })
        })
        .collect();
    let objects: Vec<_> = objects
        .iter()
        .map(|object| {
            json!({
                "namespace": object.namespace, "name": object.name, "ready": object.ready,
                "reason": object.reason, "message": object.message,
                "sealedTo": object.sealed_to, "needsReseal": object.needs_reseal,
            })
        })
        .collect();
    json!({"keys": keys, "objects": objects})
}
