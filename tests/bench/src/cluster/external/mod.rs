//! ExternalSecrets over a real OpenBao: against External Secrets Operator and a bare client.

mod calls;
mod contestant;
mod fresh;
mod left;
mod take_over;
mod vault;

use std::time::Duration;

use super::trial::{Load, Outcome, Way};
use super::{attempt, highest, median_of, runtime};
use crate::binaries::{Binaries, ExternalSecretsOperator};
use crate::clock::percentile;
use crate::report::{Figure, Quantity, Target};
use crate::{Result, Scale, progress};
use contestant::External;
pub use vault::Calls;
use vault::Vault;

/// Values in each key, and entries of `data` in each object.
const VALUES: usize = 2;
/// So long that no object is due before a trial ends.
const NEVER_DUE: &str = "720h";
const MEMORY: u64 = 100_000_000;
/// How soon the Secret of a new object is there, whatever else is due.
const NEW_WITHIN: Duration = Duration::from_secs(2);

/// All figures; those against the peer only if there is one.
pub fn run(
    scale: &Scale,
    ours: &Binaries,
    peer: Option<&ExternalSecretsOperator>,
) -> Result<Vec<Figure>> {
    let mut figures = calls(scale, ours, peer)?;
    figures.extend(speed(scale, ours, peer)?);
    figures.extend(new_object(scale, ours, peer)?);
    Ok(figures)
}

/// How often the store is asked.
fn calls(
    scale: &Scale,
    ours: &Binaries,
    peer: Option<&ExternalSecretsOperator>,
) -> Result<Vec<Figure>> {
    const PART: &str = "ExternalSecrets, calls of the provider";
    let load = load(scale.objects.div_ceil(4));
    let keys = load.objects.div_ceil(10);
    progress(format_args!("{PART}: {load}, {keys} keys"));
    let vault = || Vault::start(keys, VALUES);
    let count = |external: External| runtime()?.block_on(calls::count(&external, load));
    let ours = count(External::ours(ours, vault()?, calls::INTERVAL))?;
    let peer = match peer {
        Some(peer) => Some(count(External::peer(peer, vault()?, calls::INTERVAL))?),
        None => None,
    };
    let at_most = |count| Some(Target::AtMost(Quantity::Count(count)));
    let figure = |what: &str, of: fn(&Calls, &Calls) -> usize, target| {
        let count = |(first, later): &(Calls, Calls)| Quantity::Count(of(first, later));
        against(PART, what, count(&ours), peer.as_ref().map(count), target)
    };
    let most = keys + keys.div_ceil(10);
    let objects = load.objects;
    Ok(vec![
        figure(
            &format!("{objects} objects of {VALUES} entries on {keys} keys, first sync: reads"),
            |first, _| first.reads,
            at_most(most),
        ),
        figure("first sync: logins", |first, _| first.logins, at_most(1)),
        figure(
            "first sync: look-ups of a token",
            |first, _| first.lookups,
            at_most(1),
        ),
        figure(
            "first sync: revocations",
            |first, _| first.revocations,
            None,
        ),
        figure(
            "a later interval: all calls",
            |_, later| later.total(),
            at_most(most),
        ),
        figure(
            "a later interval: what is no read",
            |_, later| later.around(),
            None,
        ),
    ])
}

