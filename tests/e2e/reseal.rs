//! `seal reseal` through the cluster: its own key moves, and in any doubt the old envelope stays.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use sealkit_tests::plane::{Own, Plane};
use sealkit_tests::repository::{Repository, make_namespaces, text, tree};
use sealkit_tests::rewrap::{TRUSTED, path_of, requests_path};
use sealkit_tests::wait::wait_until;
use serde_json::json;

const RESEAL: [&str; 3] = ["reseal", "--context", "rig"];

/// Objects of these namespaces, after their cluster got a new key.
fn rotated(plane: &Plane, namespaces: &[&str], objects: usize) -> Repository {
    make_namespaces(plane, &["shop", "bank"]);
    let repository = Repository::spread(plane, namespaces, objects);
    repository.done(plane, &["keys", "rotate", "--context", "rig"], "");
    repository
}

fn requests(plane: &Plane) -> String {
    plane
        .servers
        .kubectl(&["get", "rewraprequests", "-A", "-o", "name"])
        .unwrap()
}

fn reseal(plane: &Plane, repository: &Repository, more: &[&str]) -> Output {
    repository.seal(plane, &[&RESEAL[..], more].concat(), "")
}

fn refused(output: &Output, code: i32, says: &str) {
    let text = text(output);
    assert!(
        output.status.code() == Some(code) && text.contains(says),
        "{text}"
    );
}

#[test]
fn a_rotation_through_the_cluster_needs_no_private_key() {
    let plane = Own::take();
    let mut controller = plane.leading_controller();
    let repository = rotated(&plane, &["shop", "bank"], 4);
    // Whoever may, tells the cluster on the way whom it may reseal to.
    let trusted = plane.api.get(TRUSTED).expect("written by init");
    let recovery = fs::read_to_string(repository.path(".sealkit/recovery.pub")).unwrap();
    let data = trusted["data"].as_object().unwrap();
    let (name, entry) = data.iter().next().unwrap();
    assert!(data.len() == 1 && name.starts_with("recovery-"), "{data:?}");
    assert!(recovery.contains(entry.as_str().unwrap().trim()));

    let dry = repository.done(&plane, &[&RESEAL[..], &["--dry-run"]].concat(), "");
    assert!(dry.contains("would reseal production/0/db-0"), "{dry}");
    assert_eq!(requests(&plane), "");
    // The controller is away for a while: nothing is written meanwhile.
    let folder = repository.path("production");
    let before = tree(&folder);
    controller.stop();
    let _controller = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| reseal(&plane, &repository, &[]));
        sleep(Duration::from_secs(3));
        assert_eq!(tree(&folder), before);
        let controller = plane.leading_controller();
        let output = waiting.join().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        controller
    });
    assert_ne!(tree(&folder), before);
    repository.done(&plane, &["reseal", "--check"], "");
    repository.done(&plane, &["verify", "-i", "../recovery.key"], "");
    let after = tree(&folder);
    assert_eq!(
        repository.done(&plane, &RESEAL, ""),
        "",
        "nothing is left to do"
    );
    assert_eq!(tree(&folder), after);
    assert_eq!(requests(&plane), "", "requests are taken away");

    // Both at once are one too many.
    let both = reseal(&plane, &repository, &["-i", "../recovery.key"]);
    refused(&both, 2, "a private key and a cluster");
}

