//! What can be wrong in a repository.

use std::path::Path;

use sealkit_core::lint::{FileKind, Rule, lint};
use sealkit_core::manifest::{INPUT_BYTES, read_documents};
use sealkit_core::sealed::SealedObject;

use super::Report;
use crate::args::GlobalArgs;
use crate::error::{CommandError, Result};
use crate::files;
use crate::files::tree::{Found, Tree};
use crate::git::command::git;
use crate::git::repository::Location;
use crate::git::setup::{MERGE_DRIVER, hook};
use crate::recipients::config::{Config, FILE_NAME};
use crate::recipients::wanted::Wanted;
use crate::terminal::{quoted, shown};

const PLACE: &str = "repository";
const CONFIG: &str = "repair .sealkit.yaml by hand; docs/seal.md shows an example";
/// How to repair a key file.
pub(super) const KEY_FILE: &str =
    "write the public key to it (`seal keys fetch -w FILE`), or remove the file from .sealkit.yaml";

/// Checks the current repository, and returns its config if that is valid.
pub(crate) fn observe(report: &mut Report, global: &GlobalArgs) -> Result<Option<Config>> {
    identity_files(report, global);
    let here = Location::of(Path::new("-"))?;
    let Some(root) = &here.root else {
        report.note(PLACE, "not a Git repository: only clusters are checked");
        return Ok(None);
    };
    if !root.join(FILE_NAME).exists() {
        let detail = format!("no {FILE_NAME}: nothing names the recipients of this repository");
        let mend = ["seal init --cluster NAME=CONTEXT --recovery-key FILE".to_owned()];
        report.trouble(PLACE, "NoConfig", detail, &mend);
        return Ok(None);
    }
    let config = match Config::load(root) {
        Ok(config) => config,
        Err(error) => {
            report.failed(PLACE, "BadConfig", &error, CONFIG);
            return Ok(None);
        }
    };
    keys(report, &config);
    drivers(report, root);
    private_keys(report, root);
    files_of(report, root)?;
    Ok(Some(config))
}

/// Private key files: only their owner may read them.
#[cfg(unix)]
fn identity_files(report: &mut Report, global: &GlobalArgs) {
    use std::os::unix::fs::PermissionsExt as _;
    for path in global.identities() {
        let Ok(metadata) = std::fs::metadata(path) else {
            continue;
        };
        // No bit for group and others.
        let mode = metadata.permissions().mode();
        let detail = || format!("other users may read {}", shown(path));
        let mend = [format!("chmod 600 {}", quoted(&path.to_string_lossy()))];
        report.check(
            "private key",
            mode.trailing_zeros() >= 6,
            "OpenKeyFile",
            detail,
            &mend,
        );
    }
}

#[cfg(not(unix))]
fn identity_files(_: &mut Report, _: &GlobalArgs) {}

fn keys(report: &mut Report, config: &Config) {
    let names: Vec<String> = config.cluster_names().map(str::to_owned).collect();
    for name in &names {
        match config.recipients(name) {
            Ok(_) => report.good += 1,
            Err(error) => report.failed(PLACE, "BadKeyFile", &error, KEY_FILE),
        }
    }
    match config.recovery() {
        Err(error) => report.failed(PLACE, "BadKeyFile", &error, KEY_FILE),
        Ok(keys) => {
            let detail =
                || "no recovery key: if the cluster loses its keys, every value is lost".to_owned();
            let mend = [
                "seal keys generate -w ~/recovery.key > .sealkit/recovery.pub".to_owned(),
                format!(
                    "add it to {FILE_NAME}: `recovery: [.sealkit/recovery.pub]`, then `seal reseal`"
                ),
            ];
            report.check(PLACE, !keys.is_empty(), "NoRecovery", detail, &mend);
        }
    }
}

/// Does this clone have the merge driver?
fn drivers(report: &mut Report, root: &Path) {
    let driver = git(root, &["config", "--get", "merge.sealkit.driver"]);
    let attributes = files::read_text(&root.join(".gitattributes"), files::SMALL_FILE);
    let named = attributes.is_ok_and(|text| text.contains("merge=sealkit"));
    let detail = || "this clone has no merge driver for SealedSecrets, or an old one".to_owned();
    let mend = ["seal git install".to_owned()];
    report.check(
        PLACE,
        matches!(driver, Some((0, text)) if text.trim() == MERGE_DRIVER) && named,
        "NoMergeDriver",
        detail,
        &mend,
    );
    if hook(root).is_none_or(|hook| !hook.is_ours) {
        report.note(
            PLACE,
            "no pre-commit hook checks commits: `seal git install` installs one",
        );
    }
    if git(root, &["rev-parse", "--is-shallow-repository"]) == Some((0, "true\n".to_owned())) {
        report.note(
            PLACE,
            "this is a shallow clone: `seal verify --base` and `seal keys exposure` need the whole history",
        );
    }
}

