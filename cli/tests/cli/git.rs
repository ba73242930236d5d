use serde_json::json;

use crate::support::{Desk, SECRET, objects, secret};

const CONFIG: &str = "version: 1\nclusters:\n  production: {recipients: [.sealkit/production.pub]}\n\
    recovery: [.sealkit/recovery.pub]\n";
const FILE: &str = "db.sealed.yaml";
const RECOVERY: &str = "../home/recovery";

/// A repository with one object of four values, on branch `main`.
struct Story {
    desk: Desk,
}

impl Story {
    fn new(driver: bool) -> Self {
        let desk = Desk::repository(&["production", "recovery"], CONFIG);
        let story = Self { desk };
        let values = [("A", "1"), ("B", "2"), ("C", "3"), ("D", "4")];
        story.desk.pipe(&["-w", FILE], secret("db", &values)).done();
        story.desk.git(&["checkout", "-q", "-b", "main"]);
        if driver {
            story.desk.seal(&["git", "install"]).done();
        }
        story.desk.commit("begin");
        story
    }

    fn set(&self, key: &str, value: &str) {
        let set = ["set", FILE, key, "--accept-recipients"];
        self.desk.pipe(&set, value).done();
    }

    /// One change on `main`, another on `topic`; stands on `main` afterwards.
    fn fork(&self, ours: impl FnOnce(&Self), theirs: impl FnOnce(&Self)) {
        self.desk.git(&["checkout", "-q", "-b", "topic"]);
        theirs(self);
        self.desk.commit("theirs");
        self.desk.git(&["checkout", "-q", "main"]);
        ours(self);
        self.desk.commit("ours");
    }

    /// Does `topic` merge without a person?
    fn merges(&self) -> bool {
        let merge = self.desk.try_git(&["merge", "-q", "topic"]);
        merge.status.success()
    }

    fn values(&self) -> serde_json::Value {
        self.desk.values(RECOVERY, FILE)
    }

    fn rotate(&self, name: &str) {
        let private = format!("../home/{name}");
        let generate = ["keys", "generate", "--classic", "-w", &private];
        let public = self.desk.seal(&generate).done().stdout;
        self.desk.write(".sealkit/production.pub", &public);
        self.reseal();
    }

    fn reseal(&self) {
        let reseal = ["reseal", "-i", RECOVERY, "--accept-recipients"];
        self.desk.seal(&reseal).done();
    }
}

#[test]
fn edits_of_different_keys_merge_without_a_key() {
    let story = Story::new(true);
    story.fork(|it| it.set("B", "ours"), |it| it.set("C", "theirs"));
    story.desk.git(&["merge", "-q", "topic"]);
    assert_eq!(
        story.values(),
        json!({"A": "1", "B": "ours", "C": "theirs", "D": "4"})
    );

    // New keys in one place, and keys that go.
    let story = Story::new(true);
    story.fork(
        |it| {
            it.set("E", "ours");
            it.desk.seal(&["unset", FILE, "A"]).done();
        },
        |it| {
            it.set("F", "theirs");
            it.desk.seal(&["unset", FILE, "D"]).done();
        },
    );
    story.desk.git(&["merge", "-q", "topic"]);
    assert_eq!(
        story.values(),
        json!({"B": "2", "C": "3", "E": "ours", "F": "theirs"})
    );
    assert_eq!(story.desk.hints(FILE).len(), 3);
    story.desk.seal(&["verify", "-i", RECOVERY]).done();
}

#[test]
fn lines_beside_the_values_merge_as_lines() {
    let story = Story::new(true);
    story.fork(
        |it| {
            it.set("B", "ours");
            let text = it
                .desk
                .read(FILE)
                .replace("spec:\n", "# owned by shop\nspec:\n");
            it.desk.write(FILE, &text);
        },
        |it| {
            it.set("C", "theirs");
            let text = it.desk.read(FILE) + "  target:\n    creationPolicy: Orphan\n";
            it.desk.write(FILE, &text);
        },
    );
    story.desk.git(&["merge", "-q", "topic"]);
    let text = story.desk.read(FILE);
    assert!(
        text.contains("# owned by shop") && text.contains("creationPolicy: Orphan"),
        "{text}"
    );
    assert_eq!(story.desk.values(RECOVERY, FILE)["C"], "theirs");
}