/// A first sync, and a restart over what it made.
fn speed(
    scale: &Scale,
    ours: &Binaries,
    peer: Option<&ExternalSecretsOperator>,
) -> Result<Vec<Figure>> {
    const PART: &str = "ExternalSecrets, first sync and cold start";
    let load = load(scale.objects);
    let keys = load.objects.div_ceil(4);
    let vault = || Vault::start(keys, VALUES);
    let (mut controller, mut bare) = (Vec::new(), Vec::new());
    for round in 1..=scale.rounds.max(1) {
        progress(format_args!("{PART}: {load}, {keys} keys, round {round}"));
        let external = External::ours(ours, vault()?, NEVER_DUE);
        controller.push(attempt(&external, load, true)?);
        let external = External::bare_client(Vault::start(1, VALUES)?, NEVER_DUE)?;
        bare.push(attempt(&external, load, false)?);
    }
    let peer = match peer {
        Some(peer) => {
            let external = External::peer(peer, vault()?, NEVER_DUE);
            Some(attempt(&external, load, true)?)
        }
        None => None,
    };
    let mut figures = first_sync(PART, load, keys, &controller, &bare, peer.as_ref());
    figures.extend(cold_start(PART, &controller, peer.as_ref()));
    Ok(figures)
}

fn first_sync(
    part: &'static str,
    load: Load,
    keys: usize,
    controller: &[Outcome],
    bare: &[Outcome],
    peer: Option<&Outcome>,
) -> Vec<Figure> {
    let speed = |wall: Duration| Quantity::PerSecond(f64::from(load.count()) / wall.as_secs_f64());
    let wall = |outcome: &Outcome| outcome.wall;
    let cpu = |outcome: &Outcome| outcome.cpu;
    let peers = |of: fn(&Outcome) -> Quantity| peer.map(of);
    let memory = Target::AtMost(Quantity::Bytes(MEMORY));
    vec![
        Figure::against(
            part,
            format!("{load} on {keys} keys: objects a second, against the bare client"),
            speed(median_of(controller, wall)),
            speed(median_of(bare, wall)),
            Some(Target::AtLeastShare(0.85)),
        ),
        Figure::against(
            part,
            "CPU, against the bare client",
            median_of(controller, cpu).into(),
            median_of(bare, cpu).into(),
            None,
        ),
        against(
            part,
            "CPU, against External Secrets",
            median_of(controller, cpu).into(),
            peers(|peer| peer.cpu.into()),
            Some(Target::AtMostShare(0.25)),
        ),
        against(
            part,
            "wall, against External Secrets",
            median_of(controller, wall).into(),
            peers(|peer| peer.wall.into()),
            None,
        ),
        against(
            part,
            "peak memory, against External Secrets",
            Quantity::Bytes(highest(controller, |outcome| outcome.memory)),
            peers(|peer| Quantity::Bytes(peer.memory)),
            Some(memory),
        ),
    ]
}

fn cold_start(part: &'static str, controller: &[Outcome], peer: Option<&Outcome>) -> Vec<Figure> {
    let restarts: Vec<_> = controller
        .iter()
        .filter_map(|o| o.restart.as_ref())
        .collect();
    let theirs = peer.and_then(|peer| peer.restart.as_ref());
    let none = Some(Target::AtMost(Quantity::Count(0)));
    let memory = Some(Target::AtMost(Quantity::Bytes(MEMORY)));
    vec![
        against(
            part,
            "cold start over objects in sync and not due: reads of the provider",
            Quantity::Count(highest(&restarts, |restart| restart.calls.reads)),
            theirs.map(|theirs| Quantity::Count(theirs.calls.reads)),
            none,
        ),
        against(
            part,
            "cold start: other calls, which check the store",
            Quantity::Count(highest(&restarts, |restart| restart.calls.around())),
            theirs.map(|theirs| Quantity::Count(theirs.calls.around())),
            None,
        ),
        against(
            part,
            "cold start: writes",
            Quantity::Count(highest(&restarts, |restart| restart.writes)),
            theirs.map(|theirs| Quantity::Count(theirs.writes)),
            none,
        ),
        against(
            part,
            "cold start: CPU",
            median_of(&restarts, |restart| restart.cpu).into(),
            theirs.map(|theirs| theirs.cpu.into()),
            None,
        ),
        against(
            part,
            "cold start: peak memory",
            Quantity::Bytes(highest(&restarts, |restart| restart.memory)),
            theirs.map(|theirs| Quantity::Bytes(theirs.memory)),
            memory,
        ),
    ]
}

