//! `ConfigMaps` and Secrets that something is made of: templates of an ExternalSecret, the credentials and
//! the CA of a store. Whoever read one is told when it changes. No content is watched.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::lock::lock;
use crate::object::{Key, Namespaces, RawMeta, api};
use crate::reconciler::Context;
use crate::watch::{Change, changes_of_strangers, may_list};

/// Changes of sources within this time are answered together.
pub const TOGETHER: Duration = Duration::from_millis(500);

/// The kind of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceKind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

impl SourceKind {
    /// The kind, as the API server names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }

    /// Its plural in paths.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmaps",
            Self::Secret => "secrets",
        }
    }
}

/// A ConfigMap or Secret that something is made of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// Its kind.
    pub kind: SourceKind,
    /// Its place.
    pub key: Key,
}

/// The resourceVersion that was read of a source; empty where there was none. `None` if nobody has read
/// it yet.
pub type SourceVersion = Option<String>;

/// The sources that were read for one purpose.
#[derive(Debug, Default)]
pub struct Used(Mutex<Vec<(Source, SourceVersion)>>);

impl Used {
    /// Notes a source as it was read.
    pub fn note(&self, kind: SourceKind, namespace: &str, name: &str, version: Option<&str>) {
        let key = Key {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let version = Some(version.unwrap_or_default().to_owned());
        lock(&self.0).push((Source { kind, key }, version));
    }

    /// What was noted.
    pub fn take(&self) -> Vec<(Source, SourceVersion)> {
        std::mem::take(&mut lock(&self.0))
    }
}

/// Bytes that are remembered of one user. Whoever makes objects chooses how many sources one
/// has; changes of those beyond it wait for the next refresh.
const REMEMBERED: usize = 4 * 1024;

/// Who uses which sources, in which versions.
pub struct Users<U> {
    by_source: HashMap<Source, HashMap<U, Use>>,
    by_user: HashMap<U, Vec<Source>>,
}

/// One user of one source.
#[derive(Debug, Default)]
struct Use {
    /// What was read, or what was told since.
    known: SourceVersion,
    /// What was observed since the user began to read.
    meanwhile: SourceVersion,
}

impl<U> Default for Users<U> {
    fn default() -> Self {
        Self {
            by_source: HashMap::new(),
            by_user: HashMap::new(),
        }
    }
}

impl<U: Clone + Eq + Hash> Users<U> {
    /// Somebody begins to read what they used before, and these sources: what is observed from now on
    /// counts, although they have not said yet what they read.
    pub fn begin(&mut self, user: &U, sources: Vec<Source>) {
        let mut all = self.by_user.remove(user).unwrap_or_default();
        for source in remembered(sources, |source| source) {
            if !all.contains(&source) {
                all.push(source);
            }
        }
        for source in &all {
            let users = self.by_source.entry(source.clone()).or_default();
            users.entry(user.clone()).or_default().meanwhile = None;
        }
        if !all.is_empty() {
            self.by_user.insert(user.clone(), all);
        }
    }

    /// Sets what somebody uses, instead of what was known. Did one of the sources change while they
    /// read?
    pub fn set(&mut self, user: &U, sources: Vec<(Source, SourceVersion)>) -> bool {
        let sources = remembered(sources, |(source, _)| source);
        let is_outdated = sources.iter().any(|(source, read)| {
            let known = self.by_source.get(source).and_then(|all| all.get(user));
            let meanwhile = known.and_then(|known| known.meanwhile.as_ref());
            meanwhile.is_some_and(|seen| read.as_ref().is_some_and(|read| read != seen))
        });
        self.remove(user);
        if sources.is_empty() {
            return is_outdated;
        }
        let names = sources.iter().map(|(source, _)| source.clone()).collect();
        self.by_user.insert(user.clone(), names);
        for (source, known) in sources {
            let meanwhile = None;
            let users = self.by_source.entry(source).or_default();
            users.insert(user.clone(), Use { known, meanwhile });
        }
        is_outdated
    }

    /// Forgets somebody.
    pub fn remove(&mut self, user: &U) {
        for source in self.by_user.remove(user).into_iter().flatten() {
            if let Some(users) = self.by_source.get_mut(&source) {
                users.remove(user);
                if users.is_empty() {
                    self.by_source.remove(&source);
                }
            }
        }
    }

    /// Forgets all that this is not true for.
    pub fn retain(&mut self, stays: impl Fn(&U) -> bool) {
        let gone: Vec<U> = self
            .by_user
            .keys()
            .filter(|user| !stays(user))
            .cloned()
            .collect();
        gone.iter().for_each(|user| self.remove(user));
    }

    /// All sources that somebody uses.
    pub fn sources(&self) -> Vec<Source> {
        self.by_source.keys().cloned().collect()
    }

    /// Those who read another version than this one. Whoever has read none yet gets to know it.
    pub fn outdated(&mut self, source: &Source, version: &str) -> Vec<U> {
        let Some(users) = self.by_source.get_mut(source) else {
            return Vec::new();
        };
        let mut outdated = Vec::new();
        for (user, used) in users {
            if used.known.as_ref().is_some_and(|known| known != version) {
                outdated.push(user.clone());
            }
            used.known = Some(version.to_owned());
            used.meanwhile = Some(version.to_owned());
        }
        outdated
    }
}

/// Those of the first sources that are not too much to remember.
fn remembered<T>(all: Vec<T>, source: impl Fn(&T) -> &Source) -> Vec<T> {
    /// What an entry takes beside its names.
    const ENTRY: usize = 64;
    let mut bytes = 0;
    let fits = |one: &T| {
        let Key { namespace, name } = &source(one).key;
        bytes += ENTRY + namespace.len() + name.len();
        bytes <= REMEMBERED
    };
    all.into_iter().take_while(fits).collect()
}

/// Whoever uses sources.
pub trait SourceListener: Send + Sync {
    /// A source was observed in this version; an empty one means that it is gone.
    fn source_changed(&self, source: &Source, version: &str);

