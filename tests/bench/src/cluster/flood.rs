//! A good object that comes when many are there which cannot be opened.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde_json::{Value, json};

use super::contestant::Contestant;
use super::observer::{Observer, Until};
use super::plane::{NAMESPACE, Plane};
use super::trial::{Load, Way, stop};
use crate::{Result, progress};

/// The namespace of the bad ones.
const FLOODED: &str = "flooded";
/// How long the Secret of the good one is waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(5);

/// From the creation of the good object to its Secret, while the contestant works on so many bad
/// ones in another namespace; [`PATIENCE`] where it takes longer.
pub async fn delay(contestant: &dyn Contestant, bad: usize) -> Result<Duration> {
    let name = contestant.name();
    progress(format_args!("  {name}: starting a control plane"));
    let plane = Plane::start().await?;
    contestant.install(&plane)?;
    plane.control.kubectl(&["create", "namespace", FLOODED])?;
    let load = Load {
        objects: bad + 1,
        values: 1,
        recipients: 1,
        way: Way::Owned,
    };
    let mut objects = contestant.objects(&plane, load)?;
    let good = objects.pop().ok_or("no object was made")?;
    // What is sealed for one namespace opens in no other.
    objects.iter_mut().for_each(displace);
    let collection = contestant.collection();
    plane.create(&collection.path(FLOODED), objects).await?;

    let path = collection.path(FLOODED);
    let until = Until::Told(contestant.condition());
    let observer = Observer::start(&plane.client, &path, 1, until).await?;
    let mut process = contestant.start(&plane)?;
    observer.finish(PATIENCE).await?;
    progress(format_args!("  {name}: a good object"));
    let secrets = Api::<Secret>::namespaced(plane.client.clone(), NAMESPACE);
    let secret = Load::name(bad);
    let start = Instant::now();
    plane
        .create(&collection.path(NAMESPACE), vec![good])
        .await?;
    while start.elapsed() < PATIENCE && secrets.get_metadata_opt(&secret).await?.is_none() {
        tokio::time::sleep(PAUSE).await;
    }
    let took = start.elapsed().min(PATIENCE);
    stop(&mut process)?;
    progress(format_args!("  {name}: {took:.2?}"));
    Ok(took)
}

fn displace(object: &mut Value) {
    for metadata in ["/metadata", "/spec/template/metadata"] {
        if let Some(metadata) = object.pointer_mut(metadata) {
            metadata["namespace"] = json!(FLOODED);
        }
    }
}
