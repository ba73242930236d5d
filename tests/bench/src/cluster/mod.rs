//! The controller: against that of Sealed Secrets and a bare client, each on a fresh control plane.

mod bare;
mod contestant;
mod delivery;
mod external;
mod flood;
mod observer;
mod ours;
mod peer;
mod plane;
mod trial;

use std::time::Duration;

use crate::binaries::{Binaries, Peers};
use crate::clock::median;
use crate::report::{Figure, Quantity, Target};
use crate::{Result, Scale, progress};

pub use bare::{BareArguments, run as bare};
use contestant::Contestant;
pub use external::{record_left, run as external, taken_over};
pub use ours::{Ours, recipient as newest_recipient};
pub use peer::{SYSTEM as PEER_SYSTEM, SealedSecrets};
pub use plane::{METADATA_ONLY, NAMESPACE, Plane};
use trial::{Load, Outcome, Restart, Way, trial};

const RESTART_CPU: Duration = Duration::from_secs(2);
const MEMORY: u64 = 120_000_000;
/// How soon the Secret of a good object is there, whatever else is.
const GOOD_WITHIN: Duration = Duration::from_secs(1);

/// Speed and CPU on loads A and B, and restarts over objects in sync.
pub fn speed(scale: &Scale, ours: &Binaries, peers: &Peers) -> Result<Vec<Figure>> {
    let a = Load {
        objects: scale.objects,
        values: 1,
        recipients: 1,
        way: Way::Owned,
    };
    let b = Load {
        objects: scale.objects.div_ceil(4),
        values: 10,
        recipients: 1,
        way: Way::Owned,
    };
    let mut figures = on_load("Controller, load A", a, 8.0, scale.rounds, ours, peers)?;
    figures.extend(on_load(
        "Controller, load B",
        b,
        60.0,
        scale.rounds,
        ours,
        peers,
    )?);
    for way in [Way::Templated, Way::Merged] {
        let load = Load {
            objects: scale.objects.div_ceil(16),
            values: 10,
            recipients: 1,
            way,
        };
        figures.extend(in_other_ways(load, ours, peers)?);
    }
    Ok(figures)
}

/// How long a good object waits for bad ones.
pub fn hostile(scale: &Scale, ours: &Binaries, peers: &Peers) -> Result<Vec<Figure>> {
    const PART: &str = "Controller, hostile load";
    let bad = scale.objects.div_ceil(2);
    let what = format!(
        "a good object amid {bad} of another namespace that cannot be opened: from its creation to its Secret, against Sealed Secrets at its defaults (waited for {} s at most)",
        flood::PATIENCE.as_secs()
    );
    progress(format_args!("{PART}: {bad} objects that cannot be opened"));
    let delay = |contestant: &dyn Contestant| runtime()?.block_on(flood::delay(contestant, bad));
    let (ours, peer) = (
        delay(&Ours::controller(ours))?,
        delay(&SealedSecrets::at_its_defaults(peers))?,
    );
    let limit = Some(Target::AtMost(GOOD_WITHIN.into()));
    let figure = Figure::against(PART, what, ours.into(), peer.into(), limit);
    Ok(vec![figure])
}

/// What a pipeline waits for.
pub fn delivery(scale: &Scale, ours: &Binaries) -> Result<Vec<Figure>> {
    runtime()?.block_on(delivery::run(scale, ours))
}

/// Templates and merging, one round each.
fn in_other_ways(load: Load, ours: &Binaries, peers: &Peers) -> Result<Vec<Figure>> {
    const PART: &str = "Controller, templates and merging";
    progress(format_args!("{PART}: {load}"));
    let ours = attempt(&Ours::controller(ours), load, true)?;
    let peer = attempt(&SealedSecrets::new(peers), load, false)?;
    let mut figures = vec![
        Figure::against(
            PART,
            format!("{load}: CPU, against Sealed Secrets"),
            ours.cpu.into(),
            peer.cpu.into(),
            None,
        ),
        Figure::against(PART, "wall", ours.wall.into(), peer.wall.into(), None),
    ];
    if let Some(restart) = ours.restart {
        let (writes, zero) = (Quantity::Count(restart.writes), Quantity::Count(0));
        figures.push(Figure::limited(PART, "restart: writes", writes, zero));
    }
    Ok(figures)
}