    /// The sources that are used.
    fn sources(&self) -> Vec<Source>;
}

/// Watches sources, from the first use on.
#[derive(Debug, Default)]
pub struct Sources {
    listeners: Mutex<Vec<Weak<dyn SourceListener>>>,
    wanted: watch::Sender<bool>,
}

impl Sources {
    /// Notifies this listener too, from now on.
    pub fn add_listener(&self, listener: Weak<dyn SourceListener>) {
        lock(&self.listeners).push(listener);
    }

    /// Something uses sources: they are watched from now on.
    pub fn want(&self) {
        self.wanted
            .send_if_modified(|wanted| !std::mem::replace(wanted, true));
    }

    /// Watches, once something is used. Ends if a watch does, which should never happen.
    pub async fn run(self: Arc<Self>, context: Context) {
        let mut wanted = self.wanted.subscribe();
        // The sender lives as long as this.
        let _ = wanted.wait_for(|wanted| *wanted).await;
        let mut watches = JoinSet::new();
        for namespaces in &context.served {
            let (this, kind) = (self.clone(), SourceKind::ConfigMap);
            watches.spawn(this.watch::<ConfigMap>(context.clone(), kind, namespaces.clone()));
            let (this, kind) = (self.clone(), SourceKind::Secret);
            watches.spawn(this.watch::<Secret>(context.clone(), kind, namespaces.clone()));
        }
        watches.join_next().await;
    }

    async fn watch<K>(self: Arc<Self>, context: Context, kind: SourceKind, namespaces: Namespaces)
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: fmt::Debug + Clone + Send + 'static,
    {
        let api: Api<RawMeta<K>> = api(&context.client, &namespaces);
        may_list(&api, kind.name(), "changes are seen at the next refresh").await;
        let mut changes = changes_of_strangers(&context, api, kind.name(), namespaces).await;
        while let Some(change) = changes.next().await {
            match change {
                Change::Seen(object) => {
                    let version = object.metadata.resource_version.as_deref();
                    let key = Key::of(&object.metadata);
                    self.tell(&Source { kind, key }, version.unwrap_or_default());
                }
                Change::Gone(key) => self.tell(&Source { kind, key }, ""),
                Change::Listed(list) => {
                    for listener in self.listeners() {
                        let mut used = listener.sources();
                        used.retain(|source| source.kind == kind && list.lacks(&source.key));
                        for source in &used {
                            listener.source_changed(source, "");
                        }
                    }
                }
            }
        }
    }

    fn tell(&self, source: &Source, version: &str) {
        for listener in self.listeners() {
            listener.source_changed(source, version);
        }
    }

    fn listeners(&self) -> Vec<Arc<dyn SourceListener>> {
        let listeners = lock(&self.listeners);
        listeners.iter().filter_map(Weak::upgrade).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str) -> Source {
        let key = Key {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
        };
        let kind = SourceKind::ConfigMap;
        Source { kind, key }
    }

    #[test]
    fn whoever_read_another_version_is_outdated_once() {
        let mut users: Users<&str> = Users::default();
        users.set(&"one", vec![(source("a"), Some("1".to_owned()))]);
        users.set(&"two", vec![(source("a"), Some("2".to_owned()))]);
        users.set(&"new", vec![(source("a"), None)]);
        assert_eq!(users.outdated(&source("a"), "2"), ["one"]);
        assert!(users.outdated(&source("a"), "2").is_empty());
        assert!(users.outdated(&source("b"), "3").is_empty());
        let mut all = users.outdated(&source("a"), "");
        all.sort_unstable();
        assert_eq!(all, ["new", "one", "two"], "it is gone for all");
    }

    #[test]
    fn what_somebody_no_longer_uses_concerns_them_no_more() {
        let mut users: Users<&str> = Users::default();
        users.set(&"one", vec![(source("a"), Some("1".to_owned()))]);
        users.set(&"one", vec![(source("b"), Some("1".to_owned()))]);
        assert!(users.outdated(&source("a"), "2").is_empty());
        assert_eq!(users.outdated(&source("b"), "2"), ["one"]);
        users.retain(|user| *user != "one");
        assert!(users.by_source.is_empty() && users.by_user.is_empty());
    }

    #[test]
    fn what_changes_while_somebody_reads_is_not_missed() {
        let mut users: Users<&str> = Users::default();
        let read = |text: &str| vec![(source("a"), Some(text.to_owned()))];
        users.begin(&"one", vec![source("a")]);
        assert!(
            users.outdated(&source("a"), "2").is_empty(),
            "nothing is read yet"
        );
        assert!(users.set(&"one", read("1")), "an older one was read");
        users.begin(&"one", Vec::new());
        users.outdated(&source("a"), "3");
        assert!(
            !users.set(&"one", read("3")),
            "it was read after the change"
        );
        users.begin(&"one", vec![source("a")]);
        assert!(
            !users.set(&"one", read("4")),
            "the watch has not told it yet"
        );
        assert!(users.outdated(&source("a"), "4").is_empty());
    }

    #[test]
    fn little_is_remembered_of_somebody_with_many_sources() {
        let mut users: Users<&str> = Users::default();
        let many: Vec<Source> = (0..10_000)
            .map(|at| source(&format!("{at:0253}")))
            .collect();
        users.begin(&"one", many.clone());
        assert!((5..20).contains(&users.sources().len()));
        users.set(
            &"one",
            many.into_iter().map(|source| (source, None)).collect(),
        );
        assert!((5..20).contains(&users.sources().len()));
    }
}