#[test]
fn rights_decide_by_namespace() {
    let plane = Own::take();
    let _controller = plane.leading_controller();
    let repository = rotated(&plane, &["shop", "bank", "nowhere"], 2);
    let folder = repository.path("production");
    let before = tree(&folder);
    let kubectl = |arguments: &[&str]| plane.servers.kubectl(arguments).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let template = root.join("deploy/rewrap/rbac.yaml");
    kubectl(&["apply", "-n", "shop", "-f", template.to_str().unwrap()]);
    let account = plane
        .servers
        .service_account_kubeconfig("default", "default", None)
        .unwrap();
    let account = ["--kubeconfig", account.to_str().unwrap()];
    let subject = "--serviceaccount=default:default";
    let role = "--role=sealkit-rewrap";
    kubectl(&["create", "rolebinding", "d", "-n", "shop", role, subject]);

    wait_until("the role is in force", || {
        let more = [&account[..], &["production/0"]].concat();
        reseal(&plane, &repository, &more).status.success()
    });
    let after = tree(&folder);
    let changed = after.iter().filter(|(path, text)| before[*path] != **text);
    let changed: Vec<&String> = changed.map(|(path, _)| path).collect();
    assert!(
        changed.len() == 2 && changed.iter().all(|path| path.contains("/0/")),
        "{changed:?}"
    );
    let bank = "not allowed to create RewrapRequests in namespace bank";
    refused(&reseal(&plane, &repository, &account), 1, bank);
    // To make requests is not enough.
    let create = ["--verb=create", "--resource=rewraprequests.sealkit.dev"];
    kubectl(&[&["create", "role", "half", "-n", "bank"], &create[..]].concat());
    kubectl(&[
        "create",
        "rolebinding",
        "half",
        "-n",
        "bank",
        "--role=half",
        subject,
    ]);
    wait_until("it is told what is missing", || {
        let more = [&account[..], &["production/1"]].concat();
        text(&reseal(&plane, &repository, &more)).contains("not allowed to read RewrapRequests")
    });

    // What can be done is done, and the rest is said.
    let partly = reseal(&plane, &repository, &[]);
    refused(&partly, 1, "the cluster has no namespace nowhere");
    assert!(
        text(&partly).contains("resealed production/1/db-0"),
        "{}",
        text(&partly)
    );
    assert!(
        text(&partly).contains("resealed production/shared"),
        "{}",
        text(&partly)
    );
    kubectl(&["delete", "rolebinding", "d", "-n", "shop"]);
}

#[test]
fn nobody_is_added_or_dropped() {
    let plane = Own::take();
    let _controller = plane.leading_controller();
    let repository = rotated(&plane, &["shop"], 2);
    let folder = repository.path("production");
    let before = tree(&folder);
    let accept = ["--accept-recipients"];
    let file = repository.path(".sealkit/recovery.pub");
    let recovery = fs::read_to_string(&file).unwrap();
    let generate = ["keys", "generate", "-w", "../other.key"];
    let told = repository.done(&plane, &generate, "");
    let other = told.lines().find(|line| line.starts_with("age1")).unwrap();
    for keys in [format!("{recovery}{other}\n"), format!("{other}\n")] {
        fs::write(&file, keys).unwrap();
        refused(
            &reseal(&plane, &repository, &accept),
            1,
            "it does not add all of them",
        );
        assert_eq!(tree(&folder), before);
    }
    let config = repository.path(".sealkit.yaml");
    let text_before = fs::read_to_string(&config).unwrap();
    let without = text_before
        .lines()
        .filter(|line| !line.starts_with("recovery:"));
    fs::write(&config, without.collect::<Vec<_>>().join("\n")).unwrap();
    refused(
        &reseal(&plane, &repository, &accept),
        1,
        "it removes no recipients",
    );
    assert_eq!(tree(&folder), before);
    fs::write(&config, text_before).unwrap();
    fs::write(&file, &recovery).unwrap();

    // A cluster that was told nothing of the recovery key says so.
    plane.api.delete(TRUSTED).unwrap();
    refused(
        &reseal(&plane, &repository, &accept),
        1,
        "there is no ConfigMap",
    );
    assert_eq!(tree(&folder), before);
    let trust = ["keys", "trust", "--context", "rig"];
    let shown = repository.done(&plane, &[&trust[..], &["-o", "yaml"]].concat(), "");
    assert!(shown.contains("kind: ConfigMap"), "{shown}");
    assert!(plane.api.get(TRUSTED).is_none(), "it was shown only");
    repository.done(&plane, &trust, "");
    assert!(reseal(&plane, &repository, &[]).status.success());

    // An entry that another repository may have written is not taken over.
    let trusted = plane.api.get(TRUSTED).unwrap();
    let name = trusted["data"]
        .as_object()
        .unwrap()
        .keys()
        .next()
        .unwrap()
        .clone();
    sealkit_tests::rewrap::trust(&plane.api, &json!({"theirs.pub": other}));
    repository.done(&plane, &trust, "");
    assert_eq!(
        plane.api.get(TRUSTED).unwrap()["data"]["theirs.pub"],
        json!(other)
    );
    // And it goes when they take it out: it never became ours.
    sealkit_tests::rewrap::trust(&plane.api, &json!({&name: other}));
    assert!(plane.api.get(TRUSTED).unwrap()["data"]["theirs.pub"].is_null());
    let taken = repository.seal(&plane, &trust, "");
    refused(&taken, 3, "no recipient file of this repository supersedes");
    // Written by somebody else: Flux, say.
    let foreign = repository.seal(&plane, &[&trust[..], &["--replace"]].concat(), "");
    refused(&foreign, 5, "somebody else manages the ConfigMap");
}

