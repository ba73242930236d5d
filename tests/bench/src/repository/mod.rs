//! A rotation over a repository: `seal reseal` on many files, against the bare cryptography of the
//! same files; and `seal set` in a long one.

mod exposure;
mod lint;
mod peers;
mod through_cluster;

pub use through_cluster::run as rewrap;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sealkit_core::api::{EnvelopeSpec, SealedSecret, SealedSecretSpec};
use sealkit_core::keys::{Identity, KeyRing, KeyType, Recipient, RecipientSet};
use sealkit_core::manifest::{read_documents, to_yaml};
use sealkit_core::sealed::{Context, Scope, SealedObject, Search, seal, unwrap};
use zeroize::Zeroizing;

use crate::binaries::{Binaries, Peers};
use crate::clock::{median, peak_memory, wall_of};
use crate::report::{Figure, Quantity, Target};
use crate::{Result, progress};

const PART: &str = "Repository";
/// Files of one folder.
const FOLDER: usize = 500;
/// Values of one object.
const VALUES: usize = 5;
/// Lines of the long file.
const LINES: usize = 10_000;

/// Measures rotations over so many files, and changing one value of a long file.
pub fn run(files: usize, runs: usize, ours: &Binaries, peers: &Peers) -> Result<Vec<Figure>> {
    let mut figures = offline(files, runs, ours, peers)?;
    figures.extend(peers::run(files.div_ceil(10), ours, peers)?);
    figures.extend(exposure::run(files, files.div_ceil(10), ours)?);
    figures.extend(lint::run(files, runs, ours)?);
    Ok(figures)
}

fn offline(files: usize, runs: usize, ours: &Binaries, peers: &Peers) -> Result<Vec<Figure>> {
    progress(format_args!(
        "Repository: {files} files of one envelope, 2 recipients, {VALUES} values"
    ));
    let generate = || Identity::generate(KeyType::Hybrid);
    let (old, new, recovery) = (generate(), generate(), generate());
    let tree = Tree::new(files, old.recipient(), recovery.recipient())?;
    let root = &tree.root;
    let write_key = |name: &str, key: &Recipient| tree.write_key(name, key);
    tree.write_recovery(&recovery)?;
    let after = RecipientSet::new([new.recipient().clone(), recovery.recipient().clone()])?;
    let objects = tree.objects()?;

    progress("  the cryptography alone, on all cores");
    let ring = KeyRing::new([recovery.clone()])?;
    let alone = wall_of(|| rewrap_all(&objects, &ring, &after))?;
    drop(objects);

    let seal = |arguments: &[&str]| start(&ours.seal, arguments, root, None, 0);
    progress("  seal reseal");
    write_key("cluster.pub", new.recipient())?;
    let (reseal, memory) = seal(&[
        "reseal",
        "-q",
        "-i",
        "../recovery.key",
        "--accept-recipients",
    ])?;
    let mut checks = Vec::new();
    for _ in 0..runs.div_ceil(10).max(3) {
        checks.push(seal(&["reseal", "--check"])?.0);
    }
    let again = seal(&[
        "reseal",
        "-q",
        "-i",
        "../recovery.key",
        "--accept-recipients",
    ])?
    .0;

    progress("  seal set in a long file");
    let (lines, keys) = long_file(&root.join("long.yaml"), &after)?;
    fs::write(root.join("value"), "new")?;
    let set = [
        "set",
        "-q",
        "long.yaml",
        "--name",
        "object-00100",
        "key-0=@value",
    ];
    let mut sets = Vec::new();
    for _ in 0..runs.max(3) {
        sets.push(seal(&set)?.0);
    }
    let sops_set = peers::set(keys, runs.div_ceil(10).max(3), peers)?;
    let what = |text: &str| format!("{files} files: {text}");
    Ok(vec![
        Figure::against(
            PART,
            what("`seal reseal` offline, wall, against its cryptography alone on all cores"),
            reseal.into(),
            alone.into(),
            Some(Target::AtMostShare(3.0)),
        ),
        Figure::limited(
            PART,
            what("`seal reseal`, peak memory"),
            memory,
            Quantity::Bytes(100_000_000),
        ),
        Figure::against(
            PART,
            what("`seal reseal --check` of a current tree, wall, against the same cryptography"),
            median(checks).into(),
            alone.into(),
            Some(Target::AtMostShare(0.5)),
        ),
        Figure::note(
            PART,
            what("`seal reseal` that finds nothing to do but opens all, wall"),
            again.into(),
        ),
        Figure::against(
            PART,
            format!(
                "`seal set` in a file of {lines} lines, wall, against `sops set` in one of as many keys ({keys})"
            ),
            median(sets).into(),
            sops_set.into(),
            Some(Target::AtMostShare(1.0 / 3.0)),
        ),
    ])
}

/// A repository whose files are for one cluster and a recovery key.
struct Tree {
    /// Goes with the tree.
    _folder: tempfile::TempDir,
    root: PathBuf,
}

