//! Wall time of the command line, against kubeseal with the same input.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use sealkit_core::keys::{Identity, KeyType};

use crate::binaries::{self, Binaries, Peers};
use crate::clock::{median, wall_of};
use crate::report::{Figure, Target};
use crate::{Result, progress};

const PART: &str = "Command line";
/// Documents of the long stream.
const MANIFESTS: usize = 1_000;

/// Measures start-up, one Secret, and a stream of many.
pub fn run(runs: usize, ours: &Binaries, peers: &Peers) -> Result<Vec<Figure>> {
    progress(format_args!("command line, {runs} alternating starts each"));
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    let identity = Identity::generate(KeyType::Hybrid);
    fs::write(at("cluster.pub"), format!("{}\n", identity.recipient()))?;
    let certificate = binaries::run(Command::new(&peers.rsa).arg("cert"))?;
    fs::write(at("cluster.pem"), certificate)?;
    fs::write(at("secret.yaml"), secret(0))?;
    let stream: Vec<String> = (0..MANIFESTS).map(secret).collect();
    fs::write(at("stream.yaml"), stream.join("---\n"))?;

    let seal = |arguments: &[&str], input: Option<&str>| {
        start(
            &ours.seal,
            arguments,
            input.map(at).as_deref(),
            folder.path(),
        )
    };
    let kubeseal = |arguments: &[&str], input: Option<&str>| {
        start(
            &peers.kubeseal,
            arguments,
            input.map(at).as_deref(),
            folder.path(),
        )
    };
    let versions = alternate(
        runs,
        || seal(&["version"], None),
        || kubeseal(&["--version"], None),
    )?;
    let sealing = ["-R", "cluster.pub"];
    let theirs = ["--cert", "cluster.pem", "--format", "yaml"];
    let sealed = alternate(
        runs,
        || seal(&sealing, Some("secret.yaml")),
        || kubeseal(&theirs, Some("secret.yaml")),
    )?;
    let streams = (0..runs.div_ceil(10).max(3))
        .map(|_| wall_of(|| seal(&sealing, Some("stream.yaml"))))
        .collect::<Result<Vec<_>>>()?;

    let share = Some(Target::AtMostShare(0.75));
    let against = |what: &str, (ours, theirs): (Duration, Duration)| {
        Figure::against(PART, what, ours.into(), theirs.into(), share)
    };
    let one_by_one = sealed.1 * u32::try_from(MANIFESTS)?;
    Ok(vec![
        against("`seal version`, wall", versions),
        against("sealing a Secret of two values, wall", sealed),
        Figure::against(
            PART,
            format!(
                "sealing {MANIFESTS} manifests of two values in one call, wall, against as many calls"
            ),
            median(streams).into(),
            one_by_one.into(),
            Some(Target::AtMostShare(0.05)),
        ),
    ])
}

/// Medians of both, run by turns.
fn alternate(
    runs: usize,
    ours: impl Fn() -> Result<()>,
    theirs: impl Fn() -> Result<()>,
) -> Result<(Duration, Duration)> {
    // Both programs are in the page cache after this.
    ours()?;
    theirs()?;
    let mut times = (Vec::new(), Vec::new());
    for _ in 0..runs {
        times.0.push(wall_of(&ours)?);
        times.1.push(wall_of(&theirs)?);
    }
    Ok((median(times.0), median(times.1)))
}

fn start(program: &Path, arguments: &[&str], input: Option<&Path>, folder: &Path) -> Result<()> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder);
    // Neither a cluster nor settings of the user.
    command.env_clear().env("HOME", folder);
    command.stdin(match input {
        Some(path) => Stdio::from(File::open(path)?),
        None => Stdio::null(),
    });
    // A file: a null device would hide the cost of writing.
    let output = folder.join("output");
    command
        .stdout(File::create(&output)?)
        .stderr(File::create(folder.join("errors"))?);
    let status = command
        .status()
        .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    if !status.success() || fs::metadata(&output)?.len() == 0 {
        let errors = fs::read_to_string(folder.join("errors")).unwrap_or_default();
        return Err(format!("{} failed ({status}): {errors}", program.display()).into());
    }
    Ok(())
}

fn secret(number: usize) -> String {
    let mut text = String::new();
    // Writing into memory cannot fail.
    let _ = write!(
        text,
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: object-{number:05}\n  namespace: bench\n\
         stringData:\n  username: user-{number}\n  password: correct horse battery staple {number}\n"
    );
    text
}
