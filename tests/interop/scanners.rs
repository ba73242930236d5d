//! Scanners for secrets find nothing in what belongs in Git. Sealed text is public, and a scanner
//! that flags it teaches people to ignore scanners.
//!
//! `TruffleHog` is not run: Go's module proxy does not serve it, and without asking the vendors, its
//! detectors of their tokens only guess.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use sealkit_core::api::SealedSecret;
use sealkit_core::keys::{Identity, KeyType, Recipient, RecipientSet, SUPERSEDES};
use sealkit_core::manifest::{to_json, to_yaml};
use sealkit_core::sealed::{Context, Scope, seal};
use sealkit_tests::program::program;
use serde_json::{Value, json};
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::peers::{go, outcome, run, tree};
use crate::random::Random;

/// A rule that flags one text of thousands must be noticed.
const VALUES: usize = 10_000;
/// Files enough for a scanner to flag some, were they unlike ours.
const OTHERS: usize = 100;
/// More findings than this are not chance: on average there is less than one.
const CHANCE: usize = 5;

/// What scanners look for beside a value.
const NAMES: [&str; 16] = [
    "password",
    "passwd",
    "token",
    "api-key",
    "API_KEY",
    "apiKey",
    "AWS_SECRET_ACCESS_KEY",
    "GITHUB_TOKEN",
    "client_secret",
    "secret",
    "credentials.json",
    ".dockerconfigjson",
    "tls.key",
    "id_rsa",
    "private-key.pem",
    "DATABASE_URL",
];

#[test]
fn gitleaks_finds_nothing_in_what_seal_writes() {
    let mut random = Random::new();
    let folder = repository();
    let keys = keys();
    let mut plans = BTreeMap::new();
    let mut values = 0;
    while values < VALUES {
        let plan = Plan::new(&mut random, &keys, plans.len());
        values += plan.values();
        fs::write(folder.path().join(&plan.file), plan.seal()).unwrap();
        plans.insert(plan.file.clone(), plan);
    }
    // Random text spells the beginning of a token (`ghp_`) once in ten megabytes. What chance
    // writes, it does not write twice.
    let unlucky = flagged(folder.path());
    assert!(unlucky.len() <= CHANCE, "{unlucky:?}");
    for file in unlucky.keys() {
        let plan = plans.get(file).unwrap_or_else(|| panic!("{file}"));
        fs::write(folder.path().join(file), plan.seal()).unwrap();
    }
    if !unlucky.is_empty() {
        assert_eq!(flagged(folder.path()), BTreeMap::new(), "{unlucky:?}");
    }
    assert_eq!(flagged(&tree("examples")), BTreeMap::new());
}

/// An envelope's field was called `sealedKey` once: this shows that the scanner works.
#[test]
fn gitleaks_flags_envelopes_in_a_field_that_is_called_a_key() {
    let mut random = Random::new();
    let folder = tempfile::tempdir().unwrap();
    let keys = keys();
    for index in 0..OTHERS {
        let plan = Plan::new(&mut random, &keys, index);
        let text = plan.seal().replace("ageFile", "sealedKey");
        fs::write(folder.path().join(&plan.file), text).unwrap();
    }
    let flagged = flagged(folder.path());
    assert!(flagged.len() > CHANCE, "{flagged:?}");
}

/// GitHub refuses a log that the schema refuses.
#[test]
fn the_sarif_of_seal_lint_and_seal_impact_is_valid() {
    let faults = |log: &[u8]| run(&mut go("sarif", "sarif"), log);
    let sarif = |folder: &str, arguments: &[&str]| {
        let mut seal = Command::new(program("seal"));
        seal.current_dir(tree(folder)).args(arguments);
        let log = outcome(seal.args(["--format", "sarif"]), b"");
        assert_eq!(log.status.code(), Some(1), "{log:?}");
        assert_eq!(String::from_utf8_lossy(&faults(&log.stdout)), "");
        String::from_utf8(log.stdout).unwrap()
    };
    let text = sarif("cli/tests/corpus/lint", &["lint", "."]);
    let wrong = text.replace("\"level\": \"error\"", "\"level\": \"bad\"");
    assert_ne!(
        faults(wrong.as_bytes()),
        b"",
        "this shows that the schema works"
    );
    // The key of production in the examples; this repository may be a shallow clone.
    let folder = repository_of(&tree("examples/argocd-app-of-apps"));
    let key = ["impact", "--key", "0d9f386bcbdb"];
    let text = sarif(folder.path().to_str().unwrap(), &key);
    assert!(text.contains("ExposedValue"), "{text}");
}

/// The files of a folder, committed.
fn repository_of(source: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path();
    run(
        Command::new("cp")
            .arg("-r")
            .arg(source.join("."))
            .arg(target),
        b"",
    );
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=t", "-c", "user.email=t@example.com"]);
        run(git.args(arguments).current_dir(target), b"");
    };
    git(&["init", "-q"]);
    git(&["add", "-A"]);
    git(&["commit", "-q", "-m", "begin"]);
    folder
}

