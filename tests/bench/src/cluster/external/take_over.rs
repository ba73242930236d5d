//! Objects that External Secrets left in sync, taken over by our controller, and given back.

use std::time::{Duration, Instant};

use http::Request;
use serde_json::Value;

use super::super::contestant::Contestant as _;
use super::super::ours::Ours;
use super::super::plane::{NAMESPACE, Plane, core};
use super::super::trial::{self, Load};
use super::contestant::External;
use super::vault::Calls;
use crate::binaries::Binaries;
use crate::clock::process_cpu;
use crate::{Result, progress};

/// So long that no object is due before a trial ends.
pub const INTERVAL: &str = "24h";
/// How long a controller may take to get to all objects.
const WITHIN: Duration = Duration::from_mins(5);

/// What a controller did to objects that another one had left in sync.
#[derive(Debug)]
pub struct Swap {
    /// From its start until it had worked on all of them.
    pub wall: Duration,
    /// User and system time, until it was quiet.
    pub cpu: Duration,
    /// Secrets that are not as they were.
    pub secrets: usize,
    /// Objects whose status is not Ready for their generation.
    pub wrong: usize,
    /// What it asked the store for.
    pub calls: Calls,
}

/// The peer brings this load in sync, our controller takes it over, and the peer takes it back.
pub async fn swap(peer: &External, ours: &Binaries, load: Load) -> Result<(Swap, Swap)> {
    let (plane, mut process) = peer.in_sync(load).await?;
    trial::quiet(&mut process, Instant::now()).await?;
    trial::stop(&mut process)?;
    let ours = Ours::controller(ours)
        .of_kind("ExternalSecret")
        .with("--take-over");
    ours.install(&plane)?;
    let start = || ours.start(&plane);
    let there = taken("Sealkit", peer, &plane, load, start, true).await?;
    peer.apply_definitions(&plane)?;
    let start = || peer.start(&plane);
    let back = taken("External Secrets", peer, &plane, load, start, false).await?;
    Ok((there, back))
}

/// Starts a controller, and waits until it is done with all objects: ours tells the generation that it
/// observed, the other one comes to rest.
async fn taken(
    name: &str,
    peer: &External,
    plane: &Plane,
    load: Load,
    start: impl Fn() -> Result<sealkit_rig::Process>,
    tells: bool,
) -> Result<Swap> {
    progress(format_args!("  {name}: taking over"));
    let before = plane.versions(&core("secrets")).await?;
    let calls = peer.calls()?;
    let mut process = start()?;
    let begin = Instant::now();
    let wall = loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let objects = objects(plane, peer).await?;
        if !tells || objects.iter().filter(|object| is_observed(object)).count() == load.objects {
            break begin.elapsed();
        }
        if begin.elapsed() > WITHIN || !process.is_running() {
            let log = process.log_path().display();
            return Err(format!("{name} did not get to all objects, see {log}").into());
        }
    };
    trial::quiet(&mut process, begin).await?;
    let cpu = process_cpu(process.id())?;
    trial::stop(&mut process)?;
    let after = plane.versions(&core("secrets")).await?;
    let is_same = |(name, version): &(&String, &String)| before.get(*name) == Some(*version);
    let secrets = before.len().max(after.len()) - after.iter().filter(is_same).count();
    let objects = objects(plane, peer).await?;
    let is_right = |object: &&Value| {
        let ready = object["status"]["conditions"]
            .as_array()
            .and_then(|all| all.iter().find(|condition| condition["type"] == "Ready"));
        let is_current = !tells || is_observed(object);
        is_current && ready.is_some_and(|ready| ready["status"] == "True")
    };
    let swap = Swap {
        wall,
        cpu,
        secrets,
        wrong: objects.len() - objects.iter().filter(is_right).count(),
        calls: peer.calls()? - calls,
    };
    progress(format_args!("  {name}: {swap:?}"));
    Ok(swap)
}

fn is_observed(object: &Value) -> bool {
    object["status"]["observedGeneration"] == object["metadata"]["generation"]
}

async fn objects(plane: &Plane, peer: &External) -> Result<Vec<Value>> {
    let path = peer.collection().path(NAMESPACE);
    let list: Value = plane
        .client
        .request(Request::get(path).body(Vec::new())?)
        .await?;
    let Value::Array(items) = list["items"].clone() else {
        return Err("the API server lists nothing".into());
    };
    Ok(items)
}
