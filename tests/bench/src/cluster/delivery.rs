//! What a pipeline waits for: a stage of secrets, the answers of the webhook, `seal wait`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use http::Request;
use sealkit_core::manifest::read_documents;
use sealkit_rig::free_port;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::contestant::Contestant as _;
use super::observer::{Observer, Until};
use super::ours::Ours;
use super::plane::{METADATA_ONLY, NAMESPACE, Plane};
use super::trial::{Load, PATIENCE, Way, stop};
use crate::binaries::Binaries;
use crate::clock::{peak_memory, percentile, wall_of};
use crate::report::{Figure, Quantity};
use crate::{Result, Scale, machine, progress};

const PART: &str = "Delivery";
/// SealedSecrets of one stage.
const STAGE: usize = 100;
/// Stages, for a percentile of them.
const STAGES: usize = 20;
const STAGE_WITHIN: Duration = Duration::from_secs(1);
/// Time between two requests to the webhook, and how many there are.
const EVERY: Duration = Duration::from_millis(10);
const REQUESTS: usize = 3_000;
const ADMITTED_WITHIN: Duration = Duration::from_millis(20);
/// Memory of `seal wait`.
const WAIT_MEMORY: u64 = 60_000_000;

/// How soon a stage is ready, how soon the webhook answers, and what waiting takes.
pub async fn run(scale: &Scale, binaries: &Binaries) -> Result<Vec<Figure>> {
    let plane = Plane::start().await?;
    let port = free_port()?;
    let ours = Ours::controller(binaries)
        .with("--external-secrets=false")
        .with(format!("--webhook-listen=127.0.0.1:{port}"))
        .with("--webhook-names=127.0.0.1");
    ours.install(&plane)?;
    let waited = scale.objects * 5 / 4;
    let mut objects = ours.objects(&plane, load(STAGE * STAGES + waited))?;
    let rest = objects.split_off(STAGE * STAGES);

    let mut controller = ours.start(&plane)?;
    let mut figures = vec![stages(&plane, &ours, objects).await?];
    figures.extend(webhook(&plane, &ours, port, &rest[0]).await?);
    stop(&mut controller)?;
    figures.extend(wait(&plane, &ours, &binaries.seal, rest).await?);
    Ok(figures)
}

const fn load(objects: usize) -> Load {
    Load {
        objects,
        values: 1,
        recipients: 1,
        way: Way::Owned,
    }
}

/// From the first request that applies a stage until all of it is Ready.
async fn stages(plane: &Plane, ours: &Ours, mut objects: Vec<Value>) -> Result<Figure> {
    let path = ours.collection().path(NAMESPACE);
    let mut times = Vec::new();
    while !objects.is_empty() {
        let rest = objects.split_off(STAGE.min(objects.len()));
        let stage = std::mem::replace(&mut objects, rest);
        let until = Until::True("Ready");
        let observer = Observer::start(&plane.client, &path, stage.len(), until).await?;
        let start = Instant::now();
        plane.create(&path, stage).await?;
        times.push(observer.finish(PATIENCE).await?.last - start);
    }
    let what = format!(
        "from applied to Ready, a stage of {STAGE} SealedSecrets, 95th percentile of {STAGES}"
    );
    let limit = STAGE_WITHIN.into();
    Ok(Figure::limited(
        PART,
        what,
        percentile(&times, 95).into(),
        limit,
    ))
}

