//! Watches all `SealedSecrets` and `SealingKeys` of a control plane, holds every version of every
//! status against the rules and counts versions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt as _;
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::api::{ApiClient, runtime};
use crate::status_history::{History, Version};
use crate::wait::wait_until;

/// Records as long as it lives.
pub struct Recorder {
    api: ApiClient,
    records: Arc<Mutex<Records>>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Records {
    by_uid: HashMap<String, History>,
    violations: Vec<String>,
}

const KINDS: [(&str, &str); 2] = [
    ("SealedSecret", "sealedsecrets"),
    ("SealingKey", "sealingkeys"),
];

impl Recorder {
    /// Starts the watches.
    pub fn start(api: &ApiClient) -> Self {
        let records = Arc::new(Mutex::new(Records::default()));
        let tasks = KINDS.map(|(kind, plural)| {
            let resource = ApiResource {
                group: "sealkit.dev".into(),
                version: "v1beta1".into(),
                api_version: "sealkit.dev/v1beta1".into(),
                kind: kind.into(),
                plural: plural.into(),
            };
            let objects: Api<DynamicObject> = Api::all_with(api.kube(), &resource);
            runtime().spawn(record(objects, kind, records.clone()))
        });
        Self {
            api: api.clone(),
            records,
            tasks: tasks.into(),
        }
    }

    /// All versions of an object that were seen.
    pub fn versions(&self, uid: &str) -> Vec<Version> {
        self.with(uid, |history| history.versions().to_vec())
    }

    /// All statuses that the controller wrote for an object.
    pub fn status_writes(&self, uid: &str) -> Vec<Version> {
        self.with(uid, History::status_writes)
    }

    /// Waits until everything that exists now was seen; so the recorder is known to work.
    pub fn catch_up(&self) {
        for (kind, plural) in KINDS {
            for object in self
                .api
                .list(&format!("/apis/sealkit.dev/v1beta1/{plural}"))
            {
                let text = |field: &str| object["metadata"][field].as_str().unwrap().to_owned();
                let (uid, version) = (text("uid"), text("resourceVersion"));
                let seen = || {
                    self.records()
                        .by_uid
                        .get(&uid)
                        .is_some_and(|history| history.saw(&version))
                };
                wait_until(
                    &format!("the recorder sees {kind} {} at {version}", text("name")),
                    seen,
                );
            }
        }
    }

    /// The rules broken so far, once everything that exists was seen.
    pub fn violations(&self) -> Vec<String> {
        self.catch_up();
        self.records().violations.clone()
    }

    fn with<T>(&self, uid: &str, ask: impl FnOnce(&History) -> T) -> T {
        self.catch_up();
        ask(self
            .records()
            .by_uid
            .get(uid)
            .expect("an object that was watched"))
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn record(objects: Api<DynamicObject>, kind: &str, records: Arc<Mutex<Records>>) {
    let mut events = watcher(objects, watcher::Config::default())
        .default_backoff()
        .boxed();
    while let Some(event) = events.next().await {
        // Errors: the API server is away; the watch goes on where it was.
        let (object, push): (_, fn(&mut History, &Value) -> _) = match event {
            Ok(Event::Apply(object) | Event::Delete(object)) => (object, History::push),
            Ok(Event::InitApply(object)) => (object, History::push_listed),
            _ => continue,
        };
        let mut object = serde_json::to_value(object).unwrap();
        object["kind"] = kind.into();
        records
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(&object, push);
    }
}

impl Records {
    fn take(&mut self, object: &Value, push: fn(&mut History, &Value) -> Vec<String>) {
        let text = |field: &str| {
            object["metadata"][field]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let found = push(self.by_uid.entry(text("uid")).or_default(), object);
        let place = format!(
            "{} {}/{}",
            object["kind"].as_str().unwrap_or_default(),
            text("namespace"),
            text("name")
        );
        let mut status = object["status"].clone();
        if status["recipient"].is_string() {
            // Two kilobytes that nobody reads.
            status["recipient"] = "…".into();
        }
        self.violations.extend(
            found
                .into_iter()
                .map(|rule| format!("{place}: {rule}: {status}")),
        );
    }
}