/// Private keys in files that Git has or would take.
fn private_keys(report: &mut Report, root: &Path) {
    let pattern = "AGE-SECRET-KEY-(PQ-)?1[0-9A-Z]{20}";
    // 1: nothing found.
    let Some((0 | 1, found)) = git(root, &["grep", "-lIE", "--untracked", pattern]) else {
        return report.note(PLACE, "Git cannot search the repository for private keys");
    };
    let mut files: Vec<&str> = found.lines().collect();
    let more = files.len().saturating_sub(5);
    files.truncate(5);
    let detail = || {
        let files: Vec<String> = files
            .iter()
            .map(|file| crate::terminal::safe(file))
            .collect();
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        format!(
            "the repository has a private key in {}{more}",
            files.join(", ")
        )
    };
    let mend = [
        "move it out of the repository".to_owned(),
        "if it was ever committed or copied, treat it as leaked: `seal keys exposure FINGERPRINT`"
            .to_owned(),
    ];
    report.check(PLACE, files.is_empty(), "PrivateKey", detail, &mend);
}

/// What files claim, against the rules of their paths.
fn files_of(report: &mut Report, root: &Path) -> Result<()> {
    let mut wanted = Wanted::default();
    let mut counts = Counts::default();
    let config = Config::load(root)?;
    for file in Tree::below(&[root.to_owned()])?.files {
        let path = file.place.real.strip_prefix(config.root());
        if path.is_ok_and(|path| config.ignores(path)) {
            continue;
        }
        if is_nested_config(&file, root) {
            let detail = format!("a second config: {}", shown(&file.place.given));
            let mend = [format!(
                "move its rules to {}",
                shown(&root.join(FILE_NAME))
            )];
            report.trouble(PLACE, "NestedConfig", detail, &mend);
            continue;
        }
        match files::read(&file.place.given, INPUT_BYTES) {
            Ok(bytes) => counts.take_in(&file, &bytes, &mut wanted),
            Err(error) => report.note(PLACE, &format!("not checked: {error}")),
        }
    }
    counts.report(report);
    Ok(())
}

/// Secrets that anybody who can read the repository can read.
fn plain_secrets(report: &mut Report, files: &[String]) {
    let named: Vec<&str> = files.iter().take(5).map(String::as_str).collect();
    let more = files.len().saturating_sub(named.len());
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let mend = [
        "seal lint                                   # shows them".to_owned(),
        "seal -f FILE -w FILE                        # seals a file in place".to_owned(),
        "if they were ever committed, change the values where they are used and `seal set` the new ones: Git's history keeps the old ones".to_owned(),
    ];
    report.check(
        PLACE,
        files.is_empty(),
        "PlaintextSecret",
        || format!("Secrets in plain text in {}{more}", named.join(", ")),
        &mend,
    );
}

fn is_nested_config(file: &Found, root: &Path) -> bool {
    let real = &file.place.real;
    real.file_name().is_some_and(|name| name == FILE_NAME) && real.parent() != Some(root)
}

/// SealedSecrets, by what is right or wrong with them.
#[derive(Default)]
struct Counts {
    good: usize,
    /// Sealed to others than their path is for.
    stale: usize,
    /// Where no rule speaks of their path.
    ruleless: usize,
    /// Malformed: no key opens them.
    broken: usize,
    /// Files with Secrets in plain text.
    plain: Vec<String>,
    first_error: Option<CommandError>,
}

impl Counts {
    fn take_in(&mut self, file: &Found, bytes: &[u8], wanted: &mut Wanted) {
        let documents = read_documents(bytes).unwrap_or_default();
        let found = lint(bytes, FileKind::Manifest, &|_| None).findings;
        if found
            .iter()
            .any(|finding| finding.rule == Rule::PlaintextSecret)
        {
            self.plain.push(shown(&file.place.given));
        }
        for document in documents
            .iter()
            .filter(|document| document.is_sealed_secret())
        {
            let Ok(object) = SealedObject::parse(&document.object) else {
                self.broken += 1;
                continue;
            };
            match wanted.at(&file.place) {
                Err(error) => {
                    self.first_error.get_or_insert(error);
                }
                Ok(None) => self.ruleless += 1,
                Ok(Some(chosen)) => {
                    let to = chosen.set.fingerprints();
                    if object.hints().any(|(_, hints)| hints != to) {
                        self.stale += 1;
                    } else {
                        self.good += 1;
                    }
                }
            }
        }
    }

    fn report(self, report: &mut Report) {
        let Self {
            good,
            stale,
            ruleless,
            broken,
            plain,
            first_error,
        } = self;
        plain_secrets(report, &plain);
        report.good += usize::from(good > 0);
        // Errors for every file beside a second config, and for every one that a key is for.
        let is_known = report.has("NestedConfig") || report.has("BadKeyFile");
        if let Some(error) = first_error.filter(|_| !is_known) {
            report.failed(PLACE, "BadRule", &error, CONFIG);
        }
        let check = ["seal reseal --check".to_owned()];
        let reseal = ["seal reseal --context NAME (or -i RECOVERY_KEY)".to_owned()];
        report.check(
            PLACE,
            stale == 0,
            "NeedsReseal",
            || format!("{stale} SealedSecrets are not sealed to the recipients that their paths require"),
            &reseal,
        );
        report.check(
            PLACE,
            ruleless == 0,
            "NoRule",
            || format!("no rule of {FILE_NAME} covers the paths of {ruleless} SealedSecrets"),
            &check,
        );
        let verify = ["seal verify".to_owned()];
        report.check(
            PLACE,
            broken == 0,
            "Broken",
            || format!("{broken} SealedSecrets are malformed and cannot be opened"),
            &verify,
        );
    }
}
