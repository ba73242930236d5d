//! `seal status`, `seal doctor` and `seal keys revoke` over a real cluster and repository.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use sealkit_tests::canary::unique_value;
use sealkit_tests::controller::Controller;
use sealkit_tests::plane::{Own, Plane, SYSTEM_SECRETS};
use sealkit_tests::repository::{NAMESPACE, Repository, shop, text};
use sealkit_tests::rewrap::TRUSTED;
use sealkit_tests::wait::wait_until;
use serde_json::Value;

/// The codes of what is wrong, sorted.
fn troubles(plane: &Plane, repository: &Repository, more: &[&str]) -> Vec<String> {
    let output = repository.seal(plane, &[&["doctor", "-o", "json"], more].concat(), "");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let troubles = report["troubles"].as_array().unwrap();
    assert_eq!(output.status.code(), Some(i32::from(!troubles.is_empty())));
    let mends = |one: &Value| one["mend"].as_array().is_some_and(|mend| !mend.is_empty());
    assert!(troubles.iter().all(mends), "{troubles:?}");
    let mut codes: Vec<String> = troubles
        .iter()
        .map(|one| one["code"].as_str().unwrap().to_owned())
        .collect();
    codes.sort();
    codes
}

/// A lost private key, and then a lost controller: both are found, and neither is a dead end.
fn assert_losses_are_found(plane: &Plane, repository: &Repository, controller: &mut Controller) {
    let found = || troubles(plane, repository, &[]);
    let newest = plane.newest_key();
    let is_newest = |identity: &Value| {
        let key = &identity["metadata"]["annotations"]["sealkit.dev/sealing-key"];
        *key == newest["metadata"]["name"]
    };
    let identity = plane.identities().into_iter().find(is_newest).unwrap();
    let name = sealkit_tests::plane::name_of(&identity);
    plane
        .api
        .delete(&format!("{SYSTEM_SECRETS}/{name}"))
        .unwrap();
    wait_until("the private key is missed", || {
        found().contains(&"KeyNotReady".to_owned())
    });
    // A lost private key is no dead end.
    repository.done(plane, &["keys", "rotate", "--context", "rig"], "");
    let next = plane.newest_key();
    assert_ne!(next["metadata"]["name"], newest["metadata"]["name"]);
    controller.stop();
    wait_until("the controller is missed", || {
        found().contains(&"NoController".to_owned())
    });
    // Nothing is asked of a controller that is gone.
    let keys = plane.sealing_keys().len();
    let output = repository.seal(plane, &["keys", "rotate", "--context", "rig"], "");
    let said = text(&output);
    assert!(said.contains("the controller is not running"), "{said}");
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(plane.sealing_keys().len(), keys);
}

#[test]
fn the_doctor_finds_what_is_wrong_and_says_what_mends_it() {
    let plane = Own::take();
    let mut controller = plane.leading_controller();
    let shop = shop(&plane);
    let repository = Repository::new(&plane, 3);
    let found = |more: &[&str]| troubles(&plane, &repository, more);
    let nothing: [&str; 0] = [];
    repository.apply(&plane);
    repository.wait_ready(&shop);
    assert_eq!(found(&[]), ["NoMergeDriver"]);
    repository.done(&plane, &["git", "install"], "");
    assert_eq!(found(&[]), nothing);

    // Of people.
    let key = repository.path("../recovery.key");
    let mode = |mode| fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    assert_eq!(found(&["-i", "../recovery.key"]), ["OpenKeyFile"]);
    mode(0o600);
    fs::copy(&key, repository.path("oops.txt")).unwrap();
    assert_eq!(found(&["--offline"]), ["PrivateKey"]);
    fs::remove_file(repository.path("oops.txt")).unwrap();

    // Of the repository.
    let nested = repository.path("production/.sealkit.yaml");
    fs::write(&nested, "version: 1\n").unwrap();
    assert_eq!(found(&["--offline"]), ["NestedConfig"]);
    fs::remove_file(nested).unwrap();
    let config = repository.path(".sealkit.yaml");
    let good = fs::read_to_string(&config).unwrap();
    let without: Vec<&str> = good
        .lines()
        .filter(|line| !line.starts_with("recovery:"))
        .collect();
    fs::write(&config, without.join("\n")).unwrap();
    assert_eq!(found(&["--offline"]), ["NeedsReseal", "NoRecovery"]);
    fs::write(&config, good.replace("recovery.pub", "nowhere.pub")).unwrap();
    assert_eq!(found(&["--offline"]), ["BadKeyFile"]);
    fs::write(&config, "version: 2\n").unwrap();
    assert_eq!(found(&["--offline"]), ["BadConfig"]);
    fs::write(&config, good).unwrap();
    // The contexts are those of this clone.
    let contexts = repository.path(".git/sealkit/contexts");
    let known = fs::read_to_string(&contexts).unwrap();
    fs::write(&contexts, known.replace("rig", "nowhere")).unwrap();
    assert_eq!(found(&[]), ["Unreachable"]);
    fs::write(&contexts, known).unwrap();

    // Between it and the cluster.
    plane.api.delete(TRUSTED).unwrap();
    assert_eq!(found(&[]), ["TrustedRecipients"]);
    repository.done(&plane, &["keys", "trust", "--context", "rig"], "");
    let file = repository.path(".sealkit/production.pub");
    let before = fs::read_to_string(&file).unwrap();
    repository.done(&plane, &["keys", "rotate", "--context", "rig"], "");
    wait_until("the objects say so", || {
        shop.sealed("db-2")["status"]["needsReseal"] == true
    });
    fs::write(&file, before).unwrap();
    assert_eq!(found(&[]), ["NeedsReseal", "OutOfDate"]);
    let fetch = ["keys", "fetch", "-w", ".sealkit/production.pub"];
    repository.done(&plane, &fetch, "");
    assert_eq!(found(&[]), ["NeedsReseal", "NeedsReseal"]);
    repository.done(
        &plane,
        &["reseal", "--context", "rig", "--accept-recipients"],
        "",
    );
    repository.apply(&plane);
    wait_until("all is well again", || found(&[]).is_empty());

    // In the cluster.
    plane
        .servers
        .kubectl(&[
            "create",
            "clusterrolebinding",
            "far-too-much",
            "--clusterrole=admin",
            "--group=system:authenticated",
        ])
        .unwrap();
    wait_until("everybody may everything", || {
        found(&[]) == ["TooManyRights", "TooManyRights"]
    });
    plane
        .servers
        .kubectl(&["delete", "clusterrolebinding", "far-too-much"])
        .unwrap();
    assert_losses_are_found(&plane, &repository, &mut controller);
}