/// A new object while all others are due.
fn new_object(
    scale: &Scale,
    ours: &Binaries,
    peer: Option<&ExternalSecretsOperator>,
) -> Result<Vec<Figure>> {
    const PART: &str = "ExternalSecrets, a new object while all others are due";
    let load = load(scale.objects);
    progress(format_args!("{PART}: {load}"));
    let vault = || Vault::start(1, VALUES);
    let delays = |external: External| runtime()?.block_on(fresh::delays(&external, load));
    let ours = delays(External::ours(ours, vault()?, fresh::INTERVAL))?;
    let peer = match peer {
        Some(peer) => Some(delays(External::peer(peer, vault()?, fresh::INTERVAL))?),
        None => None,
    };
    let what = format!(
        "{} others: from the creation of a new object to its Secret, 99th percentile of {}",
        load.objects,
        ours.len()
    );
    let limit = Some(Target::AtMost(NEW_WITHIN.into()));
    let figure = |what: &str, share: usize, target| {
        let of = |delays: &Vec<Duration>| Quantity::from(percentile(delays, share));
        against(PART, what, of(&ours), peer.as_ref().map(of), target)
    };
    Ok(vec![
        figure(&what, 99, limit),
        figure("the same, median", 50, None),
    ])
}

/// Records what External Secrets leaves, for tests.
pub fn record_left(peer: &ExternalSecretsOperator, file: &std::path::Path) -> Result<()> {
    let peer = External::peer(peer, Vault::start(0, VALUES)?, NEVER_DUE);
    runtime()?.block_on(left::record(&peer, file))
}

/// What External Secrets left, taken over, and given back.
pub fn taken_over(
    scale: &Scale,
    ours: &Binaries,
    peer: &ExternalSecretsOperator,
) -> Result<Vec<Figure>> {
    const PART: &str = "ExternalSecrets, taken over from External Secrets";
    let load = load(scale.objects);
    let keys = load.objects.div_ceil(4);
    progress(format_args!("{PART}: {load}, {keys} keys"));
    let peer = External::peer(peer, Vault::start(keys, VALUES)?, take_over::INTERVAL);
    let (there, back) = runtime()?.block_on(take_over::swap(&peer, ours, load))?;
    let limited = |what: &str, measured: Quantity, limit: Quantity| {
        Figure::limited(PART, what, measured, limit)
    };
    let (count, none) = (Quantity::Count, Quantity::Count(0));
    Ok(vec![
        limited(
            &format!("{load} on {keys} keys: Secrets written"),
            count(there.secrets),
            none,
        ),
        limited("reads of the provider", count(there.calls.reads), none),
        limited("statuses that are not right", count(there.wrong), none),
        limited(
            "until all statuses are right",
            there.wall.into(),
            Duration::from_secs(15).into(),
        ),
        limited("CPU", there.cpu.into(), Duration::from_secs(3).into()),
        limited("going back: Secrets written", count(back.secrets), none),
        Figure::note(
            PART,
            "going back: reads of the provider by External Secrets",
            count(back.calls.reads),
        ),
        Figure::note(PART, "going back: CPU of External Secrets", back.cpu.into()),
    ])
}

/// Against the peer where it is to be had, else against the limit alone.
fn against(
    part: &'static str,
    what: &str,
    measured: Quantity,
    peer: Option<Quantity>,
    target: Option<Target>,
) -> Figure {
    match (peer, target) {
        (Some(peer), target) => Figure::against(part, what, measured, peer, target),
        (None, Some(Target::AtMost(limit))) => Figure::limited(part, what, measured, limit),
        (None, _) => Figure::note(
            part,
            format!("{what} (the peer is not to be had here)"),
            measured,
        ),
    }
}

fn load(objects: usize) -> Load {
    Load {
        objects,
        values: VALUES,
        recipients: 0,
        way: Way::Owned,
    }
}
