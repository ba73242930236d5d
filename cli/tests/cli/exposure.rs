use serde_json::Value;

use crate::support::{Desk, secret};

const CONFIG: &str = "version: 1\nclusters:\n  production: {recipients: [.sealkit/production.pub]}\n\
    recovery: [.sealkit/recovery.pub]\n";
const RECOVERY: &str = "../home/recovery";
const FILE: &str = "db.sealed.yaml";

fn set(desk: &Desk, key: &str, value: &str) {
    let set = ["set", FILE, key, "--accept-recipients"];
    desk.pipe(&set, value).done();
    desk.commit(key);
}

/// States by key, as the report has them.
fn states(desk: &Desk, arguments: &[&str]) -> Vec<(String, String)> {
    let fixed = ["keys", "exposure", "-o", "json"];
    let arguments: Vec<&str> = fixed.iter().chain(arguments).copied().collect();
    let answer = desk.seal(&arguments);
    let report: Value = serde_json::from_str(&answer.stdout).unwrap();
    let values = report["values"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut states: Vec<_> = values
        .map(|it| (text(&it["key"]), text(&it["state"])))
        .collect();
    states.sort();
    let in_use = |(_, state): &(String, String)| state != "replaced" && state != "gone";
    assert_eq!(
        answer.code,
        i32::from(states.iter().any(in_use)),
        "{answer:?}"
    );
    states
}

#[test]
fn what_a_leaked_key_reads_is_listed_by_value_over_all_of_history() {
    let desk = Desk::repository(&["production", "recovery"], CONFIG);
    let values = [("A", "1"), ("B", "2"), ("C", "3"), ("D", "4")];
    desk.pipe(&["-w", FILE], secret("db", &values)).done();
    desk.commit("begin");
    let leaked = desk.fingerprint(".sealkit/production.pub");
    // A value that only another branch ever had.
    desk.git(&["checkout", "-q", "-b", "topic"]);
    set(&desk, "T", "topic");
    desk.git(&["checkout", "-q", "-"]);

    let generate = ["keys", "generate", "--classic", "-w", "../home/second"];
    let public = desk.seal(&generate).done().stdout;
    desk.write(".sealkit/production.pub", &public);
    let reseal = ["reseal", "-q", "-i", RECOVERY, "--accept-recipients"];
    desk.seal(&reseal).done();
    desk.commit("rotated");
    set(&desk, "B", "new");
    set(&desk, "C", "3");
    set(&desk, "N", "never under the old key");
    desk.seal(&["unset", FILE, "D"]).done();
    std::fs::create_dir(desk.path("moved")).unwrap();
    desk.git(&["mv", FILE, "moved/db.sealed.yaml"]);
    desk.commit("moved");

    // The other branch has them all as they were. Without it, they are in history alone.
    let on_a_branch = states(&desk, &[&leaked]);
    assert_eq!(
        on_a_branch
            .iter()
            .filter(|it| it.1 == "on-a-branch")
            .count(),
        4
    );
    desk.git(&["tag", "kept", "topic"]);
    desk.git(&["branch", "-q", "-D", "topic"]);
    let pairs = |states: [(&str, &str); 5]| states.map(|(k, s)| (k.to_owned(), s.to_owned()));
    let blind = [
        ("A", "exposed"),
        ("B", "sealed-anew"),
        ("C", "sealed-anew"),
        ("D", "gone"),
        ("T", "gone"),
    ];
    assert_eq!(states(&desk, &[&leaked]), pairs(blind));
    let proven = [
        ("A", "exposed"),
        ("B", "replaced"),
        ("C", "same-value"),
        ("D", "gone"),
        ("T", "gone"),
    ];
    assert_eq!(
        states(&desk, &[&leaked[..16], "-i", RECOVERY]),
        pairs(proven)
    );

    let text = desk.seal(&["keys", "exposure", &leaked]);
    assert_eq!(text.code, 1);
    let first = text.stdout.lines().nth(1).unwrap();
    assert!(
        first.starts_with("exposed") && first.contains("moved/db.sealed.yaml"),
        "{text:?}"
    );
    for note in ["not searched: forks", "pass -i FILE to see"] {
        assert!(text.stderr.contains(note), "{text:?}");
    }
    // Another key read nothing but what is under it; all classic keys read everything.
    let second = desk.fingerprint(".sealkit/production.pub");
    let keys: Vec<_> = states(&desk, &[&second])
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(
        keys,
        ["A", "B", "B", "C", "C", "D", "N"],
        "the rewrap opened the old ones too"
    );
    assert_eq!(states(&desk, &["--classic"]).len(), 8);
    let nobody = ["keys", "exposure", &"0".repeat(32)];
    desk.refused(&nobody, "", 3, "names this key");
    // Names and beginnings mean the same.
    for word in ["production", &second[..4], &second.to_uppercase()] {
        assert_eq!(states(&desk, &[word]).len(), 7, "{word}");
    }
    for typo in ["prodution", &format!("{}{}", &second[..12], "zz")] {
        desk.refused(&["keys", "exposure", typo], "", 3, "names this key");
    }
}

#[test]
fn hints_that_cannot_be_read_count_as_exposed() {
    let desk = Desk::repository(&["production", "recovery"], CONFIG);
    desk.pipe(&["-w", FILE], secret("db", &[("A", "1")])).done();
    let hint = desk.hints(FILE)[0][0].clone();
    desk.write(FILE, &desk.read(FILE).replace(&hint, "somebody"));
    desk.commit("begin");
    assert_eq!(states(&desk, &[&"0".repeat(16)]).len(), 1);
}

/// A version that we cannot read may be read by others.
#[test]
fn versions_that_cannot_be_read_count_as_exposed() {
    let desk = Desk::repository(&["production", "recovery"], CONFIG);
    desk.pipe(&["-w", FILE], secret("db", &[("A", "1")])).done();
    let text = desk.read(FILE);
    desk.write(FILE, &text.replace("spec:", "kind: SealedSecret\nspec:"));
    desk.commit("twice");
    let answer = desk.seal(&["keys", "exposure", &"0".repeat(16)]);
    assert!(
        answer.code == 1 && answer.stdout.contains("(unreadable)"),
        "{answer:?}"
    );
}

/// A patch can bring a value, and its envelope, that no object in a file has.
#[test]
fn values_outside_of_objects_count_however_they_are_spelled() {
    let desk = Desk::repository(&["production", "recovery"], CONFIG);
    desk.pipe(&["-w", FILE], secret("db", &[("A", "1")])).done();
    let text = desk.read(FILE);
    let value = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("A: "));
    let value = value.unwrap().to_owned();
    let leaked = desk.fingerprint(".sealkit/production.pub");
    std::fs::remove_file(desk.path(FILE)).unwrap();
    desk.write("patch.yaml", &format!("op: replace\nvalue: {value}\n"));
    desk.commit("a patch");
    let unknown = [("line 2".to_owned(), "exposed".to_owned())];
    assert_eq!(states(&desk, &[&"0".repeat(32)]), unknown);
    // An object says who can open it, and only the patch has it now.
    desk.write(FILE, &text);
    desk.commit("an object");
    let nobody = ["keys", "exposure", &"0".repeat(32)];
    desk.refused(&nobody, "", 3, "names this key");
    std::fs::remove_file(desk.path(FILE)).unwrap();
    let (one, two) = value.split_at(70);
    desk.write("patch.yaml", &format!("value: \"{one}\\\n  {two}\"\n"));
    desk.commit("folded");
    let state = states(&desk, &[&leaked]);
    assert_eq!(state.len(), 1);
    assert_eq!(state[0].1, "exposed");
}

#[test]
fn bad_questions_are_refused() {
    let desk = Desk::repository(&["production", "recovery"], CONFIG);
    desk.refused(&["keys", "exposure"], "", 2, "no key is named");
    desk.refused(&["keys", "exposure", "xyz"], "", 3, "names this key");
    desk.refused(
        &["keys", "exposure", "--classic"],
        "",
        3,
        "no such revision",
    );
    let outside = Desk::new();
    let not = ["keys", "exposure", "--classic"];
    outside.refused(&not, "", 3, "not a Git repository");
    // A shallow clone would look clean.
    desk.pipe(&["-w", FILE], secret("db", &[("A", "1")])).done();
    desk.commit("one");
    set(&desk, "A", "2");
    let origin = format!("file://{}", desk.work().display());
    desk.git(&["clone", "-q", "--depth", "1", &origin, "../home/shallow"]);
    let shallow = desk.path("../home/shallow");
    let answer = desk.run_in(&shallow, &["keys", "exposure", "--classic"], "");
    assert!(
        answer.code == 3 && answer.stderr.contains("shallow clone"),
        "{answer:?}"
    );
}
