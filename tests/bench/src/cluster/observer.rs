//! Watches the statuses of all objects, as light as a watch can be.

use std::collections::HashSet;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use http::Request;
use kube::Client;
use kube::core::WatchEvent;
use serde::Deserialize;
use tokio::task::JoinHandle;

use crate::Result;

/// A watch that runs.
pub struct Observer {
    task: JoinHandle<Result<Seen>>,
}

/// What is waited for in a status.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// The object is in sync.
    Synced,
    /// Something is said of it, good or bad.
    Told,
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
struct Metadata {
    name: String,
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
        let version = list.metadata.resource_version;
        let path = format!("{collection}?watch=true&resourceVersion={version}&timeoutSeconds=7200");
        let events = client
            .request_events::<Object>(Request::get(path).body(Vec::new())?)
            .await?;
        let task = tokio::spawn(async move {
            let mut events = pin!(events);
            let mut there = HashSet::new();
            let mut first = None;
            while let Some(event) = events.try_next().await? {
                match event {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                        if object.is(until) && there.insert(object.metadata.name) {
                            let now = Instant::now();
                            let first = *first.get_or_insert(now);
                            if there.len() == objects {
                                return Ok(Seen { first, last: now });
                            }
                        }
                    }
                    WatchEvent::Error(status) => {
                        return Err(format!("the observer's watch failed: {status}").into());
                    }
                    WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => {}
                }
            }
            let reached = there.len();
            Err(format!("the observer's watch ended at {reached} of {objects} objects").into())
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
        // Sealkit and Sealed Secrets call it by the same name.
        let mut synced = self
            .status
            .conditions
            .iter()
            .filter(|c| c.type_ == "Synced");
        match until {
            Until::Synced => synced.any(|condition| condition.status == "True"),
            Until::Told => synced.next().is_some(),
        }
    }
}
