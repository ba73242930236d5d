use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Desk, SECRET, objects, secret, snapshot};

const CONFIG: &str = "version: 1\nclusters:\n  staging: {recipients: [.sealkit/staging.pub]}\n  \
    production: {recipients: [.sealkit/production.pub]}\nrecovery: [.sealkit/recovery.pub]\n\
    rules:\n- path: production/**\n  clusters: [production]\n- path: both/**\n  \
    clusters: [staging, production]\n";
const FILE: &str = "production/db.sealed.yaml";
const RECOVERY: &str = "../home/recovery";

fn repository() -> Desk {
    let desk = Desk::repository(&["staging", "production", "recovery"], CONFIG);
    desk.pipe(&["-w", "production/"], SECRET).done();
    desk
}

/// The cluster has a new key, its private half in `../home/<name>-2`.
fn rotate(desk: &Desk, name: &str) {
    let private = format!("../home/{name}-2");
    let generate = ["keys", "generate", "--classic", "-w", &private];
    let public = desk.seal(&generate).done().stdout;
    desk.write(&format!(".sealkit/{name}.pub"), &public);
}

fn reseal(more: &[&str]) -> Vec<String> {
    let fixed = ["reseal", "-i", RECOVERY, "--accept-recipients"];
    fixed
        .iter()
        .chain(more)
        .map(|it| (*it).to_owned())
        .collect()
}

fn run(desk: &Desk, more: &[&str]) -> crate::support::Answer {
    let arguments = reseal(more);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    desk.seal(&arguments)
}

#[test]
fn a_rotation_changes_envelopes_and_nothing_else() {
    let desk = repository();
    let sealed = desk.read(FILE);
    let commented = sealed.replace("spec:\n", "# owned by shop\nspec: # sealed\n");
    desk.write(FILE, &commented.replace('\n', "\r\n"));
    desk.seal(&["reseal", "--check"]).done();
    rotate(&desk, "production");

    let check = desk.seal(&["reseal", "--check"]);
    assert_eq!(check.code, 1);
    let found = format!("{FILE}: shop/db: NeedsReseal: envelope ");
    assert!(check.stdout.starts_with(&found) && check.stdout.contains("claims to be sealed to"));
    let proven = desk.seal(&["reseal", "--check", "-i", RECOVERY]);
    assert!(proven.code == 1 && proven.stdout.contains(" is sealed to "));
    let before = snapshot(&desk.work());
    let dry = run(&desk, &["--dry-run"]).done();
    assert!(dry.stderr.contains(&format!("would reseal {FILE}")));
    assert!(before == snapshot(&desk.work()), "a dry run writes nothing");

    let old = desk.read(FILE);
    let answer = run(&desk, &[]).done();
    assert!(
        answer.stderr.contains(&format!("resealed {FILE}")),
        "{answer:?}"
    );
    assert!(answer.stderr.contains("no longer sealed to"), "{answer:?}");
    let new = desk.read(FILE);
    let changed = |from: &str, to: &str| -> Vec<String> {
        let lines = from
            .lines()
            .filter(|line| !to.lines().any(|other| other == *line));
        lines.map(str::to_owned).collect()
    };
    let only = |lines: Vec<String>| {
        let mut lines = lines.iter().map(|line| line.trim_start());
        lines.all(|line| line.starts_with("- \"") || line.starts_with("ageFile: "))
    };
    assert!(
        only(changed(&old, &new)) && only(changed(&new, &old)),
        "{new}"
    );
    assert_eq!(new.matches("\r\n").count(), new.matches('\n').count());
    let values = json!({"password": "hunter2"});
    assert_eq!(desk.values("../home/production-2", FILE), values);
    assert_eq!(desk.values(RECOVERY, FILE), values);
    assert_eq!(
        desk.seal(&["open", "-i", "../home/production", FILE]).code,
        4
    );

    let before = snapshot(&desk.work());
    let again = run(&desk, &[]).done();
    assert!(
        again.stderr.is_empty() && again.stdout.is_empty(),
        "{again:?}"
    );
    assert!(
        before == snapshot(&desk.work()),
        "a second run changes nothing"
    );
    desk.seal(&["reseal", "--check"]).done();
    desk.seal(&["verify", "-i", RECOVERY]).done();
}

