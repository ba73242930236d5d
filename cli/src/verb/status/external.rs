//! Stores, ClusterExternalSecrets and ExternalSecrets: which are ready, when values were read, and when they are read next.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sealkit_core::api::readiness::Readiness;
use sealkit_core::names::printable;
use serde_json::{Value, json};

use super::SHOWN;
use crate::cluster::{External, ExternalState, StoreState};
use crate::error::Result;
use crate::report::table;
use crate::terminal::{Terminal, print, safe};

/// Prints stores, counts by namespace, and the ExternalSecrets that are not ready.
pub(super) fn show(external: &External, terminal: Terminal) -> Result<()> {
    for what in &external.unread {
        terminal.note(format_args!("not shown: {what}"));
    }
    if !external.stores.is_empty() {
        print("\n")?;
        print(shown_stores(external))?;
    }
    if !external.of_cluster.is_empty() {
        print("\n")?;
        print(shown_of_cluster(external))?;
    }
    if external.externals.is_empty() {
        return Ok(());
    }
    let now = Timestamp::now();
    print("\n")?;
    print(shown_namespaces(&external.externals, now))?;
    let waiting = external.externals.iter();
    let waiting: Vec<_> = waiting
        .filter(|state| !state.readiness.is_ready())
        .collect();
    if !waiting.is_empty() {
        print("\n")?;
        print(shown_waiting(&waiting, now))?;
    }
    if waiting.len() > SHOWN {
        terminal.note(format_args!(
            "{} more are not ready: -o json lists all of them",
            waiting.len() - SHOWN
        ));
    }
    Ok(())
}

fn users(store: &StoreState, external: &External) -> usize {
    let uses = |state: &&ExternalState| state.stores.contains(&store.key);
    external.externals.iter().filter(uses).count()
}

fn shown_stores(external: &External) -> String {
    let heading = ["STORE", "PROVIDER", "READY", "USERS", "MESSAGE"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for store in &external.stores {
        rows.push(vec![
            store.key.to_string(),
            or_dash(&printable(&store.provider)),
            ready(&store.readiness).to_owned(),
            users(store, external).to_string(),
            message(&store.readiness),
        ]);
    }
    table(&rows)
}

fn shown_of_cluster(external: &External) -> String {
    let heading = ["CLUSTEREXTERNALSECRET", "READY", "MESSAGE"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for (key, readiness) in &external.of_cluster {
        let name = printable(&key.name);
        rows.push(vec![name, ready(readiness).to_owned(), message(readiness)]);
    }
    table(&rows)
}

/// Next is the time until which every value that is read at an interval is read again.
fn shown_namespaces(externals: &[ExternalState], now: Timestamp) -> String {
    let heading = ["NAMESPACE", "EXTERNALSECRETS", "READY", "NEXT REFRESH"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let mut namespaces: BTreeMap<&str, Vec<&ExternalState>> = BTreeMap::new();
    for state in externals {
        namespaces
            .entry(&state.key.namespace)
            .or_default()
            .push(state);
    }
    for (namespace, states) in namespaces {
        let ready = states.iter().filter(|state| state.readiness.is_ready());
        let next = states
            .iter()
            .filter_map(|state| state.next_refresh(now))
            .min();
        rows.push(vec![
            printable(namespace),
            states.len().to_string(),
            ready.count().to_string(),
            next.map_or_else(
                || "-".to_owned(),
                |next| format!("in {}", between(now, next)),
            ),
        ]);
    }
    table(&rows)
}

fn shown_waiting(waiting: &[&ExternalState], now: Timestamp) -> String {
    let heading = ["NOT READY", "REASON", "LAST REFRESH", "MESSAGE"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for state in waiting.iter().take(SHOWN) {
        let reason = state.readiness.why().map(|why| printable(&why.reason));
        let last = state
            .refreshed
            .map(|last| format!("{} ago", between(last, now)));
        rows.push(vec![
            printable(&format!("{}/{}", state.key.namespace, state.key.name)),
            or_dash(&reason.unwrap_or_default()),
            last.unwrap_or_else(|| "never".to_owned()),
            message(&state.readiness),
        ]);
    }
    table(&rows)
}

fn ready(readiness: &Readiness) -> &'static str {
    match readiness {
        Readiness::Ready => "True",
        _ => "False",
    }
}

fn message(readiness: &Readiness) -> String {
    match readiness.why() {
        None => String::new(),
        Some(why) if why.message.is_empty() && why.reason.is_empty() => {
            "not reconciled yet".to_owned()
        }
        Some(why) => safe(&why.message),
    }
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}

/// The time between, in its largest unit: `42s`, `7m`, `3h`, `2d`.
fn between(from: Timestamp, to: Timestamp) -> String {
    match to.duration_since(from).as_secs().max(0) {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..86_400 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// Adds `stores`, `clusterExternalSecrets` and `externalSecrets` to the report; null where the cluster does not have them.
pub(super) fn add_json(whole: &mut Value, external: Option<&External>) {
    let now = Timestamp::now();
    let why = |readiness: &Readiness| readiness.why().cloned().unwrap_or_default();
    let namespace = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    whole["stores"] = external.map_or(Value::Null, |external| {
        let stores = external.stores.iter().map(|store| {
            let why = why(&store.readiness);
            json!({
                "kind": store.key.kind.kind, "namespace": namespace(&store.key.namespace),
                "name": store.key.name, "provider": store.provider,
                "ready": store.readiness.is_ready(), "reason": why.reason, "message": why.message,
                "externalSecrets": users(store, external),
            })
        });
        stores.collect()
    });
    whole["clusterExternalSecrets"] = external.map_or(Value::Null, |external| {
        let all = external.of_cluster.iter().map(|(key, readiness)| {
            let why = why(readiness);
            json!({
                "name": key.name, "ready": readiness.is_ready(),
                "reason": why.reason, "message": why.message,
            })
        });
        all.collect()
    });
    whole["externalSecrets"] = external.map_or(Value::Null, |external| {
        let externals = external.externals.iter().map(|state| {
            let why = why(&state.readiness);
            json!({
                "namespace": state.key.namespace, "name": state.key.name,
                "ready": state.readiness.is_ready(), "reason": why.reason, "message": why.message,
                "lastRefresh": state.refreshed.map(|time| time.to_string()),
                "nextRefresh": state.next_refresh(now).map(|time| time.to_string()),
                "stores": state.stores.iter().map(ToString::to_string).collect::<Vec<_>>(),
            })
        });
        externals.collect()
    });
}