#[test]
fn the_same_key_is_a_conflict_that_a_person_can_finish() {
    for pick in ["ours", "theirs"] {
        let story = Story::new(true);
        story.fork(
            |it| {
                it.set("B", "ours");
                it.set("A", "1a");
            },
            |it| {
                it.set("B", "theirs");
                it.set("D", "4a");
            },
        );
        let merge = story.desk.try_git(&["merge", "topic"]);
        assert_eq!(merge.status.code(), Some(1));
        let text = String::from_utf8_lossy(&merge.stderr);
        assert!(text.contains("both sides changed the value of B"), "{text}");
        let file = story.desk.read(FILE);
        let marked: Vec<&str> = file
            .lines()
            .skip_while(|it| !it.starts_with("<<<<<<<"))
            .collect();
        assert_eq!(file.matches("<<<<<<<").count(), 1, "{file}");
        assert!(
            marked[1].contains("B: sk1.") && marked[2] == "=======",
            "{file}"
        );
        // A person keeps one of the two lines.
        let mut side = None;
        let kept: Vec<&str> = file
            .lines()
            .filter(|line| match line.get(..7) {
                Some("<<<<<<<") => {
                    side = Some("ours");
                    false
                }
                Some("=======") => {
                    side = Some("theirs");
                    false
                }
                Some(">>>>>>>") => {
                    side = None;
                    false
                }
                _ => side.is_none_or(|side| side == pick),
            })
            .collect();
        story.desk.write(FILE, &(kept.join("\n") + "\n"));
        story.desk.seal(&["verify", "-i", RECOVERY]).done();
        let values = json!({"A": "1a", "B": pick, "C": "3", "D": "4a"});
        assert_eq!(story.values(), values);
        story.desk.commit("merged");
    }
}

/// Lines would merge: the key that one side took out comes back under the other's hands.
#[test]
fn a_key_that_one_side_took_out_does_not_come_back_unseen() {
    let story = Story::new(true);
    story.fork(
        |it| drop(it.desk.seal(&["unset", FILE, "D"]).done()),
        |it| {
            it.set("D", "theirs");
            let text = it.desk.read(FILE);
            let line = text
                .lines()
                .find(|line| line.contains("    D: sk1."))
                .unwrap();
            let moved = text.replace(&format!("{line}\n"), "");
            let moved = moved.replace("  encryptedData:\n", &format!("  encryptedData:\n{line}\n"));
            it.desk.write(FILE, &moved);
        },
    );
    let merge = story.desk.try_git(&["merge", "topic"]);
    assert_eq!(merge.status.code(), Some(1), "{merge:?}");
}

#[test]
fn rotations_and_edits_meet() {
    // A rotation on one side, an edit on the other.
    let story = Story::new(true);
    story.fork(|it| it.rotate("second"), |it| it.set("C", "theirs"));
    story.desk.git(&["merge", "-q", "topic"]);
    assert_eq!(story.values()["C"], "theirs");
    let check = story.desk.seal(&["reseal", "--check"]);
    assert_eq!(
        check.stdout.matches("NeedsReseal").count(),
        1,
        "the edit's envelope: {check:?}"
    );
    story.reseal();
    assert_eq!(story.desk.values("../home/second", FILE)["C"], "theirs");
    story.desk.seal(&["verify", "-i", RECOVERY]).done();
    story.desk.commit("resealed");

    // Both sides reseal to the same key: the bytes differ, what they say does not.
    story.desk.git(&["branch", "-q", "-D", "topic"]);
    let private = "../home/third";
    let generate = ["keys", "generate", "--classic", "-w", private];
    let public = story.desk.seal(&generate).done().stdout;
    story.desk.write(".sealkit/production.pub", &public);
    story.desk.commit("a third key");
    story.fork(Story::reseal, |it| {
        it.reseal();
        it.set("A", "later");
    });
    story.desk.git(&["merge", "-q", "topic"]);
    assert_eq!(story.desk.values(private, FILE)["A"], "later");
    story
        .desk
        .seal(&["reseal", "--check", "-i", RECOVERY])
        .done();

    // The rotation is taken back, and made again.
    let story = Story::new(true);
    story.rotate("second");
    story.desk.commit("rotated");
    story.set("B", "later");
    story.desk.commit("edited");
    story.desk.git(&["revert", "--no-edit", "HEAD~1"]);
    assert_eq!(story.values()["B"], "later");
    let verify = story.desk.seal(&["verify"]);
    assert!(
        verify.code == 1 && verify.stdout.contains("OtherRecipients"),
        "{verify:?}"
    );
    story.reseal();
    story.desk.seal(&["verify", "-i", RECOVERY]).done();
}