fn on_load(
    part: &'static str,
    load: Load,
    times_less: f64,
    rounds: usize,
    ours: &Binaries,
    peers: &Peers,
) -> Result<Vec<Figure>> {
    let mut controller = Vec::new();
    let mut bare = Vec::new();
    for round in 1..=rounds.max(1) {
        progress(format_args!("{part}: {load}, round {round}"));
        controller.push(attempt(&Ours::controller(ours), load, true)?);
        bare.push(attempt(&Ours::bare_client()?, load, false)?);
    }
    progress(format_args!("{part}: {load}, Sealed Secrets"));
    let peer = attempt(&SealedSecrets::new(peers), load, true)?;

    let wall = |outcome: &Outcome| outcome.wall;
    let cpu = |outcome: &Outcome| outcome.cpu;
    let speed = |wall: Duration| Quantity::PerSecond(f64::from(load.count()) / wall.as_secs_f64());
    let limit = |count| Some(Target::AtMost(Quantity::Count(count)));
    let mut figures = vec![
        Figure::against(
            part,
            format!("{load}: CPU, against Sealed Secrets"),
            median_of(&controller, cpu).into(),
            peer.cpu.into(),
            Some(Target::TimesLess(times_less)),
        ),
        Figure::against(
            part,
            "objects a second, against the bare client",
            speed(median_of(&controller, wall)),
            speed(median_of(&bare, wall)),
            Some(Target::AtLeastShare(0.85)),
        ),
        Figure::against(
            part,
            "CPU, against the bare client",
            median_of(&controller, cpu).into(),
            median_of(&bare, cpu).into(),
            None,
        ),
        Figure::against(
            part,
            "wall, against Sealed Secrets",
            median_of(&controller, wall).into(),
            peer.wall.into(),
            None,
        ),
        Figure::against(
            part,
            "from start to the first status, against the bare client",
            median_of(&controller, |outcome| outcome.first).into(),
            median_of(&bare, |outcome| outcome.first).into(),
            None,
        ),
        Figure::against(
            part,
            "peak memory, against Sealed Secrets",
            Quantity::Bytes(highest(&controller, |outcome| outcome.memory)),
            Quantity::Bytes(peer.memory),
            None,
        ),
    ];
    let restarts: Vec<&Restart> = controller
        .iter()
        .filter_map(|o| o.restart.as_ref())
        .collect();
    if let Some(theirs) = peer.restart {
        let cpu = median_of(&restarts, |restart| restart.cpu);
        let wall = median_of(&restarts, |restart| restart.wall);
        let writes = highest(&restarts, |restart| restart.writes);
        let at_most = Some(Target::AtMost(RESTART_CPU.into()));
        let what = "restart over objects in sync: CPU, against Sealed Secrets";
        figures.extend([
            Figure::against(part, what, cpu.into(), theirs.cpu.into(), at_most),
            Figure::against(part, "restart: wall", wall.into(), theirs.wall.into(), None),
            Figure::against(
                part,
                "restart: writes",
                Quantity::Count(writes),
                Quantity::Count(theirs.writes),
                limit(0),
            ),
        ]);
    }
    Ok(figures)
}

/// Peak memory with many objects, at the first sync and after a restart.
pub fn memory(scale: &Scale, ours: &Binaries) -> Result<Vec<Figure>> {
    const PART: &str = "Controller, memory";
    let load = Load {
        objects: scale.objects * 5 / 2,
        values: 1,
        recipients: 2,
        way: Way::Owned,
    };
    progress(format_args!("{PART}: {load}"));
    let outcome = attempt(&Ours::controller(ours), load, true)?;
    let limit = Quantity::Bytes(MEMORY);
    let what = format!("{load}: peak of the first sync");
    let mut figures = vec![Figure::limited(
        PART,
        what,
        Quantity::Bytes(outcome.memory),
        limit,
    )];
    if let Some(restart) = &outcome.restart {
        let what = "peak after a restart over objects in sync";
        let peak = Quantity::Bytes(restart.memory);
        figures.push(Figure::limited(PART, what, peak, limit));
        figures.push(Figure::note(PART, "restart: CPU", restart.cpu.into()));
        let writes = Quantity::Count(restart.writes);
        figures.push(Figure::limited(
            PART,
            "restart: writes",
            writes,
            Quantity::Count(0),
        ));
    }
    figures.push(Figure::note(PART, "first sync: wall", outcome.wall.into()));
    figures.extend(growth(scale, ours, &outcome)?);
    Ok(figures)
}

/// CPU and memory for an object, with a tenth of the objects and with all.
fn growth(scale: &Scale, ours: &Binaries, many: &Outcome) -> Result<Vec<Figure>> {
    const PART: &str = "Controller, growth from a tenth of the objects to all";
    let all = scale.objects * 5 / 2;
    let load = Load {
        objects: all.div_ceil(10),
        values: 1,
        recipients: 2,
        way: Way::Owned,
    };
    progress(format_args!("{PART}: {load}"));
    let few = attempt(&Ours::controller(ours), load, false)?;
    let one = Load { objects: 1, ..load };
    let none = attempt(&Ours::controller(ours), one, false)?;
    // What a start costs is no growth.
    let cpu = |outcome: &Outcome, count: u32| outcome.cpu.saturating_sub(none.cpu) / count;
    let bytes = |outcome: &Outcome, count: u32| {
        Quantity::Bytes(outcome.memory.saturating_sub(none.memory) / u64::from(count))
    };
    let (few_count, all_count) = (
        load.count(),
        Load {
            objects: all,
            ..load
        }
        .count(),
    );
    let flat = Some(Target::AtMostShare(1.2));
    Ok(vec![
        Figure::against(
            PART,
            format!("CPU an object, {all} objects against {}", load.objects),
            cpu(many, all_count).into(),
            cpu(&few, few_count).into(),
            flat,
        ),
        Figure::against(
            PART,
            format!(
                "peak memory an object, {all} objects against {}",
                load.objects
            ),
            bytes(many, all_count),
            bytes(&few, few_count),
            flat,
        ),
    ])
}

/// The median over rounds.
fn median_of<T>(rounds: &[T], what: impl Fn(&T) -> Duration) -> Duration {
    median(rounds.iter().map(what).collect())
}

/// The most in any round.
fn highest<T, N: Ord + Default>(rounds: &[T], what: impl Fn(&T) -> N) -> N {
    rounds.iter().map(what).max().unwrap_or_default()
}

/// One trial in its own runtime.
fn attempt(contestant: &dyn Contestant, load: Load, restart: bool) -> Result<Outcome> {
    let outcome = runtime()?.block_on(trial(contestant, load, restart))?;
    progress(format_args!("  {}: {outcome}", contestant.name()));
    Ok(outcome)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}