#[test]
fn every_object_of_a_stream_is_resealed_whatever_stands_between() {
    let desk = repository();
    desk.write("both/README", "");
    let stream: String = ["a", "b", "c"]
        .map(|name| secret(name, &[("k", name)]) + "\n---\n")
        .concat();
    let stream = stream.trim_end_matches("---\n");
    desk.pipe(&["-w", "both/all.yaml"], stream).done();
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n# data follows\ndata: {k: \"012\"}\n";
    let file = desk
        .read("both/all.yaml")
        .replacen("---\n", &format!("---\n{map}---\n"), 1);
    desk.write("both/all.yaml", file.trim_end());
    rotate(&desk, "staging");
    run(&desk, &["both"]).done();
    let new = desk.read("both/all.yaml");
    assert!(new.contains(map) && !new.ends_with('\n'), "{new}");
    let mut wanted: Vec<String> = ["staging", "production", "recovery"]
        .map(|name| desk.fingerprint(&format!(".sealkit/{name}.pub")))
        .into();
    wanted.sort();
    let shown = objects(&new);
    let shown = shown
        .iter()
        .filter(|object| object["kind"] == "SealedSecret");
    let mut envelopes = 0;
    for object in shown {
        for envelope in object["spec"]["envelopes"].as_object().unwrap().values() {
            assert_eq!(envelope["recipients"], json!(wanted));
            envelopes += 1;
        }
    }
    assert_eq!(envelopes, 3);
    let report = run(&desk, &["both", "-o", "json"]).done().stdout;
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["scanned"], json!({"files": 1, "objects": 3}));
    assert_eq!(
        (&report["files"], &report["envelopes"]),
        (&json!([]), &json!(0))
    );
}