#[test]
fn rebase_and_cherry_pick_use_the_driver() {
    let story = Story::new(true);
    story.fork(|it| it.set("B", "ours"), |it| it.set("C", "theirs"));
    story.desk.git(&["checkout", "-q", "topic"]);
    story.desk.git(&["rebase", "-q", "main"]);
    assert_eq!(
        story.values(),
        json!({"A": "1", "B": "ours", "C": "theirs", "D": "4"})
    );
    let story = Story::new(true);
    story.fork(|it| it.set("B", "ours"), |it| it.set("C", "theirs"));
    story.desk.git(&["cherry-pick", "topic"]);
    assert_eq!(
        story.values(),
        json!({"A": "1", "B": "ours", "C": "theirs", "D": "4"})
    );
}

/// A host's merge button knows no driver: what it leaves is right, or a conflict.
#[test]
fn without_the_driver_a_merge_is_right_or_a_conflict() {
    type Change = fn(&Story);
    let changes: [(Change, &str, &str); 5] = [
        (|it| it.set("A", "a"), "A", "a"),
        (|it| it.set("B", "b"), "B", "b"),
        (|it| it.set("D", "d"), "D", "d"),
        (|it| it.set("Z", "z"), "Z", "z"),
        (|it| it.rotate("second"), "A", "1"),
    ];
    let mut clean = 0;
    for (index, ours) in changes.iter().enumerate() {
        for theirs in &changes[index + 1..] {
            let story = Story::new(false);
            story.fork(ours.0, theirs.0);
            let merge = story.desk.try_git(&["merge", "-q", "topic"]);
            if merge.status.success() {
                clean += 1;
                let values = story.values();
                for (_, key, value) in [ours, theirs] {
                    let expected = values[*key] == **value || (*key == "A" && values["A"] == "a");
                    assert!(expected, "{key}: {values}");
                }
            } else {
                assert!(story.desk.read(FILE).contains("<<<<<<<"));
                assert_eq!(story.desk.seal(&["verify"]).code, 1, "markers are no YAML");
            }
        }
    }
    println!("{clean} of 10 merges without a driver were clean");
}

#[test]
fn git_shows_what_changed_and_the_set_up_is_made_once() {
    let story = Story::new(true);
    let attributes = story.desk.read(".gitattributes");
    let again = story.desk.seal(&["git", "install"]).done();
    assert!(!again.stderr.contains("wrote"));
    assert_eq!(story.desk.read(".gitattributes"), attributes);
    story.set("B", "new");
    let diff = story.desk.git(&["diff"]);
    let changed: Vec<&str> = diff
        .lines()
        .filter(|it| it.starts_with(['+', '-']))
        .collect();
    assert!(
        changed.iter().any(|it| it.starts_with("+    B: sealed ")),
        "{diff}"
    );
    assert!(
        !changed.iter().any(|it| it.contains("A: ")) && !diff.contains("sk1."),
        "{diff}"
    );

    story.desk.write(
        "old.yaml",
        &story.desk.git(&["show", &format!("HEAD:{FILE}")]),
    );
    let diff = story.desk.seal(&["diff", "old.yaml", FILE]);
    assert_eq!(diff.code, 1);
    assert!(
        diff.stdout
            .starts_with("SealedSecret shop/db\n  ~ encryptedData.B\n  + envelopes."),
        "{diff:?}"
    );
    assert_eq!(story.desk.seal(&["diff", FILE, FILE]).done().stdout, "");
    let outside = Desk::new();
    outside.refused(&["git", "install"], "", 3, "not a Git repository");
    // What is no YAML is shown as it is.
    story.desk.write("x.txt", "kind: [\n");
    assert_eq!(
        story.desk.seal(&["textconv", "x.txt"]).done().stdout,
        "kind: [\n"
    );
}

/// Git hands names of files to the drivers as they are.
#[test]
fn names_that_begin_with_a_dash_or_hold_spaces_are_merged_and_shown() {
    for name in ["-x.sealed.yaml", "--help.sealed.yaml", "-a b'c.sealed.yaml"] {
        let story = Story::new(true);
        let desk = &story.desk;
        desk.git(&["mv", "--", FILE, name]);
        desk.commit("moved");
        let set = |key: &str, value: &str| {
            desk.pipe(&["set", "--", name, key], value).done();
        };
        story.fork(|_| set("B", "ours"), |_| set("C", "theirs"));
        set("A", "later");
        let diff = desk.git(&["diff"]);
        assert!(
            diff.contains("+    A: sealed ") && !diff.contains("sk1."),
            "{diff}"
        );
        desk.git(&["commit", "-q", "-a", "-m", "later"]);
        desk.git(&["merge", "-q", "topic"]);
        let open = ["open", "-i", RECOVERY, "--decode", "-o", "json", "--", name];
        let text = desk.seal(&open).done().stdout;
        let values = &objects(&text)[0]["stringData"];
        let expected = json!({"A": "later", "B": "ours", "C": "theirs", "D": "4"});
        assert_eq!(*values, expected, "{name}");
    }
}

