//! A new object that comes while all others are due at once, each with a new value.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::task::JoinHandle;

use super::super::contestant::Contestant as _;
use super::super::plane::{NAMESPACE, Plane};
use super::super::trial::{Load, stop};
use super::contestant::External;
use crate::{Result, progress};

/// The interval of the objects.
pub const INTERVAL: &str = "1m";
/// New objects at most.
const SAMPLES: usize = 100;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(50);
/// How long they, and the others before them, are waited for. A Secret that is not there then counts
/// as if it were.
const WITHIN: Duration = Duration::from_mins(3);

/// What was seen of Secrets: when each was first there, and how often it changed since.
type Seen = Arc<Mutex<HashMap<String, (Instant, usize)>>>;

/// The times from the creation of new objects to their Secrets, in ascending order. All others read
/// one key, so that they are due at once. A new one reads a key that nobody has read.
pub async fn delays(contestant: &External, load: Load) -> Result<Vec<Duration>> {
    let name = contestant.name();
    for number in 0..SAMPLES {
        contestant.vault.put(&fresh_key(number))?;
    }
    let (plane, mut process) = contestant.in_sync(load).await?;
    let path = contestant.collection().path(NAMESPACE);

    progress(format_args!("  {name}: waiting until all are due"));
    let (seen, watch) = watch_secrets(&plane);
    wait_for(|| lock(&seen).len() == load.objects).await?;
    contestant.vault.put(&contestant.vault.key(0))?;
    // More than one that is tried again: they are due.
    wait_for(|| refreshed(&seen) > load.objects / 50).await?;
    let mut created = HashMap::new();
    // One that comes when all others are done measures nothing.
    while created.len() < SAMPLES && (created.is_empty() || refreshed(&seen) < load.objects) {
        let number = created.len();
        let name = format!("fresh-{number:05}");
        let object = contestant.object(&name, &fresh_key(number), load);
        created.insert(name, Instant::now());
        plane.create_one(&path, &object).await?;
        tokio::time::sleep(PAUSE).await;
    }
    let others = refreshed(&seen);
    let all = load.objects + created.len();
    let waited = wait_for(|| lock(&seen).len() == all).await;
    if let Err(error) = waited {
        progress(format_args!("  {name}: {error}"));
    }
    watch.abort();
    stop(&mut process)?;
    let seen = lock(&seen);
    let mut delays: Vec<_> = created
        .iter()
        .map(|(name, start)| {
            seen.get(name)
                .map_or(WITHIN, |(at, _)| at.duration_since(*start))
        })
        .collect();
    delays.sort_unstable();
    progress(format_args!(
        "  {name}: {} new objects while {others} of {} others were refreshed; median {:.2?}, most {:.2?}",
        delays.len(),
        load.objects,
        delays[delays.len() / 2],
        delays.last().copied().unwrap_or_default(),
    ));
    Ok(delays)
}

fn fresh_key(number: usize) -> String {
    format!("fresh/{number:05}")
}

/// The others that have their new value.
fn refreshed(seen: &Seen) -> usize {
    lock(seen)
        .values()
        .filter(|(_, changes)| *changes > 0)
        .count()
}

fn watch_secrets(plane: &Plane) -> (Seen, JoinHandle<()>) {
    let seen = Seen::default();
    let secrets = Api::<PartialObjectMeta<Secret>>::namespaced(plane.client.clone(), NAMESPACE);
    let events = watcher(secrets, watcher::Config::default());
    let sink = seen.clone();
    let watch = tokio::spawn(async move {
        let mut events = events.boxed();
        // A watch that fails is resumed.
        loop {
            let secret = match events.try_next().await {
                Ok(Some(Event::InitApply(secret) | Event::Apply(secret))) => secret,
                Ok(Some(_)) | Err(_) => continue,
                Ok(None) => break,
            };
            let name = secret.metadata.name.unwrap_or_default();
            lock(&sink)
                .entry(name)
                .and_modify(|(_, changes)| *changes += 1)
                .or_insert((Instant::now(), 0));
        }
    });
    (seen, watch)
}

async fn wait_for(is_so: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + WITHIN;
    while !is_so() {
        if Instant::now() > deadline {
            return Err(format!("not all Secrets were there after {} s", WITHIN.as_secs()).into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
