//! One contestant on one load: from a fresh control plane to figures.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use sealkit_rig::Process;
use serde_json::{Value, json};

use super::contestant::Contestant;
use super::external::Calls;
use super::observer::{Observer, Until};
use super::plane::{NAMESPACE, Plane, core};
use crate::clock::{peak_memory, process_cpu};
use crate::{Result, progress};

/// A program is quiet after this long with (almost) no CPU time.
const QUIET: Duration = Duration::from_secs(3);
/// CPU time in that while that does not count as work: idle timers, leases.
const IDLE: Duration = Duration::from_millis(30);
/// How long a program may work on a load.
pub const PATIENCE: Duration = Duration::from_secs(3600);

/// What becomes of the values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Way {
    /// A Secret of its own holds them.
    #[default]
    Owned,
    /// Beside them, a file is made of all of them by a template.
    Templated,
    /// They are added to a Secret of somebody else.
    Merged,
}

/// What there is to do.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Sealed objects.
    pub objects: usize,
    /// Values in each, of 32 bytes.
    pub values: usize,
    /// Recipients of each; none of objects that are not sealed.
    pub recipients: usize,
    /// What becomes of the values.
    pub way: Way,
}

/// Bytes of a value.
pub const VALUE_SIZE: usize = 32;

impl Load {
    /// The number of objects, for arithmetic.
    pub fn count(self) -> u32 {
        u32::try_from(self.objects).unwrap_or(u32::MAX)
    }

    /// A template over all values of an object, as both contestants understand it.
    pub fn template(self) -> String {
        let line = |number| format!("key{number}={{{{ .KEY_{number} }}}}\n");
        (0..self.values).map(line).collect()
    }

    /// The name of an object.
    pub fn name(number: usize) -> String {
        format!("object-{number:05}")
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let Self {
            objects,
            values,
            recipients,
            way,
        } = *self;
        write!(f, "{objects} objects of {values} value{}", plural(values))?;
        if recipients > 0 {
            write!(f, " to {recipients} recipient{}", plural(recipients))?;
        }
        f.write_str(match way {
            Way::Owned => "",
            Way::Templated => ", a template over them",
            Way::Merged => ", merged into Secrets of others",
        })
    }
}

/// What a contestant needed.
#[derive(Debug)]
pub struct Outcome {
    /// From its start until all statuses were there.
    pub wall: Duration,
    /// From its start until the first status was there.
    pub first: Duration,
    /// User and system time, until it was quiet.
    pub cpu: Duration,
    /// Peak, in bytes.
    pub memory: u64,
    /// A second start over the same objects.
    pub restart: Option<Restart>,
}

/// What a second start needed.
#[derive(Debug)]
pub struct Restart {
    /// Until it said that all is in sync, or was quiet.
    pub wall: Duration,
    /// User and system time, until it was quiet.
    pub cpu: Duration,
    /// Peak, in bytes.
    pub memory: u64,
    /// Objects, Secrets and events that are not as they were.
    pub writes: usize,
    /// What it asked its store for.
    pub calls: Calls,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            wall,
            first,
            cpu,
            memory,
            restart,
        } = self;
        let megabytes = |bytes: u64| bytes / 1_000_000;
        write!(
            f,
            "{wall:.2?} (first {first:.2?}), CPU {cpu:.2?}, {} MB",
            megabytes(*memory)
        )?;
        if let Some(Restart {
            wall,
            cpu,
            memory,
            writes,
            calls,
        }) = restart
        {
            write!(
                f,
                "; restart {wall:.2?}, CPU {cpu:.2?}, {} MB",
                megabytes(*memory)
            )?;
            write!(f, ", {writes} writes")?;
            if calls.total() > 0 {
                write!(f, ", {calls}")?;
            }
        }
        Ok(())
    }
}