/// Dry runs of one object through the API server at a steady pace, with and without the webhook.
async fn webhook(plane: &Plane, ours: &Ours, port: u16, object: &Value) -> Result<Vec<Figure>> {
    let path = format!("{}?dryRun=All", ours.collection().path(NAMESPACE));
    progress(format_args!("  {REQUESTS} dry runs without the webhook"));
    let without = paced(plane, &path, object).await?;
    install_webhook(plane, port)?;
    let mut altered = object.clone();
    altered["metadata"]["name"] = json!("altered");
    let deadline = Instant::now() + Duration::from_secs(60);
    let refusal = async || match plane.create_one(&path, &altered).await {
        Ok(()) => String::new(),
        Err(error) => error.to_string(),
    };
    while !refusal().await.contains("ScopeMismatch") {
        if Instant::now() > deadline {
            return Err("the webhook refuses nothing".into());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    progress(format_args!("  {REQUESTS} dry runs with the webhook"));
    let with = paced(plane, &path, object).await?;
    let rate = 1000 / EVERY.as_millis();
    let what = format!(
        "`--dry-run=server` of a SealedSecret with the webhook, {rate} a second, 99th percentile of {REQUESTS}"
    );
    let figures = vec![
        Figure::limited(
            PART,
            what,
            percentile(&with, 99).into(),
            ADMITTED_WITHIN.into(),
        ),
        Figure::note(
            PART,
            "the same without the webhook",
            percentile(&without, 99).into(),
        ),
        Figure::against(
            PART,
            "median, with the webhook against without",
            percentile(&with, 50).into(),
            percentile(&without, 50).into(),
            None,
        ),
    ];
    Ok(figures)
}

async fn paced(plane: &Plane, path: &str, object: &Value) -> Result<Vec<Duration>> {
    let body = serde_json::to_vec(object)?;
    let mut ticks = tokio::time::interval(EVERY);
    let mut calls = JoinSet::new();
    for _ in 0..REQUESTS {
        ticks.tick().await;
        let request = Request::post(path)
            .header("content-type", "application/json")
            .header("accept", METADATA_ONLY)
            .body(body.clone())?;
        let client = plane.client.clone();
        calls.spawn(async move {
            let start = Instant::now();
            let answer = client.request_text(request).await;
            answer.map(|_| start.elapsed())
        });
    }
    let mut times = Vec::new();
    while let Some(call) = calls.join_next().await {
        times.push(call??);
    }
    Ok(times)
}

/// The configuration of `deploy/components/webhook`, which calls this machine.
fn install_webhook(plane: &Plane, port: u16) -> Result<()> {
    let folder = machine::root().join("deploy/components/webhook");
    let apply = |path: &Path| {
        let path = path.to_string_lossy();
        plane
            .control
            .kubectl(&["apply", "--server-side", "-f", &path])
    };
    apply(&folder.join("rbac.yaml"))?;
    let documents = read_documents(&std::fs::read(folder.join("configuration.yaml"))?)?;
    let mut configuration = documents
        .into_iter()
        .next()
        .ok_or("no configuration of the webhook")?
        .object;
    let webhooks = configuration["webhooks"].as_array_mut();
    for webhook in webhooks.into_iter().flatten() {
        let url = format!("https://127.0.0.1:{port}/validate");
        webhook["clientConfig"] = json!({"url": url});
        webhook["failurePolicy"] = json!("Fail");
    }
    let file = plane.control.dir().join("webhook.json");
    std::fs::write(&file, configuration.to_string())?;
    apply(&file)?;
    Ok(())
}

/// `seal wait` beside a controller that makes them ready.
async fn wait(plane: &Plane, ours: &Ours, seal: &Path, objects: Vec<Value>) -> Result<Vec<Figure>> {
    let delete = [
        "delete",
        "validatingwebhookconfiguration",
        "sealkit",
        "--ignore-not-found",
    ];
    plane.control.kubectl(&delete)?;
    let count = objects.len();
    plane
        .create(&ours.collection().path(NAMESPACE), objects)
        .await?;
    progress(format_args!("  seal wait on {count} objects"));
    let mut waiting = Command::new(seal)
        .args(["wait", "--all", "--timeout=1h", "-n", NAMESPACE])
        .env("KUBECONFIG", plane.control.kubeconfig())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut controller = ours.start(plane)?;
    let mut peak = 0;
    let wall = wall_of(|| {
        loop {
            peak = peak_memory(waiting.id()).unwrap_or_default().max(peak);
            match waiting.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("seal wait: {status}").into()),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    })?;
    stop(&mut controller)?;
    let what = format!("`seal wait` until {count} objects are ready, peak memory");
    Ok(vec![
        Figure::limited(
            PART,
            what,
            Quantity::Bytes(peak),
            Quantity::Bytes(WAIT_MEMORY),
        ),
        Figure::note(PART, "the same, wall", wall.into()),
    ])
}