#[test]
fn one_bad_file_holds_up_no_other() {
    let desk = repository();
    let good = desk.read(FILE);
    desk.write(
        "production/altered.yaml",
        &good.replace("name: db", "name: other"),
    );
    desk.write("production/broken.yaml", "kind: SealedSecret\na: [\n");
    desk.write("production/invalid.yaml", &good.replace("sk1.", "sk9."));
    desk.write("elsewhere/db.yaml", &good);
    desk.write(
        "production/flow.yaml",
        &serde_json::to_string(&objects(&good)[0])
            .unwrap()
            .replace("\"shop\"}", "\"shop\" }")
            .replacen('{', "\u{feff}{", 1),
    );
    rotate(&desk, "production");
    let answer = run(&desk, &["production", "elsewhere"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    for found in [
        "production/altered.yaml: shop/other: ScopeMismatch",
        "production/broken.yaml: Unreadable",
        "production/invalid.yaml: shop/db: InvalidSpec",
        "elsewhere/db.yaml: shop/db: NoRule",
    ] {
        assert!(answer.stdout.contains(found), "{found}: {}", answer.stdout);
    }
    desk.values("../home/production-2", FILE);
    assert!(desk.read("elsewhere/db.yaml") == good);
}

#[test]
fn what_cannot_be_opened_or_is_not_known_stays() {
    let desk = repository();
    let no_key = "nothing to reseal with";
    desk.refused(&["reseal"], "", 2, no_key);
    rotate(&desk, "production");
    // The key file came with a pull: a program asks first.
    let changed = "the recipients of cluster production are";
    desk.refused(&["reseal", "-i", RECOVERY], "", 3, changed);
    let before = snapshot(&desk.work());
    let stranger = ["reseal", "-i", "key", "--accept-recipients", "--dry-run"];
    let answer = desk.seal(&stranger);
    assert_eq!(answer.code, 4, "{answer:?}");
    assert!(answer.stdout.contains("NoMatchingKey"), "{answer:?}");
    assert!(before == snapshot(&desk.work()));
    // A file that may not be written, a link that leads out.
    let file = desk.path(FILE);
    let mode = |mode: &str| {
        let status = Command::new("chmod").arg(mode).arg(&file).status();
        assert!(status.unwrap().success());
    };
    mode("444");
    let answer = run(&desk, &[]);
    assert!(
        answer.code == 1 && answer.stdout.contains("NotResealed: the file is read-only"),
        "{answer:?}"
    );
    mode("644");
    std::os::unix::fs::symlink("/etc/hostname", desk.path("production/out.yaml")).unwrap();
    let answer = run(&desk, &["production/out.yaml"]);
    assert!(
        answer.code == 3 && answer.stderr.contains("points outside the repository"),
        "{answer:?}"
    );
    run(&desk, &[]).done();
}

#[test]
fn a_lying_hint_is_put_right() {
    let desk = repository();
    let stranger = desk.fingerprint("key.pub");
    let hint = desk.hints(FILE)[0][0].clone();
    desk.write(FILE, &desk.read(FILE).replace(&hint, &stranger));
    assert_eq!(desk.seal(&["verify", "-i", RECOVERY]).code, 1);
    run(&desk, &[]).done();
    desk.seal(&["verify", "-i", RECOVERY]).done();
    assert!(desk.hints(FILE)[0].contains(&hint));
}

/// Killed at any moment: each file is wholly old or wholly new, and the next run finishes.
#[test]
fn a_killed_run_leaves_whole_files_and_the_next_one_finishes() {
    let desk = repository();
    let files = 120;
    let one = desk.read(FILE);
    for index in 0..files {
        desk.write(&format!("production/{index}/db.yaml"), &one);
    }
    let mut kills = 0;
    for round in 0..6 {
        let new = format!("../home/production-{round}");
        let generate = ["keys", "generate", "--classic", "-w", &new];
        let public = desk.seal(&generate).done().stdout;
        desk.write(".sealkit/production.pub", &public);
        let before = snapshot(&desk.path("production"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_seal"))
            .args(reseal(&[]))
            .current_dir(desk.work())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(5 + 12 * round));
        child.kill().unwrap();
        kills += usize::from(!child.wait().unwrap().success());
        let wanted = desk.fingerprint(".sealkit/production.pub");
        let manifests = before.iter();
        for (path, old) in manifests.filter(|(path, _)| path.extension().is_some()) {
            let now = std::fs::read(path).unwrap();
            let resealed = String::from_utf8_lossy(&now).contains(&wanted);
            assert!(resealed || now == *old, "{}", path.display());
            assert_eq!(objects(std::str::from_utf8(&now).unwrap()).len(), 1);
        }
        run(&desk, &[]).done();
        desk.seal(&["reseal", "--check", "-i", RECOVERY]).done();
    }
    assert!(kills > 0, "it was killed while it worked");
    // What a killed run left behind goes with a later one.
    desk.write("production/.seal-tmp-aB3dE6aB3dE6aB3d", "half");
    let old = [
        "-d",
        "2 minutes ago",
        "production/.seal-tmp-aB3dE6aB3dE6aB3d",
    ];
    let touched = Command::new("touch")
        .args(old)
        .current_dir(desk.work())
        .status();
    assert!(touched.unwrap().success());
    desk.write("production/.seal-backup", "mine");
    run(&desk, &[]).done();
    assert!(
        !desk.exists("production/.seal-tmp-aB3dE6aB3dE6aB3d")
            && desk.exists("production/.seal-backup")
    );
}

/// A limit on the size of files stands for a full disk: writing stops half-way.
#[test]
fn a_disk_that_is_full_leaves_the_old_files() {
    let desk = repository();
    for index in 0..5 {
        let values = [("A", "x".repeat(1_500))];
        let values: Vec<(&str, &str)> = values
            .iter()
            .map(|(key, text)| (*key, text.as_str()))
            .collect();
        let name = format!("large-{index}");
        desk.pipe(&["-q", "-w", "production/"], secret(&name, &values))
            .done();
    }
    rotate(&desk, "production");
    let before = snapshot(&desk.work());
    let full = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_seal"))
        .args(reseal(&[]))
        .current_dir(desk.work())
        .env("HOME", desk.path("../home"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&full.stdout);
    assert!(
        full.status.code() == Some(1) && said.contains("NotResealed: the file cannot be written"),
        "{said}"
    );
    let after = snapshot(&desk.work());
    let of = |files: &[(std::path::PathBuf, Vec<u8>)]| -> Vec<(std::path::PathBuf, Vec<u8>)> {
        let manifest = |path: &std::path::Path| path.extension().is_some_and(|end| end == "yaml");
        files
            .iter()
            .filter(|(path, _)| manifest(path))
            .cloned()
            .collect()
    };
    assert!(of(&before) == of(&after), "a file was lost");
    run(&desk, &[]).done();
    desk.seal(&["reseal", "--check"]).done();
}

/// It asks nothing of Git: uncommitted work, no branch, no history, and a clock that was set back.
#[test]
fn any_state_of_git_and_of_the_clock_will_do() {
    let desk = repository();
    desk.commit("one");
    rotate(&desk, "production");
    desk.git(&["checkout", "-q", "--detach"]);
    let dirty = desk
        .read(FILE)
        .replace("spec:\n", "# being edited\nspec:\n");
    desk.write(FILE, &dirty);
    run(&desk, &[]).done();
    assert!(desk.read(FILE).contains("# being edited"));
    desk.commit("two");
    std::fs::remove_file(desk.path("../home/production-2")).unwrap();
    rotate(&desk, "production");
    let origin = format!("file://{}", desk.work().display());
    desk.git(&["clone", "-q", "--depth", "1", &origin, "../home/shallow"]);
    let shallow = desk.path("../home/shallow");
    let public = desk.read(".sealkit/production.pub");
    std::fs::write(shallow.join(".sealkit/production.pub"), public).unwrap();
    let file = std::fs::File::open(shallow.join(FILE)).unwrap();
    let future = std::time::SystemTime::now() + Duration::from_secs(400 * 86_400);
    file.set_modified(future).unwrap();
    let arguments = ["reseal", "-i", "../recovery", "--accept-recipients"];
    desk.run_in(&shallow, &arguments, "").done();
    desk.run_in(&shallow, &["reseal", "--check"], "").done();
}

/// From staging to production: what nothing at hand opens is named, with the command that enters it
/// again.
#[test]
fn a_promoted_file_says_which_values_must_be_entered_again() {
    let desk = repository();
    desk.write(
        ".sealkit.yaml",
        &(CONFIG.to_owned() + "- path: staging/**\n  clusters: [staging]\n"),
    );
    desk.pipe(
        &["-q", "-w", "staging/"],
        secret("app", &[("TOKEN", "t"), ("USER", "u")]),
    )
    .done();
    let staged = desk.read("staging/app.sealed.yaml");
    desk.write("production/app.sealed.yaml", &staged);
    let promote = |key: &str| {
        desk.seal(&[
            "reseal",
            "-i",
            key,
            "--accept-recipients",
            "production/app.sealed.yaml",
        ])
    };
    let blind = promote("../home/production");
    assert_eq!(blind.code, 4);
    let again =
        "or enter the values again: `seal set production/app.sealed.yaml --name app TOKEN USER`";
    assert!(blind.stdout.contains(again), "{blind:?}");
    assert_eq!(desk.read("production/app.sealed.yaml"), staged);
    promote("../home/staging").done();
    desk.seal(&["reseal", "--check"]).done();
    desk.seal(&[
        "verify",
        "-i",
        "../home/production",
        "production/app.sealed.yaml",
    ])
    .done();
}

/// Keys that came with a pull: every one is told, also of a cluster that was not there before.
#[test]
fn no_change_of_recipients_hides_behind_another() {
    let desk = repository();
    rotate(&desk, "production");
    rotate(&desk, "recovery");
    let arguments = ["reseal", "-i", RECOVERY];
    let refused = desk.seal(&arguments);
    for group in ["cluster production", "recovery"] {
        let what = format!("the recipients of {group} are");
        assert!(
            refused.code == 3 && refused.stderr.contains(&what),
            "{refused:?}"
        );
    }
    let desk = repository();
    let generate = ["keys", "generate", "--classic", "-w", "../home/evil"];
    desk.write(".sealkit/evil.pub", &desk.seal(&generate).done().stdout);
    let config = CONFIG
        .replace("clusters: [production]", "clusters: [production, evil]")
        .replace(
            "  staging:",
            "  evil: {recipients: [.sealkit/evil.pub]}\n  staging:",
        );
    desk.write(".sealkit.yaml", &config);
    let refused = desk.seal(&arguments);
    let what = "cluster evil is new to this clone";
    assert!(
        refused.code == 3 && refused.stderr.contains(what),
        "{refused:?}"
    );
    let told = run(&desk, &[]).done();
    assert!(told.stderr.contains("newly sealed to "), "{told:?}");
    // A cluster that was there from the beginning is no news when it is first sealed to.
    let desk = repository();
    desk.pipe(&["-w", "both/"], SECRET).done();
}

/// A clone of the work folder, which has sealed nothing yet.
fn fresh_clone(desk: &Desk) -> std::path::PathBuf {
    desk.commit("all");
    let origin = desk.work().display().to_string();
    desk.git(&["clone", "-q", &origin, "../home/clone"]);
    desk.path("../home/clone")
}

/// A clone that is new knows no others than the files name, which a pull request may have written:
/// whom the envelopes are sealed to, as opening them proves, is all that can be trusted.
#[test]
fn a_fresh_clone_seals_old_values_to_nobody_new_without_an_answer() {
    let superseded = |desk: &Desk| {
        format!(
            "# supersedes: {}\n",
            desk.fingerprint(".sealkit/production.pub")
        )
    };
    let stays = |desk: &Desk| desk.read(".sealkit/production.pub");
    for (first, reason) in [
        (stays as fn(&Desk) -> String, "added"),
        (superseded, "supersedes, as a line of the same request says"),
    ] {
        let desk = repository();
        let added = first(&desk) + &desk.read("key.pub");
        desk.write(".sealkit/production.pub", &added);
        let clone = fresh_clone(&desk);
        let reseal = ["reseal", "-i", "../recovery"];
        let seal = |arguments: &[&str]| desk.run_in(&clone, arguments, SECRET);
        let print = &desk.fingerprint("key.pub")[..16];
        let before = desk.read(FILE);
        let refused = || {
            let answer = seal(&reseal);
            assert_eq!(answer.code, 3, "{reason}: {answer:?}");
            let what = format!("({print}) could not open these values before");
            assert!(answer.stderr.contains(&what), "{reason}: {answer:?}");
            let now = std::fs::read_to_string(clone.join(FILE)).unwrap();
            assert!(before == now, "{reason}");
        };
        refused();
        // A hint is no proof, and the first use of the clone accepts nobody.
        seal(&["-w", "production/web.yaml", "--name", "web"]).done();
        refused();
        seal(&[&reseal[..], &["--accept-recipients"]].concat()).done();
        // Accepted once is accepted.
        std::fs::write(clone.join(FILE), &before).unwrap();
        let again = seal(&reseal).done();
        assert!(again.stderr.contains("newly sealed to"), "{again:?}");
    }
}

#[test]
fn a_fresh_clone_reseals_without_a_question_what_nobody_new_will_open() {
    let desk = repository();
    desk.pipe(&["-q", "-w", "both/"], SECRET).done();
    desk.write(FILE, &desk.read("both/db.sealed.yaml"));
    let clone = fresh_clone(&desk);
    let reseal = ["reseal", "-i", "../recovery"];
    let answer = desk.run_in(&clone, &reseal, "").done();
    assert!(answer.stderr.contains("no longer sealed to"), "{answer:?}");
    assert_eq!(desk.hints(&format!("../home/clone/{FILE}"))[0].len(), 2);
}

#[test]
fn a_fresh_clone_sets_and_edits_nothing_for_a_key_that_came_with_a_pull() {
    let mut desk = repository();
    desk.set("EDITOR", "sed -i s/hunter2/better/");
    let more = desk.read(".sealkit/production.pub") + &desk.read("key.pub");
    desk.write(".sealkit/production.pub", &more);
    let clone = fresh_clone(&desk);
    let run = |arguments: &[&str]| desk.run_in(&clone, arguments, "new");
    let set = run(&["set", FILE, "password"]);
    let what = "the new values are sealed to ";
    assert!(set.code == 3 && set.stderr.contains(what), "{set:?}");
    // A private key tells who could open the old values, whatever the hints say.
    let path = clone.join(FILE);
    let text = std::fs::read_to_string(&path).unwrap();
    let edit = run(&["edit", "-i", "../recovery", FILE]);
    let what = "could not open these values before";
    assert!(edit.code == 3 && edit.stderr.contains(what), "{edit:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    run(&["edit", "-i", "../recovery", FILE, "--accept-recipients"]).done();
    assert_eq!(
        desk.values(
            "../home/recovery",
            "../home/clone/production/db.sealed.yaml"
        )["password"],
        "better"
    );
}

#[test]
fn nothing_that_is_sealed_to_an_old_key_is_passed_over() {
    let config = "version: 1\nclusters: {one: {recipients: [.sealkit/one.pub]}}\n";
    let desk = Desk::repository(&["one", "two"], config);
    desk.write("apps/README", "");
    desk.pipe(&["-w", "apps/db.yaml"], SECRET).done();
    let sealed = desk.read("apps/db.yaml");
    desk.write(
        "chart/templates/db.yaml",
        &sealed.replace("name: db", "name: {{ .Release.Name }}-db"),
    );
    let values = sealed.split_once("spec:\n").unwrap().1;
    desk.write("chart/values.yaml", &format!("sealed:\n{values}"));
    // Somebody else's: SOPS keeps its data keys in age files, too.
    let armored = "-----BEGIN AGE ENCRYPTED FILE-----\n      YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSBh\n      \
        -----END AGE ENCRYPTED FILE-----";
    desk.write(
        "sops/app.enc.yaml",
        &format!(
            "a: ENC[AES256_GCM,data:x,type:str]\nsops:\n  age:\n  - enc: |\n      {armored}\n"
        ),
    );
    desk.seal(&["reseal", "--check"]).done();

    desk.write(".sealkit/one.pub", &desk.read(".sealkit/two.pub"));
    let in_json = serde_json::to_string(&sealed).unwrap();
    desk.write(
        "chart/values.json",
        &format!("{{\"manifest\": {in_json}}}\n"),
    );
    let named = |answer: &crate::support::Answer, files: &[&str]| {
        let found = answer.stdout.lines();
        let found: Vec<_> = found.filter(|line| line.contains("NeedsReseal")).collect();
        let is_named = |file: &&str| {
            let said = format!("{file}: NeedsReseal: 1 envelopes outside");
            found.iter().any(|line| line.starts_with(&said))
        };
        assert!(answer.code == 1 && files.iter().all(is_named), "{answer:?}");
        assert!(found.len() == files.len(), "{answer:?}");
    };
    let chart = [
        "chart/templates/db.yaml",
        "chart/values.yaml",
        "chart/values.json",
    ];
    named(&desk.seal(&["reseal", "--check", "chart"]), &chart);
    named(&desk.seal(&["reseal", "--check", chart[0]]), &chart[..1]);
    // With a key, what stands in lines of its own is sealed anew; the rest is named.
    let with_key = ["reseal", "-i", "../home/one", "--accept-recipients"];
    let before = [desk.read(chart[0]), desk.read(chart[1])];
    named(&desk.seal(&with_key), &chart[2..]);
    for (file, before) in chart.iter().zip(&before) {
        let after = desk.read(file);
        let lines = before.lines().zip(after.lines());
        assert_eq!(lines.filter(|(old, new)| old != new).count(), 2, "{after}");
    }
    let resealed = desk.read(chart[0]).replace("{{ .Release.Name }}-", "");
    desk.write("../home/db.yaml", &resealed);
    assert_eq!(
        desk.values("../home/two", "../home/db.yaml")["password"],
        "hunter2"
    );
    named(&desk.seal(&["reseal", "--check"]), &chart[2..]);
    std::fs::remove_file(desk.path(chart[2])).unwrap();
    desk.seal(&["reseal", "--check"]).done();
    let nothing = desk.seal(&["reseal", "--check", "apps/README"]).done();
    assert!(
        nothing
            .stderr
            .contains("holds nothing that needs resealing"),
        "{nothing:?}"
    );

    desk.commit("all");
    desk.git(&["sparse-checkout", "set", ".sealkit"]);
    assert!(!desk.exists("apps/db.yaml"));
    let answer = desk.seal(&["reseal", "--check"]);
    assert!(
        answer.code == 1 && answer.stdout.contains("apps/db.yaml: NotCheckedOut"),
        "{answer:?}"
    );
}

/// A file that people changed one value at a time, for long.
fn worn(desk: &Desk, count: usize) {
    let keys: Vec<String> = (0..count).map(|n| format!("K{n:02}")).collect();
    let values: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "first")).collect();
    desk.pipe(&["-w", FILE], secret("db", &values)).done();
    for key in &keys[1..] {
        desk.pipe(&["set", FILE, key.as_str()], format!("{key} again"))
            .done();
    }
}

#[test]
fn fold_puts_all_values_of_an_object_under_one_envelope() {
    let desk = repository();
    worn(&desk, 20);
    desk.write(
        FILE,
        &desk.read(FILE).replace("spec:\n", "# shop's\nspec:\n"),
    );
    let warned = desk.pipe(&["set", FILE, "K00"], "last").done().stderr;
    assert!(
        warned.contains("has 21 envelopes of at most 64")
            && warned.contains("`seal reseal --fold -i KEYFILE FILE`"),
        "{warned}"
    );
    desk.pipe(&["set", FILE, "URL", "--render", "--new"], "u")
        .done();
    desk.pipe(&["set", FILE, "USER", "--render", "--new"], "v")
        .done();
    let values = desk.values(RECOVERY, FILE);
    let before = snapshot(&desk.work());
    let dry = run(&desk, &["--fold", "--dry-run"]).done();
    assert!(dry.stderr.contains("would reseal"), "{dry:?}");
    assert_eq!(before, snapshot(&desk.work()));

    let folded = run(&desk, &["--fold"]).done();
    assert!(
        folded.stderr.contains("--fold opens all values"),
        "{folded:?}"
    );
    // One for values that templates may read.
    assert_eq!(desk.hints(FILE).len(), 2);
    assert_eq!(desk.values(RECOVERY, FILE), values);
    assert!(desk.read(FILE).contains("# shop's\nspec:\n"));
    desk.write(
        "template.yaml",
        "data: {both: '{{ .URL }}{{ .USER }}'}\nincludeRaw: false\n",
    );
    let sealed = desk.read(FILE);
    let template =
        "  template:\n    data: {both: '{{ .URL }}{{ .USER }}'}\n    includeRaw: false\n";
    desk.write(FILE, &format!("{sealed}{template}"));
    assert_eq!(desk.values(RECOVERY, FILE), json!({"both": "uv"}));
    let again = snapshot(&desk.work());
    run(&desk, &["--fold"]).done();
    assert_eq!(again, snapshot(&desk.work()));
}

#[test]
fn what_cannot_be_folded_is_named_and_sealed_to_the_new_key_all_the_same() {
    let desk = repository();
    let refused = desk.seal(&["reseal", "--fold", "--context", "nowhere"]);
    assert!(
        refused.code == 2 && refused.stderr.contains("--fold opens values"),
        "{refused:?}"
    );
    worn(&desk, 3);
    let sealed = desk.read(FILE);
    let damaged = sealed.lines().map(|line| {
        let (head, last) = line.split_at(line.len().saturating_sub(1));
        let flipped = if last == "A" { "Q" } else { "A" };
        let is_value = line.trim_start().starts_with("K01: ");
        format!("{head}{}", if is_value { flipped } else { last })
    });
    let damaged = damaged.collect::<Vec<_>>().join("\n") + "\n";
    desk.write(FILE, &damaged);
    rotate(&desk, "production");
    let answer = run(&desk, &["--fold"]);
    let found = format!("{FILE}: shop/db: NotFolded: ");
    assert!(
        answer.code == 1 && answer.stdout.contains(&found) && answer.stdout.contains("K01"),
        "{answer:?}"
    );
    assert_eq!(desk.hints(FILE).len(), 4);
    desk.seal(&["reseal", "--check"]).done();
}