#[test]
fn status_shows_keys_and_what_is_not_ready() {
    let plane = Own::take();
    let _controller = plane.leading_controller();
    let shop = shop(&plane);
    let repository = Repository::new(&plane, 3);
    repository.apply(&plane);
    repository.wait_ready(&shop);
    let mut moved = shop
        .draft("db")
        .value("password", unique_value())
        .manifest();
    moved["metadata"]["name"] = "elsewhere".into();
    shop.apply(&moved);
    shop.wait_stalled("elsewhere", "ScopeMismatch");
    let output = repository.seal(&plane, &["status", "-n", NAMESPACE], "");
    let status = text(&output);
    assert_eq!(output.status.code(), Some(1), "not all is ready: {status}");
    assert!(!repository.values.iter().any(|value| status.contains(value)));
    let row = |first: &str| {
        let line = status.lines().find(|line| line.starts_with(first));
        let line = line.unwrap_or_else(|| panic!("no {first}: {status}"));
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(row(NAMESPACE)[1..], ["4", "3", "0"]);
    assert_eq!(row("shop/elsewhere")[1], "ScopeMismatch");
    let key = plane.newest_key();
    let key = row(key["metadata"]["name"].as_str().unwrap());
    assert_eq!(
        [&key[1], &key[2], &key[3], &key[5]],
        ["Active", "True", "0d", "3"]
    );
    let json = repository.seal(&plane, &["status", "-o", "json"], "");
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["objects"].as_array().unwrap().len(), 4);

    // Whoever may see one namespace sees that one.
    let viewer = plane
        .servers
        .service_account_kubeconfig("default", "default", None)
        .unwrap();
    let subject = "--serviceaccount=default:default";
    let bind = [
        "create",
        "rolebinding",
        "v",
        "-n",
        NAMESPACE,
        "--clusterrole=view",
        subject,
    ];
    plane.servers.kubectl(&bind).unwrap();
    let as_viewer = |more: &[&str]| -> Output {
        let flags = ["status", "--kubeconfig", viewer.to_str().unwrap()];
        repository.seal(&plane, &[&flags[..], more].concat(), "")
    };
    wait_until("the role is in force", || {
        as_viewer(&["-n", NAMESPACE]).status.code() == Some(1)
    });
    let denied = as_viewer(&[]);
    assert!(
        denied.status.code() == Some(5) && text(&denied).contains("-n NAME"),
        "{}",
        text(&denied)
    );
    plane
        .servers
        .kubectl(&["delete", "rolebinding", "v", "-n", NAMESPACE])
        .unwrap();
}