/// Runs a contestant on a load; a second time over what the first has made if `restart`.
pub async fn trial(contestant: &dyn Contestant, load: Load, restart: bool) -> Result<Outcome> {
    progress(format_args!(
        "  {}: starting a control plane",
        contestant.name()
    ));
    let plane = Plane::start().await?;
    contestant.install(&plane)?;
    let collection = contestant.collection().path(NAMESPACE);
    if load.way == Way::Merged {
        let theirs = (0..load.objects).map(|number| theirs(number, contestant.consent(number)));
        plane.create(&core("secrets"), theirs.collect()).await?;
    }
    plane
        .create(&collection, contestant.objects(&plane, load)?)
        .await?;
    let until = Until::True(contestant.condition());
    let observer = Observer::start(&plane.client, &collection, load.objects, until).await?;

    progress(format_args!("  {}: working", contestant.name()));
    let mut process = contestant.start(&plane)?;
    let start = Instant::now();
    let seen = observer.finish(PATIENCE).await?;
    quiet(&mut process, start).await?;
    let cpu = process_cpu(process.id())?;
    let memory = peak_memory(process.id())?;
    stop(&mut process)?;
    let before = State::read(&plane, &collection).await?;
    if before.secrets.len() != load.objects {
        let found = before.secrets.len();
        return Err(format!("{found} Secrets for {} objects", load.objects).into());
    }
    let mut outcome = Outcome {
        wall: seen.last - start,
        first: seen.first - start,
        cpu,
        memory,
        restart: None,
    };
    if restart {
        progress(format_args!("  {}: restarting", contestant.name()));
        let calls = contestant.calls()?;
        let mut process = contestant.start(&plane)?;
        let start = Instant::now();
        let told = in_sync(contestant, &mut process, load, start).await?;
        let last_work = quiet(&mut process, start).await?;
        let (cpu, memory) = (process_cpu(process.id())?, peak_memory(process.id())?);
        stop(&mut process)?;
        let writes = State::read(&plane, &collection).await?.differences(&before);
        let calls = contestant.calls()? - calls;
        let wall = told.unwrap_or(last_work);
        outcome.restart = Some(Restart {
            wall,
            cpu,
            memory,
            writes,
            calls,
        });
    }
    Ok(outcome)
}

/// A Secret of somebody else, with the annotation that lets a contestant add to it.
fn theirs(number: usize, (annotation, value): (&str, String)) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": Load::name(number),
            "namespace": NAMESPACE,
            "annotations": {annotation: value},
        },
        "data": {"theirs": "a2VwdA=="},
    })
}

/// Waits until the program says that all objects are in sync, if it is one that says so.
async fn in_sync(
    contestant: &dyn Contestant,
    process: &mut Process,
    load: Load,
    start: Instant,
) -> Result<Option<Duration>> {
    if contestant.in_sync().is_none() {
        // It tells nothing, or not yet: once it runs it may.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    while let Some(objects) = contestant.in_sync() {
        if objects == load.objects {
            return Ok(Some(start.elapsed()));
        }
        if !process.is_running() || start.elapsed() > PATIENCE {
            return Err(format!("only {objects} objects were in sync after the restart").into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(None)
}

/// Waits until the program has no work, and returns when it last had some.
pub async fn quiet(process: &mut Process, start: Instant) -> Result<Duration> {
    let mut last_work = (Instant::now(), process_cpu(process.id())?);
    while last_work.0.elapsed() < QUIET {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if !process.is_running() {
            return Err(format!("it ended, see {}", process.log_path().display()).into());
        }
        let cpu = process_cpu(process.id())?;
        if cpu.saturating_sub(last_work.1) > IDLE {
            last_work = (Instant::now(), cpu);
        }
        if start.elapsed() > PATIENCE {
            return Err("it does not come to rest".into());
        }
    }
    Ok(last_work.0.duration_since(start))
}

/// Asks a program to stop, and waits for it.
pub fn stop(process: &mut Process) -> Result<()> {
    process.signal("TERM")?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while process.is_running() {
        if Instant::now() > deadline {
            process.kill()?;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The resourceVersions of everything that a contestant may write.
struct State {
    objects: BTreeMap<String, String>,
    secrets: BTreeMap<String, String>,
    events: BTreeMap<String, String>,
}

impl State {
    async fn read(plane: &Plane, collection: &str) -> Result<Self> {
        Ok(Self {
            objects: plane.versions(collection).await?,
            secrets: plane.versions(&core("secrets")).await?,
            events: plane.versions(&core("events")).await?,
        })
    }

    fn differences(&self, before: &Self) -> usize {
        [
            (&self.objects, &before.objects),
            (&self.secrets, &before.secrets),
            (&self.events, &before.events),
        ]
        .into_iter()
        .map(|(now, then)| {
            now.iter()
                .filter(|(name, version)| then.get(*name) != Some(*version))
                .count()
        })
        .sum()
    }
}
