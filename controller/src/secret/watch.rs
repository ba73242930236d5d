//! The one watch on the Secrets that Sealkit wrote, and on those that it takes over: metadata only,
//! shared by all reconcilers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use sealkit_core::api::external::ESO_MANAGED_LABEL;
use tokio::task::JoinSet;

use super::MANAGED_LABEL;
use crate::lock::lock;
use crate::object::{Key, Namespaces, RawMeta, Version, api};
use crate::telemetry::{Health, Metrics};
use crate::watch::{Change, FirstLists, changes, of_strangers};

/// Its name in logs, metrics and readiness.
const NAME: &str = "Secret";

/// A listener for changed Secrets. A source whose Secret has another name than its own keeps its
/// own index.
pub trait SecretListener: Send + Sync {
    /// The Secret now has the version `current`, or is gone. Called without any lock held, and also
    /// if nothing changed: after an interruption, the watch reports all Secrets again.
    fn secret_changed(&self, key: &Key, current: Option<&Version>);
}

/// Which Secrets a watch shows. No Secret is in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    /// Those that Sealkit wrote.
    Ours,
    /// Those that External Secrets wrote and Sealkit has not written yet.
    Left,
}

impl Shows {
    /// The label selector. Anybody may put a label on any Secret.
    fn selector(self) -> String {
        match self {
            Self::Ours => format!("{MANAGED_LABEL}=true"),
            Self::Left => format!("{ESO_MANAGED_LABEL}=true,{MANAGED_LABEL}!=true"),
        }
    }
}

/// A Secret as each watch shows it. When its labels change, it comes to one and leaves the other in any
/// order.
#[derive(Clone, Debug, Default)]
struct Shown {
    ours: Option<Version>,
    left: Option<Version>,
}

impl Shown {
    fn by(&mut self, shows: Shows) -> &mut Option<Version> {
        match shows {
            Shows::Ours => &mut self.ours,
            Shows::Left => &mut self.left,
        }
    }

    fn current(&self) -> Option<&Version> {
        self.ours.as_ref().or(self.left.as_ref())
    }
}

/// The versions of all labelled Secrets in the served namespaces.
pub struct SecretWatch {
    client: Client,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    served: Vec<Namespaces>,
    shows: Vec<Shows>,
    current: Mutex<HashMap<Key, Shown>>,
    listeners: Mutex<Vec<Weak<dyn SecretListener>>>,
    listed: FirstLists,
}

impl SecretWatch {
    /// A watch that has observed nothing yet. `takes_over` adds the Secrets of External Secrets.
    pub fn new(
        client: Client,
        served: Vec<Namespaces>,
        takes_over: bool,
        health: Arc<Health>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        for namespaces in &served {
            health.expect_in(NAME, namespaces);
        }
        let mut shows = vec![Shows::Ours];
        if takes_over {
            shows.push(Shows::Left);
        }
        Arc::new(Self {
            client,
            health,
            metrics,
            listed: FirstLists::of(shows.iter().flat_map(|_| &served)),
            served,
            shows,
            current: Mutex::default(),
            listeners: Mutex::default(),
        })
    }

    /// Notifies this listener too, from now on.
    pub fn add_listener(&self, listener: Weak<dyn SecretListener>) {
        lock(&self.listeners).push(listener);
    }

    /// The last observed version of the Secret.
    pub fn current(&self, key: &Key) -> Option<Version> {
        lock(&self.current).get(key)?.current().cloned()
    }

    /// Returns once all Secrets in these namespaces were listed.
    pub async fn listed(&self, namespaces: &Namespaces) {
        self.listed.completed(namespaces).await;
    }

    /// Watches without end.
    pub async fn run(self: Arc<Self>) {
        let mut watches = JoinSet::new();
        for namespaces in &self.served {
            for shows in &self.shows {
                watches.spawn(self.clone().watch(namespaces.clone(), *shows));
            }
        }
        // If one ends, the others end with it.
        watches.join_next().await;
    }

    async fn watch(self: Arc<Self>, namespaces: Namespaces, shows: Shows) {
        let api = api::<RawMeta<Secret>>(&self.client, &namespaces);
        let stream = of_strangers(&self.client, api, Some(&shows.selector())).await;
        let mut changes = changes(stream, NAME, namespaces, self.health.clone(), &self.metrics);
        while let Some(change) = changes.next().await {
            match change {
                Change::Seen(secret) => {
                    let (key, seen) = (Key::of(&secret.metadata), Version::of(&secret.metadata));
                    self.shown(&key, shows, Some(seen));
                }
                Change::Gone(key) => self.shown(&key, shows, None),
                Change::Listed(list) => {
                    let gone = {
                        let current = lock(&self.current);
                        let is_shown = |shown: &Shown| shown.clone().by(shows).is_some();
                        let mine = current.iter().filter(|(_, shown)| is_shown(shown));
                        list.missing(mine.map(|(key, _)| key))
                    };
                    gone.iter().for_each(|key| self.shown(key, shows, None));
                    if self.listed.count(&list) {
                        self.health.ready_in(NAME, list.namespaces());
                    }
                }
            }
        }
    }

    /// Records what one watch shows, and tells what both show.
    fn shown(&self, key: &Key, shows: Shows, version: Option<Version>) {
        let current = {
            let mut all = lock(&self.current);
            let shown = all.entry(key.clone()).or_default();
            *shown.by(shows) = version;
            let current = shown.current().cloned();
            if current.is_none() {
                all.remove(key);
            }
            current
        };
        self.changed(key, current.as_ref());
    }

    fn changed(&self, key: &Key, current: Option<&Version>) {
        let listeners = lock(&self.listeners).clone();
        for listener in listeners.iter().filter_map(Weak::upgrade) {
            listener.secret_changed(key, current);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_goes_from_one_watch_to_the_other_is_never_lost() {
        let version = |number: &str| Version {
            uid: "u".to_owned(),
            resource_version: number.to_owned(),
        };
        let mut shown = Shown::default();
        *shown.by(Shows::Left) = Some(version("1"));
        *shown.by(Shows::Ours) = Some(version("3"));
        // The other watch lags.
        *shown.by(Shows::Left) = Some(version("2"));
        assert_eq!(shown.current(), Some(&version("3")));
        *shown.by(Shows::Left) = None;
        assert_eq!(shown.current(), Some(&version("3")));
        *shown.by(Shows::Ours) = None;
        assert_eq!(shown.current(), None);
    }
}