/// Layouts that cannot be edited fall back to lines, and lose nothing.
#[test]
fn what_cannot_be_merged_by_keys_is_merged_by_lines() {
    let story = Story::new(true);
    let flow = serde_json::to_string(&objects(&story.desk.read(FILE))[0]).unwrap();
    story.desk.write(FILE, &format!("# flow\n{flow}\n"));
    story.desk.commit("flow");
    let other = flow.replace("\"D\":", "\"E\":");
    let text = format!("# flow\n{other}\n");
    story.fork(
        |it| {
            let text = format!("# flow, ours\n\n\n\n{flow}\n");
            it.desk.write(FILE, &text);
        },
        |it| it.desk.write(FILE, &text),
    );
    let merge = story.desk.try_git(&["merge", "-q", "topic"]);
    let merged = story.desk.read(FILE);
    assert!(
        merge.status.code() == Some(1) && merged.contains("<<<<<<<"),
        "{merged}"
    );
    assert!(merged.contains("# flow, ours") && merged.contains("\"E\":"));
}

/// What `git commit` says, and whether it made a commit.
fn committed(desk: &Desk, arguments: &[&str]) -> (bool, String) {
    let commit = desk.try_git(&[&["commit", "-q", "-m", "next"], arguments].concat());
    let mut said = String::from_utf8(commit.stdout).unwrap();
    said += &String::from_utf8(commit.stderr).unwrap();
    (commit.status.success(), said)
}

#[test]
fn the_hook_stops_plain_secrets_and_private_keys() {
    let story = Story::new(true);
    let desk = &story.desk;
    // What counts is what is staged, not what lies there.
    desk.write("plain.yaml", SECRET);
    desk.git(&["add", "plain.yaml"]);
    desk.write("plain.yaml", &desk.read(FILE));
    let (done, said) = committed(desk, &[]);
    assert!(!done && !said.contains("hunter2"), "{said}");
    assert!(
        said.contains("plain.yaml:4:14: PlaintextSecret: Secret shop/db"),
        "{said}"
    );
    desk.git(&["reset", "-q"]);
    desk.write("plain.yaml", SECRET);
    desk.write("notes.txt", "nothing\n");
    desk.git(&["add", "notes.txt"]);
    let (done, said) = committed(desk, &[]);
    assert!(
        done,
        "a plain Secret that is not staged is nobody's matter: {said}"
    );

    // A private key, whatever the file is called; `commit -a` and `commit FILE` have another index.
    let key = desk.read("../home/recovery");
    desk.write("notes.txt", &format!("see\n{key}"));
    for arguments in [&["-a"][..], &["notes.txt"]] {
        let (done, said) = committed(desk, arguments);
        assert!(!done && !said.contains("AGE-SECRET-KEY"), "{said}");
        assert!(
            said.contains("notes.txt:") && said.contains(": PrivateKey: "),
            "{said}"
        );
    }
    let (done, _) = committed(desk, &["-a", "--no-verify"]);
    assert!(done, "whoever knows better goes past it");

    // From a folder below, and in a linked work tree.
    desk.git(&["worktree", "add", "-q", "../home/tree", "HEAD~1"]);
    std::fs::create_dir_all(desk.path("../home/tree/below")).unwrap();
    desk.write("../home/tree/below/plain.yaml", SECRET);
    desk.git(&["-C", "../home/tree/below", "add", "plain.yaml"]);
    let commit = desk.try_git(&["-C", "../home/tree/below", "commit", "-q", "-m", "next"]);
    let said = String::from_utf8(commit.stderr).unwrap();
    assert!(
        !commit.status.success() && said.contains("below/plain.yaml:4:14: PlaintextSecret"),
        "{said}"
    );
}

