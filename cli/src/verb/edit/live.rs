//! Values from the live Secret, for people who may read it: they need no private key.

use std::collections::BTreeMap;

use sealkit_core::manifest::Document;
use sealkit_core::sealed::{SealedObject, SealedView};

use super::OpenValues;
use crate::args::GlobalArgs;
use crate::cluster::Cluster;
use crate::cluster::contexts::{Contexts, context_of, recognised};
use crate::error::{CommandError, Result};
use crate::git::repository::Location;
use crate::recipients::config::Config;
use crate::sealing::target::SealTarget;
use crate::terminal::{Session, safe};

/// The cluster whose Secret shows the values: one that the path is for, and no other.
pub(crate) fn cluster(
    global: &GlobalArgs,
    config: Option<&Config>,
    place: &Location,
) -> Result<Cluster> {
    let nothing = || {
        CommandError::usage("nothing to open the values with")
            .hint("pass a private key: -i FILE or SEALKIT_IDENTITY_FILE")
            .hint("or name the context of the path's cluster, to read the live Secret: --context NAME")
            .hint("or set a value without seeing the old one: `seal set`")
    };
    let config = config.ok_or_else(nothing)?;
    let (mut names, mut contexts) = (Vec::new(), Vec::new());
    for name in config.clusters_for(Some(place))?.unwrap_or_default() {
        let context = context_of(config, &name, global)?;
        contexts.extend(context.map(|context| context.context().to_owned()));
        names.push(name);
    }
    let context = match (&global.context, contexts.as_slice()) {
        // One of the path's, which is seen below.
        (Some(context), _) if !names.is_empty() => context,
        (None, [context]) => context,
        (_, []) => return Err(nothing()),
        _ => {
            let listed: Vec<String> = contexts.iter().map(|context| safe(context)).collect();
            return Err(
                CommandError::usage("the rule of the path names several clusters").hint(
                    format_args!("pass --context NAME, one of {}", listed.join(", ")),
                ),
            );
        }
    };
    let cluster = Cluster::connect(global, Some(context))?;
    let known = recognised(&cluster, config)?;
    let Some(name) = known.iter().find(|known| names.contains(known)) else {
        let names: Vec<String> = names.iter().map(|name| safe(name)).collect();
        let what = "this is no cluster that the path is for: it has none of their keys";
        return Err(CommandError::usage(what)
            .on(cluster.title())
            .hint(format_args!(
                "name the context of {}: --context NAME",
                names.join(" or ")
            )));
    };
    Contexts::load(config.root()).remember(name, cluster.context());
    Ok(cluster)
}

/// The values of the Secret that are those of the file: what is sealed under a key in the cluster
/// must be, to the letter, what is sealed under it in the file.
pub(crate) fn open(
    cluster: &Cluster,
    document: &Document,
    target: &SealTarget,
    session: Session<'_>,
) -> Result<OpenValues> {
    let Session { global, terminal } = session;
    let namespace = Some(target.namespace.as_str()).filter(|name| !name.is_empty());
    let namespace = namespace
        .or(global.namespace.as_deref())
        .ok_or_else(|| CommandError::usage("the object names no namespace").hint("pass -n NAME"))?;
    // Its keys go into a file for people: they must be keys.
    SealedObject::parse_in(&document.object, namespace)
        .map_err(|error| CommandError::input(format_args!("{}: {}", error.code(), error.detail)))?;
    let view = SealedView::of(&document.object);
    let file: BTreeMap<&str, &str> = view.values().collect();
    let (live, mut values) = cluster.live_values(namespace, &target.name)?;
    let is_same = |key: &String| {
        let text = file.get(key.as_str());
        text.is_some_and(|text| live.get(key).map(String::as_str) == Some(*text))
    };
    values.retain(|key, _| is_same(key));
    let unreadable: Vec<String> = file
        .keys()
        .filter(|key| !values.contains_key(**key))
        .map(|key| (*key).to_owned())
        .collect();
    terminal.note(format_args!(
        "the values are those of the live Secret {}/{}, {}",
        safe(namespace),
        safe(&target.name),
        cluster.title()
    ));
    if view.template_data().is_some() {
        terminal.note(
            "the object has templates: pass --render to let them read the values that you change",
        );
    }
    Ok(OpenValues {
        values,
        render: BTreeMap::new(),
        unreadable,
        recipients: Vec::new(),
    })
}
