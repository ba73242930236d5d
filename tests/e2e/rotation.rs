//! The life of a key over a repository, with the real `seal`: rotation, retirement, disaster.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use sealkit_tests::canary::unique_value;
use sealkit_tests::controller::Flags;
use sealkit_tests::namespace::resource_version;
use sealkit_tests::plane::{Own, Plane};
use sealkit_tests::program::program;
use sealkit_tests::repository::{Repository, shop};
use sealkit_tests::wait::wait_until;
use serde_json::{Value, json};

#[test]
fn a_rotation_over_a_repository_restarts_nothing() {
    let plane = Own::take();
    let _controller = plane.leading_controller();
    let shop = shop(&plane);
    let repository = Repository::new(&plane, 20);
    repository.apply(&plane);
    repository.wait_ready(&shop);
    let secrets = || -> Vec<String> {
        let names = (0..20).map(|index| format!("db-{index}"));
        let secrets = names.map(|name| shop.secret(&name).unwrap());
        secrets
            .map(|secret| resource_version(&secret).to_owned())
            .collect()
    };
    let before = secrets();
    let old = plane.newest_key();
    let recovery = "../recovery.key";

    let told = repository.done(&plane, &["keys", "rotate", "--context", "rig"], "");
    assert!(told.contains("wrote .sealkit/production.pub"), "{told}");
    let new = plane.newest_key();
    let fingerprint = |key: &Value| key["status"]["fingerprint"].as_str().unwrap().to_owned();
    assert_ne!(fingerprint(&new), fingerprint(&old));
    let file = fs::read_to_string(repository.path(".sealkit/production.pub")).unwrap();
    assert!(
        file.contains(&format!("# fingerprint: {}", fingerprint(&new)))
            && file.contains(&format!("# supersedes: {}", fingerprint(&old))),
        "{file}"
    );
    wait_until("the objects say that they need it", || {
        shop.sealed("db-7")["status"]["needsReseal"] == true
    });
    let check = repository.seal(&plane, &["reseal", "--check"], "");
    assert_eq!(check.status.code(), Some(1));

    let usage = |key: &Value| -> Value {
        let arguments = ["keys", "usage", "-o", "json"];
        let output = repository.seal(&plane, &arguments, "");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let mut keys = report["keys"].as_array().unwrap().iter();
        let found = keys
            .find(|it| it["fingerprint"] == fingerprint(key))
            .unwrap();
        json!([found["objects"], found["envelopes"], found["files"]])
    };
    assert_eq!(usage(&old), json!([20, 20, 20]));
    assert_eq!(usage(&new), json!([0, 0, 0]));

    // Not before the objects are resealed.
    let name = old["metadata"]["name"].as_str().unwrap();
    let retire = ["keys", "retire", "--context", "rig", name];
    let refused = repository.seal(&plane, &retire, "");
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(
        refused.status.code() == Some(5) && text.contains("20 objects need this key"),
        "{text}"
    );

    // The recipients changed by the hand of the one who reseals: no question.
    repository.done(&plane, &["reseal", "-i", recovery], "");
    repository.done(&plane, &["reseal", "--check"], "");
    repository.done(&plane, &["verify", "-i", recovery], "");
    repository.apply(&plane);
    wait_until("every object is sealed to the new key", || {
        (0..20).all(|index| {
            let status = &shop.sealed(&format!("db-{index}"))["status"];
            status["sealedTo"] == json!([fingerprint(&new)]) && status["needsReseal"] == false
        })
    });
    let objects = repository.wait_ready(&shop);
    assert!(
        objects
            .iter()
            .all(|object| object["metadata"]["generation"] == 2)
    );
    assert_eq!(secrets(), before, "no Secret was written, nothing restarts");
    assert_eq!(usage(&new), json!([20, 20, 20]));
    // Once nothing needs it, the cluster ends it by itself.
    repository.done(&plane, &retire, "");
    assert_eq!(plane.sealing_key(name)["status"]["state"], "Revoked");
    repository.wait_ready(&shop);
    assert_eq!(secrets(), before);

    // Newer values are written as ever.
    let value = unique_value();
    repository.done(
        &plane,
        &["set", "production/db-0.sealed.yaml", "password"],
        &value,
    );
    repository.apply(&plane);
    shop.wait_value("db-0", &value);
    let newest = new["metadata"]["name"].as_str().unwrap();
    let answer = repository.seal(&plane, &["keys", "retire", "--context", "rig", newest], "");
    let text = String::from_utf8_lossy(&answer.stderr);
    assert!(
        answer.status.code() == Some(3) && text.contains("seal keys rotate"),
        "{text}"
    );
}