#[test]
fn the_hook_checks_sealed_files_and_does_not_ask_for_work_of_others() {
    let story = Story::new(true);
    let desk = &story.desk;
    let text = desk.read(FILE);
    desk.write(
        FILE,
        &text.replacen("namespace: shop", "namespace: Shop", 1),
    );
    let (done, said) = committed(desk, &["-a"]);
    assert!(!done && said.contains("db.sealed.yaml"), "{said}");
    desk.write(FILE, &text);

    // The cluster has another key, and the file is not resealed: whoever changes one value need
    // not be able to.
    let generate = ["keys", "generate", "--classic", "-w", "../home/next"];
    let public = desk.seal(&generate).done().stdout;
    desk.write(".sealkit/production.pub", &public);
    story.set("A", "new");
    assert_eq!(
        desk.seal(&["verify", "."]).code,
        1,
        "the old envelope is stale"
    );
    let (done, said) = committed(desk, &["-a"]);
    assert!(done, "{said}");
    // What is new is for whom the path is for.
    let other = desk
        .pipe(&["-R", "key.pub", "--accept-recipients"], SECRET)
        .done();
    desk.write("other.sealed.yaml", &other.stdout);
    desk.git(&["add", "other.sealed.yaml"]);
    let (done, said) = committed(desk, &[]);
    assert!(!done && said.contains("OtherRecipients"), "{said}");
    desk.git(&["rm", "-q", "-f", "other.sealed.yaml"]);
    desk.git(&["rm", "-q", FILE]);
    assert!(committed(desk, &[]).0, "files may go");
}

#[test]
fn the_first_commit_is_checked_too() {
    let desk = Desk::repository(&["production", "recovery"], CONFIG);
    desk.seal(&["git", "install"]).done();
    desk.write("plain.yaml", SECRET);
    desk.git(&["add", "-A"]);
    assert!(!committed(&desk, &[]).0);
    desk.refused(&["verify", "--staged", "."], "", 2, "--staged");
    Desk::new().refused(&["verify", "--staged"], "", 3, "not a Git repository");
}

fn set_mode(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn hooks_of_others_stay() {
    let desk = Desk::repository(&["production", "recovery"], CONFIG);
    let hook = ".git/hooks/pre-commit";
    desk.write(hook, "#!/bin/sh\nexit 0\n");
    let answer = desk.seal(&["git", "install"]).done();
    assert!(
        answer
            .stderr
            .contains("call `seal lint --staged && seal verify --staged` from your own hook")
    );
    assert_eq!(desk.read(hook), "#!/bin/sh\nexit 0\n");
    // Turned off, or passed over by Git.
    for (text, mode) in [
        ("#!/bin/sh\n# seal verify --staged\n", 0o755),
        ("#!/bin/sh\nseal verify --staged\n", 0o644),
    ] {
        desk.write(hook, text);
        set_mode(&desk.path(hook), mode);
        let answer = desk.seal(&["git", "install"]).done();
        assert!(answer.stderr.contains("from your own hook"), "{answer:?}");
    }
    desk.write(hook, "#!/bin/sh\nseal verify --staged && other\n");
    set_mode(&desk.path(hook), 0o755);
    let answer = desk.seal(&["git", "install"]).done();
    assert!(!answer.stderr.contains("hook"), "{answer:?}");
    std::fs::remove_file(desk.path(hook)).unwrap();

    // Another program's folder.
    desk.git(&["config", "core.hooksPath", "../home/hooks"]);
    let answer = desk.seal(&["git", "install"]).done();
    assert!(answer.stderr.contains("from your own hook"), "{answer:?}");
    assert!(!desk.exists("../home/hooks") && !desk.exists(hook));
    desk.git(&["config", "--unset", "core.hooksPath"]);

    // Twice is once, and without `seal` nothing is committed unseen.
    for _ in 0..2 {
        desk.seal(&["git", "install"]).done();
    }
    desk.git(&["add", ".sealkit.yaml"]);
    let commit = std::process::Command::new("git")
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.com",
            "commit",
            "-q",
            "-m",
            "x",
        ])
        .current_dir(desk.work())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&commit.stderr).into_owned();
    assert!(
        !commit.status.success() && said.contains("not on the PATH"),
        "{said}"
    );
}