#[test]
fn a_leaked_key_is_walked_to_its_end() {
    let plane = Own::take();
    let _controller = plane.leading_controller();
    let shop = shop(&plane);
    let repository = Repository::new(&plane, 2);
    let commit = || {
        for arguments in [&["add", "."][..], &["commit", "-q", "-m", "x"]] {
            let mut git = Command::new("git");
            git.args(["-c", "user.name=t", "-c", "user.email=t@example.com"]);
            let status = git
                .args(arguments)
                .current_dir(repository.path(""))
                .status();
            assert!(status.unwrap().success());
        }
    };
    repository.apply(&plane);
    repository.wait_ready(&shop);
    commit();
    let leaked = plane.newest_key();
    let name = leaked["metadata"]["name"].as_str().unwrap();
    let revoke = |code: i32, says: &str| {
        let arguments = [
            "keys",
            "revoke",
            "--context",
            "rig",
            "-i",
            "../recovery.key",
            name,
        ];
        let output = repository.seal(&plane, &arguments, "");
        let text = text(&output);
        assert!(
            output.status.code() == Some(code) && text.contains(says),
            "{text}"
        );
        for value in &repository.values {
            assert!(!text.contains(value));
        }
    };
    let state = || plane.sealing_key(name)["status"]["state"].clone();
    revoke(1, "next: `seal keys rotate --context rig`");
    repository.done(&plane, &["keys", "rotate", "--context", "rig"], "");
    revoke(1, "2 envelopes in 2 files claim it (");
    revoke(
        1,
        "the cluster opens 2 objects with it (shop/db-0, shop/db-1)",
    );
    repository.done(&plane, &["reseal", "--context", "rig"], "");
    commit();
    let left = "0 envelopes in 0 files claim it, and the cluster opens 2 objects with it (";
    revoke(1, left);
    repository.apply(&plane);
    wait_until("no object needs it", || {
        (0..2).all(|index| shop.sealed(&format!("db-{index}"))["status"]["needsReseal"] == false)
    });
    // The same values, still.
    revoke(1, "2 values that it can read may be in use");
    assert_eq!(state(), "DecryptOnly");
    for index in 0..2 {
        let file = format!("production/db-{index}.sealed.yaml");
        repository.done(&plane, &["set", &file, "password"], &unique_value());
    }
    commit();
    repository.apply(&plane);
    revoke(0, "revoke       yes");
    assert_eq!(state(), "Revoked");
    revoke(0, "revoke       yes");
}

#[test]
fn values_are_edited_from_the_live_secret_without_a_private_key() {
    let plane = Own::take();
    let _controller = plane.leading_controller();
    let shop = shop(&plane);
    let repository = Repository::new(&plane, 1);
    let file = "production/db-0.sealed.yaml";
    repository.done(&plane, &["set", file, "user"], "ada");
    repository.apply(&plane);
    shop.wait_ready("db-0");
    // Set in the file, and not applied yet.
    repository.done(&plane, &["set", file, "token"], "new");
    let read = || fs::read_to_string(repository.path(file)).unwrap();
    let line = |text: &str, key: &str| {
        let mut lines = text.lines();
        lines
            .find(|line| line.contains(&format!("{key}: sk1.")))
            .unwrap_or_else(|| panic!("no {key}: {text}"))
            .to_owned()
    };
    let before = read();
    let script = repository.path("../editor.sh");
    let edit = |script_text: &str, more: &[&str]| {
        fs::write(&script, format!("set -e\n{script_text}\n")).unwrap();
        let arguments = [&["edit", file][..], more].concat();
        let mut command = repository.command(&plane, &arguments);
        command
            .env("EDITOR", format!("sh {}", script.display()))
            .output()
            .unwrap()
    };
    let value = &repository.values[0];
    let change = format!(
        "grep -q 'password: {value}' \"$1\"; grep -q '^# cannot be shown here, stays unchanged: token' \"$1\"; \
         ! grep -q 'token: ' \"$1\"; sed -i 's/user: ada/user: grace/' \"$1\""
    );
    let output = edit(&change, &[]);
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("values are those of the live Secret shop/db-0") && !said.contains(value),
        "{said}"
    );
    let after = read();
    for key in ["password", "token"] {
        assert_eq!(line(&before, key), line(&after, key), "{key}");
    }
    assert_ne!(line(&before, "user"), line(&after, "user"));
    let opened = repository.seal(
        &plane,
        &["open", "-i", "../recovery.key", file, "--key", "user"],
        "",
    );
    assert_eq!(String::from_utf8_lossy(&opened.stdout), "grace");

    // An object that is not Ready, no right.
    let refused = |more: &[&str], code: i32, says: &str| {
        let output = edit("exit 9", more);
        assert!(
            output.status.code() == Some(code) && text(&output).contains(says),
            "{}",
            text(&output)
        );
        assert_eq!(read(), after);
    };
    let kubeconfig = fs::read_to_string(plane.servers.kubeconfig()).unwrap();
    let other = repository.path("../other.kubeconfig");
    fs::write(&other, kubeconfig.replace("rig", "other")).unwrap();
    let other = [
        "--kubeconfig",
        other.to_str().unwrap(),
        "--context",
        "other",
    ];
    let account = plane
        .servers
        .service_account_kubeconfig("default", "default", None)
        .unwrap();
    let account = ["--kubeconfig", account.to_str().unwrap()];
    refused(&account, 5, "not allowed to read SealedSecrets");
    let suspend = serde_json::json!({"spec": {"suspend": true}});
    plane
        .api
        .merge(&shop.sealed_path("db-0"), &suspend)
        .unwrap();
    wait_until("it is suspended", || {
        sealkit_tests::namespace::condition(&shop.sealed("db-0"), "Ready") == Some("False")
    });
    refused(&[], 5, "is not Ready at its newest generation");
    // Whatever its context is called, it is the cluster of the path.
    refused(&other, 5, "is not Ready at its newest generation");
}