/// A cluster is gone. Another is built from Git and the recovery key alone, and a third from Git
/// and a backup of the keys. This is the drill of docs/recover.md.
#[test]
fn a_lost_cluster_is_rebuilt_from_git() {
    let lost = Own::take();
    let controller = lost.leading_controller();
    let old = lost.newest_key();
    let repository = Repository::new(&lost, 5);
    repository.done(
        &lost,
        &["keys", "backup", "--context", "rig", "-w", "../keys.age"],
        "",
    );
    let backup = fs::read_to_string(repository.path("../keys.age")).unwrap();
    assert!(backup.starts_with("-----BEGIN AGE ENCRYPTED FILE-----"));
    let mode = fs::metadata(repository.path("../keys.age"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(controller);
    drop(lost);

    // The new cluster has a key of its own; nothing in Git is for it yet.
    let plane = Plane::with("deploy/base");
    let mut controller = plane.controller(&Flags::default());
    controller.wait_leading();
    let shop = shop(&plane);
    let before = files(&repository.path("production"));
    repository.apply(&plane);
    shop.wait_stalled("db-0", "NoMatchingKey");
    let fetch = ["keys", "fetch", "-w", ".sealkit/production.pub"];
    repository.done(&plane, &fetch, "");
    let refused = repository.seal(&plane, &["reseal", "-i", "../recovery.key"], "");
    assert_eq!(
        refused.status.code(),
        Some(3),
        "a program asks before it seals to another key"
    );
    let reseal = ["reseal", "-i", "../recovery.key", "--accept-recipients"];
    repository.done(&plane, &reseal, "");
    repository.apply(&plane);
    repository.wait_ready(&shop);

    // From the backup: the old revision opens, with nothing resealed.
    for (path, text) in &before {
        fs::write(path, text).unwrap();
    }
    repository.apply(&plane);
    shop.wait_stalled("db-0", "NoMatchingKey");
    let restore = |more: &[&str]| {
        let fixed = ["keys", "restore", "--context", "rig", "../keys.age"];
        let arguments: Vec<&str> = fixed.iter().chain(more).copied().collect();
        repository.seal(&plane, &arguments, "")
    };
    let recovery = ["-i", "../recovery.key"];
    let check = restore(&["--check", recovery[0], recovery[1]]);
    assert!(check.status.success());
    let other = restore(&recovery);
    let text = String::from_utf8_lossy(&other.stderr);
    assert!(
        other.status.code() == Some(3) && text.contains("of another cluster"),
        "{text}"
    );
    let restored = restore(&["--other-cluster", recovery[0], recovery[1]]);
    assert!(
        restored.status.success(),
        "{}",
        String::from_utf8_lossy(&restored.stderr)
    );
    repository.wait_ready(&shop);
    let fingerprint = &old["status"]["fingerprint"];
    let key = plane
        .sealing_keys()
        .into_iter()
        .find(|key| key["status"]["fingerprint"] == *fingerprint);
    assert_eq!(
        key.unwrap()["status"]["state"],
        "DecryptOnly",
        "it only opens"
    );
    let again = restore(&["--other-cluster", recovery[0], recovery[1]]);
    let text = String::from_utf8_lossy(&again.stderr);
    assert!(
        again.status.success() && text.contains("already exists"),
        "{text}"
    );

    bad_backups_are_refused(&plane, &repository, &backup);
}

fn bad_backups_are_refused(plane: &Plane, repository: &Repository, backup: &str) {
    let check = |key: &str| {
        let arguments = ["keys", "restore", "--check", "../keys.age", "-i", key];
        repository.seal(plane, &arguments, "").status.code()
    };
    let generate = ["keys", "generate", "-w", "../stranger.key"];
    repository.done(plane, &generate, "");
    assert_eq!(check("../stranger.key"), Some(4));
    // In the payload: damage to a stanza of the header may also read as a stranger's stanza.
    let near_the_end = backup.find("-----END").unwrap() - 20;
    let mut damaged = backup.to_owned().into_bytes();
    let other = if damaged[near_the_end] == b'A' {
        b'B'
    } else {
        b'A'
    };
    damaged[near_the_end] = other;
    fs::write(repository.path("../keys.age"), damaged).unwrap();
    assert_eq!(check("../recovery.key"), Some(3));
    let reader = plane
        .servers
        .service_account_kubeconfig("default", "default", None)
        .unwrap();
    let denied = Command::new(program("seal"))
        .args([
            "keys",
            "backup",
            "--context",
            "rig",
            "-w",
            "../stolen.age",
            "--kubeconfig",
        ])
        .arg(reader)
        .current_dir(repository.path(""))
        .output()
        .unwrap();
    assert_eq!(
        denied.status.code(),
        Some(5),
        "{}",
        String::from_utf8_lossy(&denied.stderr)
    );
    assert!(!repository.path("../stolen.age").exists());
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect()
}
