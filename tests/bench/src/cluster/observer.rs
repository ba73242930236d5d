//! Watches the statuses of all objects, as light as a watch can be.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use http::Request;
use kube::Client;
use kube::core::WatchEvent;
use serde::Deserialize;
use tokio::task::JoinHandle;

use crate::Result;

/// Before a watch that ended is resumed.
const PAUSE: Duration = Duration::from_millis(20);

/// A watch that runs.
pub struct Observer {
    task: JoinHandle<Result<Seen>>,
}

/// What is waited for in a status.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// This condition is true.
    True(&'static str),
    /// This condition exists, good or bad.
    Told(&'static str),
}

/// What it saw.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// When the first object was there.
    pub first: Instant,
    /// When the last one was.
    pub last: Instant,
}

/// As much of an object as is looked at.
#[derive(Clone, Debug, Deserialize)]
struct Object {
    metadata: Metadata,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    resource_version: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
}

#[derive(Deserialize)]
struct List {
    metadata: ListMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    resource_version: String,
}

type Events = BoxStream<'static, kube::Result<WatchEvent<Object>>>;

async fn watch(client: &Client, collection: &str, version: &str) -> Result<Events> {
    let path = format!("{collection}?watch=true&resourceVersion={version}&timeoutSeconds=7200");
    let request = Request::get(path).body(Vec::new())?;
    Ok(client.request_events::<Object>(request).await?.boxed())
}

impl Observer {
    /// Watches the collection from now on, until as many as `objects` of it are where they should.
    pub async fn start(
        client: &Client,
        collection: &str,
        objects: usize,
        until: Until,
    ) -> Result<Self> {
        let list = Request::get(format!("{collection}?limit=1")).body(Vec::new())?;
        let list: List = client.request(list).await?;
        let mut version = list.metadata.resource_version;
        let mut events = watch(client, collection, &version).await?;
        let (client, collection) = (client.clone(), collection.to_owned());
        let task = tokio::spawn(async move {
            let mut there = HashSet::new();
            let mut first = None;
            loop {
                match events.try_next().await? {
                    Some(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                        version.clone_from(&object.metadata.resource_version);
                        if object.is(until) && there.insert(object.metadata.name) {
                            let now = Instant::now();
                            let first = *first.get_or_insert(now);
                            if there.len() == objects {
                                return Ok(Seen { first, last: now });
                            }
                        }
                    }
                    Some(WatchEvent::Error(status)) => {
                        return Err(format!("the observer's watch failed: {status}").into());
                    }
                    Some(WatchEvent::Deleted(_) | WatchEvent::Bookmark(_)) => {}
                    // The server may end a watch at any time.
                    None => {
                        tokio::time::sleep(PAUSE).await;
                        events = watch(&client, &collection, &version).await?;
                    }
                }
            }
        });
        Ok(Self { task })
    }

    /// Waits for the last object.
    pub async fn finish(self, within: Duration) -> Result<Seen> {
        tokio::time::timeout(within, self.task)
            .await
            .map_err(|_| format!("not all objects were there after {} s", within.as_secs()))??
    }
}

impl Object {
    fn is(&self, until: Until) -> bool {
        let mut conditions = self.status.conditions.iter();
        match until {
            Until::True(type_) => conditions.any(|c| c.type_ == type_ && c.status == "True"),
            Until::Told(type_) => conditions.any(|c| c.type_ == type_),
        }
    }
}