/// Somebody with the right on statuses answers in the controller's place.
#[test]
fn a_planted_answer_changes_no_file() {
    let plane = Own::take();
    let mut controller = plane.leading_controller();
    let repository = rotated(&plane, &["shop"], 2);
    let folder = repository.path("production");
    let before = tree(&folder);
    controller.stop();
    let stop = AtomicBool::new(false);
    let plant = || {
        while !stop.load(Ordering::Relaxed) {
            for request in plane.api.list(&requests_path("shop")) {
                let mut envelopes = request["spec"]["envelopes"].clone();
                for (_, envelope) in envelopes.as_object_mut().unwrap() {
                    envelope["ageFile"] = json!("cGxhbnRlZA==");
                }
                let status = json!({"status": {"observedGeneration": 1, "envelopes": envelopes}});
                let _ = plane
                    .api
                    .merge(&format!("{}/status", path_of(&request)), &status);
            }
            sleep(Duration::from_millis(50));
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(plant);
        let output = reseal(&plane, &repository, &["production/0"]);
        stop.store(true, Ordering::Relaxed);
        refused(&output, 1, "the cluster's answer is refused");
    });
    assert_eq!(tree(&folder), before);
}

/// The API server goes away while files are resealed, again and again: each file is the old one or
/// the new one, and a last run finishes.
#[test]
fn a_cluster_that_goes_away_leaves_whole_files() {
    let mut plane = Own::take();
    let controller = plane.leading_controller();
    let repository = rotated(&plane, &["shop", "bank"], 150);
    let folder = repository.path("production");
    let before = tree(&folder);
    let mut interrupted = 0;
    for pause in [300, 700, 1_200] {
        let mut child = repository.start(&plane, &RESEAL);
        sleep(Duration::from_millis(pause));
        plane.servers.stop_apiserver().unwrap();
        let output = child.wait().unwrap();
        interrupted += usize::from(output.code() == Some(5));
        for (path, text) in tree(&folder) {
            let whole = text.ends_with('\n') && text.contains("encryptedData");
            assert!(whole || text == before[&path], "{path}");
        }
        plane.servers.start_apiserver().unwrap();
        // Each opens, whoever it is sealed to.
        let verified = repository.seal(&plane, &["verify", "-i", "../recovery.key"], "");
        let verified = text(&verified);
        assert!(
            verified.lines().all(|line| line.contains(": RetiredKey: ")),
            "{verified}"
        );
    }
    assert!(interrupted > 0, "the cluster was there all the time");
    wait_until("the rest is resealed", || {
        reseal(&plane, &repository, &[]).status.success()
    });
    repository.done(&plane, &["reseal", "--check"], "");
    repository.done(&plane, &["verify", "-i", "../recovery.key"], "");
    drop(controller);
}