/// The published merges: the driver does as each says.
#[test]
fn every_merge_vector_has_its_outcome() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/merge");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let cases: Vec<serde_json::Value> = serde_json::from_str(&read("index.json")).unwrap();
    assert!(cases.len() > 10, "the index is cut");
    for case in cases {
        let text = |field: &str| case[field].as_str();
        let desk = Desk::new();
        desk.git_init();
        if let Some(recipients) = text("recipients") {
            desk.write(
                ".sealkit.yaml",
                "version: 1\nclusters: {a: {recipients: [a.pub]}}\n",
            );
            desk.write("a.pub", &read(recipients));
        }
        for side in ["base", "ours", "theirs"] {
            desk.write(&format!("{side}.tmp"), &read(text(side).unwrap()));
        }
        let merge = ["merge-driver", "base.tmp", "ours.tmp", "theirs.tmp", FILE];
        let answer = desk.seal(&merge);
        if text("expect") == Some("merges") {
            assert_eq!(
                answer.code,
                0,
                "{case}: {answer:?}\n{}",
                desk.read("ours.tmp")
            );
            let result = objects(&read(text("result").unwrap()));
            assert_eq!(objects(&desk.read("ours.tmp")), result, "{case}");
        } else {
            assert_eq!(answer.code, 1, "{case}: {answer:?}");
            assert!(desk.read("ours.tmp").contains("<<<<<<<"), "{case}");
        }
    }
}

/// Lines of another style than ours, which no other tool has to write: what both sides add is no
/// conflict, and what one side says beside values is not lost.
#[test]
fn style_is_no_conflict_and_comments_are_not_lost() {
    let story = Story::new(true);
    let quoted = |text: &str| {
        let lines = text
            .lines()
            .map(|line| match line.trim_start().split_once(": sk1.") {
                Some((key, value)) => {
                    let key = key.trim_matches(['\'', '"']);
                    format!("    '{key}': 'sk1.{value}'\n")
                }
                None => format!("{line}\n"),
            });
        lines.collect::<String>()
    };
    let restyle = |it: &Story| it.desk.write(FILE, &quoted(&it.desk.read(FILE)));
    restyle(&story);
    story.desk.commit("another tool");
    let add = |it: &Story, key: &str, value: &str| {
        it.set(key, value);
        restyle(it);
    };
    story.fork(|it| add(it, "E", "ours"), |it| it.set("F", "theirs"));
    story.desk.git(&["merge", "-q", "topic"]);
    let merged = json!({"A": "1", "B": "2", "C": "3", "D": "4", "E": "ours", "F": "theirs"});
    assert_eq!(story.values(), merged);

    let comment = |it: &Story, text: &str| {
        let with = it
            .desk
            .read(FILE)
            .replace("'A': ", &format!("# {text}\n    'A': "));
        it.desk.write(FILE, &with);
    };
    let both = |it: &Story, key: &str, text: &str| {
        add(it, key, "new");
        comment(it, text);
    };
    story.desk.git(&["branch", "-D", "topic"]);
    story.fork(
        |it| both(it, "G", "of ours"),
        |it| {
            it.set("H", "new");
            comment(it, "of theirs");
        },
    );
    assert!(!story.merges());
    let left = story.desk.read(FILE);
    assert!(
        left.contains("# of ours") && left.contains("# of theirs"),
        "{left}"
    );
}

/// What is committed decides, config and keys too; what lies on the disk does not.
#[test]
fn the_work_tree_does_not_mislead_the_hook() {
    let story = Story::new(true);
    let desk = &story.desk;
    let evil = desk
        .pipe(&["-R", "key.pub", "--accept-recipients"], SECRET)
        .done();
    desk.write("prod/evil.sealed.yaml", &evil.stdout);
    desk.git(&["add", "prod"]);
    let refused = |what: &str| {
        let (done, said) = committed(desk, &[]);
        assert!(!done && said.contains("OtherRecipients"), "{what}: {said}");
    };
    refused("for others");
    std::fs::create_dir_all(desk.path("prod/.git")).unwrap();
    refused("a folder that looks like another repository");
    std::fs::remove_dir(desk.path("prod/.git")).unwrap();
    let config = desk.read(".sealkit.yaml");
    desk.write(
        ".sealkit.yaml",
        &config.replace(".sealkit/production.pub", "key.pub"),
    );
    refused("a config that is not committed");
    desk.write(".sealkit.yaml", &config);
    std::fs::remove_dir_all(desk.path("prod")).unwrap();
    std::os::unix::fs::symlink("/tmp", desk.path("prod")).unwrap();
    refused("a link in its place");
    std::fs::remove_file(desk.path("prod")).unwrap();
    // With the config that makes it right, in one commit; the disk says something else meanwhile.
    desk.write(
        ".sealkit.yaml",
        &config.replace(".sealkit/production.pub", "key.pub"),
    );
    let config_of_one = desk
        .read(".sealkit.yaml")
        .replace("    recovery: [.sealkit/recovery.pub]\n", "");
    desk.write(
        ".sealkit.yaml",
        &config_of_one.replace("recovery: [.sealkit/recovery.pub]\n", ""),
    );
    desk.git(&["add", "-f", ".sealkit.yaml", "key.pub"]);
    desk.write(".sealkit.yaml", "version: 1\n");
    let (done, said) = committed(desk, &[]);
    assert!(done, "{said}");
}