impl Tree {
    fn new(files: usize, cluster: &Recipient, recovery: &Recipient) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let root = folder.path().join("repository");
        fs::create_dir_all(root.join(".git"))?;
        let tree = Self {
            root,
            _folder: folder,
        };
        tree.write_key("recovery.pub", recovery)?;
        tree.write_key("cluster.pub", cluster)?;
        let config = "version: 1\nclusters:\n  production: {recipients: [cluster.pub]}\nrecovery: [recovery.pub]\n";
        fs::write(tree.root.join(".sealkit.yaml"), config)?;
        let to = RecipientSet::new([cluster.clone(), recovery.clone()])?;
        for index in 0..files {
            let name = format!("object-{index:05}");
            let folder = tree.root.join(format!("part-{:03}", index / FOLDER));
            fs::create_dir_all(&folder)?;
            let text = to_yaml(&[&object(&name, VALUES, &to)?])?;
            fs::write(folder.join(format!("{name}.sealed.yaml")), text)?;
        }
        Ok(tree)
    }

    fn write_key(&self, name: &str, key: &Recipient) -> Result<()> {
        Ok(fs::write(self.root.join(name), format!("{key}\n"))?)
    }

    /// The private recovery key, beside the repository.
    fn write_recovery(&self, key: &Identity) -> Result<()> {
        let text = format!("{}\n", key.to_secret_text().as_str());
        Ok(fs::write(self.root.join("../recovery.key"), text)?)
    }

    /// All objects, parsed.
    fn objects(&self) -> Result<Vec<SealedObject>> {
        let mut objects = Vec::new();
        for part in fs::read_dir(&self.root)? {
            let part = part?.path();
            if !part.is_dir() || part.ends_with(".git") {
                continue;
            }
            for file in fs::read_dir(part)? {
                for document in read_documents(&fs::read(file?.path())?)? {
                    objects.push(SealedObject::parse(&document.object)?);
                }
            }
        }
        Ok(objects)
    }
}

/// What a reseal cannot do without: opening and sealing each envelope.
fn rewrap_all(objects: &[SealedObject], ring: &KeyRing, to: &RecipientSet) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let part = objects.len().div_ceil(cores).max(1);
    std::thread::scope(|scope| {
        let threads: Vec<_> = objects
            .chunks(part)
            .map(|objects| {
                scope.spawn(move || -> Result<()> {
                    for object in objects {
                        for one in unwrap(object, ring, Search::Hinted)?.into_values() {
                            one.seal_to(to)?;
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        for thread in threads {
            thread.join().map_err(|_| "a thread panicked")??;
        }
        Ok(())
    })
}

fn object(name: &str, values: usize, to: &RecipientSet) -> Result<SealedSecret> {
    let values: BTreeMap<String, Zeroizing<Vec<u8>>> = (0..values)
        .map(|index| {
            let value = format!("correct horse battery staple {index}");
            (format!("key-{index}"), Zeroizing::new(value.into_bytes()))
        })
        .collect();
    let sealed = seal(
        &values,
        &Context::new(Scope::Strict, "bench", name)?,
        to,
        false,
    )?;
    let envelope = EnvelopeSpec {
        recipients: sealed.envelope.recipients,
        age_file: sealed.envelope.age_file,
    };
    let mut object = SealedSecret::new(
        name,
        SealedSecretSpec {
            envelopes: [(sealed.id.to_string(), envelope)].into(),
            encrypted_data: sealed.values,
            ..SealedSecretSpec::default()
        },
    );
    object.metadata.namespace = Some("bench".to_owned());
    Ok(object)
}

/// A stream of objects; returns how many lines and keys it has.
fn long_file(path: &Path, to: &RecipientSet) -> Result<(usize, usize)> {
    let mut text = String::new();
    let mut index = 0;
    while text.matches('\n').count() < LINES {
        let object = object(&format!("object-{index:05}"), VALUES * 3, to)?;
        write!(
            text,
            "---\n# object number {index}\n{}",
            to_yaml(&[&object])?
        )?;
        index += 1;
    }
    fs::write(path, &text)?;
    Ok((text.matches('\n').count(), index * VALUES * 3))
}

/// Wall time and peak memory of one run that ends with this exit code.
fn start(
    program: &Path,
    arguments: &[&str],
    folder: &Path,
    kubeconfig: Option<&Path>,
    code: i32,
) -> Result<(Duration, Quantity)> {
    let errors = folder.join("../errors");
    let start = Instant::now();
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .envs(kubeconfig.map(|path| ("KUBECONFIG", path)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&errors)?)
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    let mut peak = 0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        // The process may end in between.
        peak = peak_memory(child.id()).unwrap_or_default().max(peak);
        std::thread::sleep(Duration::from_millis(1));
    };
    let wall = start.elapsed();
    if status.code() != Some(code) {
        let errors = fs::read_to_string(errors).unwrap_or_default();
        return Err(format!("seal {arguments:?} failed ({status}): {errors}").into());
    }
    Ok((wall, Quantity::Bytes(peak)))
}