/// A repository as `seal init` makes it, also after a cluster's key was rotated.
fn repository() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let [old, new] = [KeyType::Hybrid, KeyType::Classic].map(Identity::generate);
    let given = outside.path().join("production.pub");
    fs::write(&given, format!("{}\n", old.recipient())).unwrap();
    let git = Command::new("git")
        .arg("init")
        .arg("-q")
        .arg(folder.path())
        .status();
    assert!(git.unwrap().success());
    let mut init = Command::new(program("seal"));
    init.current_dir(folder.path()).arg("init");
    init.arg(format!("--cluster-key=production={}", given.display()));
    init.arg("--recovery-key")
        .arg(outside.path().join("recovery.key"));
    run(&mut init, b"");
    for name in [
        ".sealkit.yaml",
        ".sealkit/production.pub",
        ".sealkit/recovery.pub",
    ] {
        assert!(folder.path().join(name).is_file(), "{name}");
    }
    let rotated = format!("{SUPERSEDES}{}\n{}\n", old.fingerprint(), new.recipient());
    fs::write(folder.path().join(".sealkit/rotated.pub"), rotated).unwrap();
    folder
}

/// Hybrid ones, then classic ones: an envelope has one kind.
fn keys() -> [Vec<Recipient>; 2] {
    [KeyType::Hybrid, KeyType::Classic].map(|key_type| {
        let identities = (0..4).map(|_| Identity::generate(key_type));
        identities
            .map(|identity| identity.recipient().clone())
            .collect()
    })
}

/// A `SealedSecret` before it is sealed.
struct Plan {
    file: String,
    name: String,
    scope: Scope,
    envelopes: Vec<PlannedEnvelope>,
    template: Option<Value>,
}

struct PlannedEnvelope {
    recipients: RecipientSet,
    render: bool,
    values: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

impl Plan {
    fn new(random: &mut Random, keys: &[Vec<Recipient>; 2], index: usize) -> Self {
        let count = 1 + random.below(3);
        let envelopes = (0..count).map(|number| {
            let keys = &keys[random.below(2)];
            let keys = keys[..=random.below(keys.len())].iter().cloned();
            PlannedEnvelope {
                recipients: RecipientSet::new(keys).unwrap(),
                render: random.below(2) == 0,
                values: values(random, number),
            }
        });
        let envelopes = envelopes.collect();
        let template = json!({
            "type": "Opaque",
            "metadata": {"labels": {"app": "db"}},
            "data": {"url": "postgres://{{ .user }}:{{ .password }}@db:5432"},
        });
        let ending = random.pick(&["yaml", "json"]);
        Self {
            file: format!("db-{index}.sealed.{ending}"),
            name: format!("db-{index}"),
            scope: random.pick(&[Scope::Strict, Scope::NamespaceWide, Scope::ClusterWide]),
            envelopes,
            template: (random.below(4) == 0).then_some(template),
        }
    }

    fn values(&self) -> usize {
        self.envelopes
            .iter()
            .map(|planned| planned.values.len())
            .sum()
    }

    /// The file as `seal -w` writes it, in YAML or JSON.
    fn seal(&self) -> String {
        let namespace = "shop";
        let context = Context::new(self.scope, namespace, &self.name).unwrap();
        let (mut envelopes, mut data) = (BTreeMap::new(), BTreeMap::new());
        for planned in &self.envelopes {
            let PlannedEnvelope {
                recipients,
                render,
                values,
            } = planned;
            let sealed = seal(values, &context, recipients, *render).unwrap();
            envelopes.insert(sealed.id.as_str().to_owned(), sealed.envelope);
            data.extend(sealed.values);
        }
        let object = json!({
            "apiVersion": "sealkit.dev/v1beta1",
            "kind": "SealedSecret",
            "metadata": {"namespace": namespace, "name": self.name},
            "spec": {
                "scope": self.scope.name(),
                "envelopes": envelopes,
                "encryptedData": data,
                "template": self.template,
            },
        });
        let object: SealedSecret = serde_json::from_value(object).unwrap();
        if self.file.ends_with("yaml") {
            return to_yaml(&[&object]).unwrap();
        }
        to_json(&[serde_json::to_value(&object).unwrap()]).unwrap()
    }
}

/// Texts and files under the names that they often have. Short ones are the most frequent.
fn values(random: &mut Random, envelope: usize) -> BTreeMap<String, Zeroizing<Vec<u8>>> {
    let count = 1 + random.below(NAMES.len());
    let values = NAMES
        .iter()
        .cycle()
        .skip(random.below(NAMES.len()))
        .take(count);
    let values = values.map(|name| {
        let most = match random.below(100) {
            0 => 10_000,
            1..5 => 2_000,
            5..20 => 300,
            _ => 61,
        };
        let length = random.below(most);
        let value = match random.below(2) {
            0 => random.bytes(length),
            _ => random
                .text("abcdefghijklmnopqrstuvwxyz0123456789+/=", length)
                .into_bytes(),
        };
        // Keys of an object differ, whichever envelope they are under.
        (
            format!("{}{name}", ["", "my-", "MY_"][envelope]),
            Zeroizing::new(value),
        )
    });
    values.collect()
}

/// The files in which gitleaks finds something with its default rules, and the rules.
fn flagged(folder: &Path) -> BTreeMap<String, String> {
    let mut gitleaks = go("gitleaks", "gitleaks");
    gitleaks
        .env_remove("GITLEAKS_CONFIG")
        .env_remove("GITLEAKS_CONFIG_TOML")
        .args(["dir", "--no-banner", "--exit-code=0"])
        .args(["--report-format=json", "--report-path=-"])
        .arg(folder);
    let output = outcome(&mut gitleaks, b"");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && log.contains("scanned"), "{log}");
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let text = |finding: &Value, field: &str| finding[field].as_str().unwrap().to_owned();
    let files = findings.iter().map(|finding| {
        let path = text(finding, "File");
        let path = Path::new(&path).strip_prefix(folder).unwrap();
        (path.display().to_string(), text(finding, "RuleID"))
    });
    files.collect()
}