#[test]
fn the_hook_reads_as_other_programs_do() {
    let story = Story::new(true);
    let desk = &story.desk;
    let key = desk.read("../home/recovery");
    let key = key.lines().find(|line| line.starts_with("AGE")).unwrap();
    for (name, text) in [
        ("list.json", r#"{"kind":"SecretList","apiVersion":"v1","items":[{"metadata":{"name":"a"},"data":{"a":"YQ=="}}]}"#.to_owned()),
        ("nested.yaml", format!("kind: List\napiVersion: v1\nitems: [{{kind: List, apiVersion: v1, items: [{}]}}]\n", secret("a", &[("a", "b")]))),
        ("twice.yaml", "apiVersion: v1\nkind: Secret # prod\nmetadata: {name: a}\nstringData: {a: b, a: c}\n".to_owned()),
        ("twice.json", r#"{"apiVersion":"v1","kind":"Secret","stringData":{"a":"b","a":"c"}}"#.to_owned()),
        ("LOUD.YAML", SECRET.to_owned()),
        (".yaml", SECRET.to_owned()),
        ("glued.txt", format!("x{key}-old\n")),
    ] {
        desk.write(name, &text);
        desk.git(&["add", name]);
        let (done, said) = committed(desk, &[]);
        assert!(!done && said.contains(name), "{name}: {said}");
        desk.git(&["rm", "-q", "--cached", name]);
    }
    std::os::unix::fs::symlink(key, desk.path("link")).unwrap();
    desk.git(&["add", "link"]);
    let (done, said) = committed(desk, &[]);
    assert!(!done && said.contains("link: PrivateKey"), "{said}");
    desk.git(&["rm", "-q", "--cached", "link"]);
    // Some other program's, in another encoding.
    std::fs::write(desk.path("latin.json"), b"{\"name\": \"caf\xe9\"}").unwrap();
    desk.git(&["add", "latin.json"]);
    let (done, said) = committed(desk, &[]);
    assert!(done, "{said}");
    // An identity in the environment is nobody's business here.
    let mut other = Desk::repository(&["production", "recovery"], CONFIG);
    other.pipe(&["-w", FILE], SECRET).done();
    other.git(&["add", FILE, ".sealkit.yaml", ".sealkit"]);
    other.set("SEALKIT_IDENTITY_FILE", "/nowhere");
    other.seal(&["verify", "--staged"]).done();
}

#[test]
fn the_hook_asks_for_nobody_elses_work() {
    // A branch from before a rotation takes it in, and what was added and is stale meanwhile.
    let story = Story::new(true);
    let desk = &story.desk;
    let add = |name: &str| {
        let file = format!("{name}.sealed.yaml");
        desk.pipe(
            &["-w", &file, "--accept-recipients"],
            secret(name, &[("a", "b")]),
        )
        .done();
    };
    desk.write("notes.txt", "1\n");
    desk.commit("notes");
    story.fork(
        |it| {
            add("stale");
            it.desk.write("notes.txt", "2\n");
            it.desk.git(&["add", "-A"]);
            it.desk.git(&["commit", "-q", "-m", "added"]);
            let generate = ["keys", "generate", "--classic", "-w", "../home/next"];
            let public = it.desk.seal(&generate).done().stdout;
            it.desk.write(".sealkit/production.pub", &public);
        },
        |it| it.desk.write("notes.txt", "3\n"),
    );
    desk.git(&["checkout", "-q", "topic"]);
    assert!(!desk.try_git(&["merge", "-q", "main"]).status.success());
    desk.write("notes.txt", "4\n");
    desk.git(&["add", "notes.txt"]);
    let (done, said) = committed(desk, &[]);
    assert!(done, "{said}");
    desk.git(&["mv", "stale.sealed.yaml", "moved.sealed.yaml"]);
    let (done, said) = committed(desk, &[]);
    assert!(done, "{said}");

    // What was committed before leaks no more than it did.
    desk.write(
        "old.yaml",
        &format!("{SECRET}---\nkind: A\napiVersion: v1\n"),
    );
    let key = desk.read("../home/recovery");
    desk.write("old.txt", &key);
    desk.git(&["add", "-A"]);
    assert!(!committed(desk, &[]).0);
    assert!(committed(desk, &["--no-verify"]).0);
    desk.write(
        "old.yaml",
        &format!("{SECRET}---\nkind: B\napiVersion: v1\n"),
    );
    desk.write("old.txt", &format!("more\n{key}"));
    let (done, said) = committed(desk, &["-a"]);
    assert!(done, "{said}");
    desk.write("old.yaml", &SECRET.replace("hunter2", "hunter3"));
    assert!(!committed(desk, &["-a"]).0, "another value");
}

/// Where one side takes an object out, or renames it, a person decides, or nothing is lost.
#[test]
fn no_value_goes_with_an_object_unseen() {
    let removed = |it: &Story| {
        let text = it.desk.read(FILE);
        let first = text.split("---\n").next().unwrap();
        it.desk.write(FILE, first);
    };
    let renamed = |it: &Story| {
        let text = it.desk.read(FILE).replace("name: cache", "name: caches");
        it.desk.write(FILE, &text);
    };
    let set = |it: &Story| {
        let set = ["set", FILE, "--name", "cache", "C", "--accept-recipients"];
        it.desk.pipe(&set, "NEW").done();
    };
    for (at, other) in [removed as fn(&Story), renamed].into_iter().enumerate() {
        for ours_changes in [true, false] {
            let config = format!("{CONFIG}defaults: {{scope: namespace-wide}}\n");
            let desk = Desk::repository(&["production", "recovery"], &config);
            let story = Story { desk };
            let both = secret("db", &[("A", "1")])
                + "\n---\n"
                + &secret("cache", &[("C", "3"), ("D", "4")]);
            story.desk.pipe(&["-w", FILE], both).done();
            story.desk.git(&["checkout", "-q", "-b", "main"]);
            story.desk.seal(&["git", "install"]).done();
            story.desk.commit("begin");
            if ours_changes {
                story.fork(set, other);
            } else {
                story.fork(other, set);
            }
            if story.merges() {
                // Lines that both have merged: under its new name it has its new value.
                let open = ["open", "-i", RECOVERY, FILE, "--decode"];
                let said = story.desk.seal(&open).done().stdout;
                assert!(said.contains("C: NEW"), "{at} {ours_changes}: {said}");
            }
        }
    }
}

/// Comments that move are changes, as everything is that stands beside values.
#[test]
fn moved_comments_are_not_lost() {
    let with = |it: &Story, from: &str, to: &str| {
        let text = it.desk.read(FILE);
        assert!(text.contains(from), "{from}: {text}");
        it.desk.write(FILE, &text.replace(from, to));
    };
    let lines = |story: &Story| {
        let text = story.desk.read(FILE);
        let line = |key: &str| {
            text.lines()
                .find(|it| it.starts_with(key))
                .unwrap()
                .to_owned()
                + "\n"
        };
        (line("    A: "), line("    B: "))
    };
    let comment = "    # monthly\n";
    let start = |trailing: bool| {
        let story = Story::new(true);
        let (a, _) = lines(&story);
        let commented = if trailing {
            a.replace('\n', " # monthly\n")
        } else {
            format!("{comment}{a}")
        };
        with(&story, &a, &commented);
        story.desk.commit("comment");
        story
    };
    // Theirs moves it to another key; ours changes its words.
    let story = start(false);
    let (_, b) = lines(&story);
    story.fork(
        |it| with(it, "# monthly", "# monthly, see RUNBOOK"),
        |it| {
            with(it, comment, "");
            with(it, &b, &format!("{comment}{b}"));
        },
    );
    assert!(!story.merges());
    let story = start(true);
    let (_, b) = lines(&story);
    story.fork(
        |it| with(it, "# monthly", "# yearly"),
        |it| {
            with(it, " # monthly", "");
            with(it, &b, &b.replace('\n', " # monthly\n"));
        },
    );
    assert!(!story.merges());
}

/// A tag is fetched from anybody; a merge is what this clone does.
#[test]
fn a_tag_named_like_a_merge_excuses_no_secret() {
    let desk = Desk::new();
    desk.git_init();
    desk.write("x.txt", "x\n");
    desk.commit("begin");
    let begin = desk.git(&["rev-parse", "HEAD"]).trim().to_owned();
    desk.write("plain.yaml", SECRET);
    desk.commit("plain");
    desk.git(&["tag", "MERGE_HEAD"]);
    desk.git(&["reset", "-q", "--soft", &begin]);
    let answer = desk.seal(&["verify", "--staged"]);
    assert!(
        answer.code == 1 && answer.stdout.contains("PlaintextSecret"),
        "{answer:?}"
    );
}
