//! Which repository a path belongs to is Git's decision: its config chooses recipients.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::support::{Desk, SECRET};

const CONFIG: &str = "version: 1\nclusters: {a: {recipients: [.sealkit/a.pub]}}\n";

/// Seals into a file of this folder.
fn sealed_in(desk: &Desk, folder: &str) -> crate::support::Answer {
    std::fs::create_dir_all(desk.path(folder)).unwrap();
    desk.run_in(&desk.path(folder), &["-w", "db.sealed.yaml"], SECRET)
}

/// Git passes over such a folder, and so does its config.
#[test]
fn a_planted_git_folder_chooses_no_recipient() {
    let desk = Desk::new();
    desk.write(".git/x", "");
    desk.write(".sealkit/a.pub", &desk.read("key.pub"));
    desk.write(".sealkit.yaml", CONFIG);
    let answer = sealed_in(&desk, "victim");
    assert!(
        answer.code == 2 && answer.stderr.contains("no recipient to seal to"),
        "{answer:?}"
    );
    assert!(!desk.exists("victim/db.sealed.yaml"));
}

#[test]
fn a_repository_that_git_does_not_trust_is_refused_with_its_reason() {
    let mut desk = Desk::repository(&["a"], CONFIG);
    sealed_in(&desk, "below").done();
    desk.commit("begin");
    // As if somebody else owned it.
    desk.set("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1");
    let verbs: [&[&str]; 8] = [
        &["-w", "other.yaml"],
        &[],
        &["set", "below/db.sealed.yaml", "K"],
        &["verify"],
        &["verify", "below/db.sealed.yaml"],
        &["verify", "--base", "HEAD"],
        &["verify", "--staged"],
        &["git", "install"],
    ];
    for verb in verbs {
        let answer = desk.refused(verb, SECRET, 3, "dubious ownership");
        assert!(
            answer
                .stderr
                .contains("git config --global --add safe.directory"),
            "{verb:?}: {answer:?}"
        );
    }
    // One inside of a folder that is looked at is refused too.
    let above = desk.work().parent().unwrap().to_owned();
    let answer = desk.run_in(&above, &["verify", "work"], "");
    assert!(answer.stderr.contains("dubious ownership"), "{answer:?}");
    desk.write("../home/.gitconfig", "[safe]\n\tdirectory = *\n");
    desk.pipe(&["set", "below/db.sealed.yaml", "K"], "v").done();
}

#[test]
fn without_git_no_repository_is_assumed_away() {
    let mut desk = Desk::repository(&["a"], CONFIG);
    desk.set("PATH", "/nowhere");
    desk.refused(&["-w", "x.yaml"], SECRET, 3, "git cannot be started");
    // Elsewhere nobody needs it.
    let mut outside = Desk::new();
    outside.set("PATH", "/nowhere");
    outside.write(".sealkit/a.pub", &outside.read("key.pub"));
    outside.write(".sealkit.yaml", CONFIG);
    outside.pipe(&["-w", "x.yaml"], SECRET).done();
}

#[test]
fn linked_work_trees_and_submodules_have_their_own_root() {
    let desk = Desk::repository(&["a"], CONFIG);
    desk.commit("begin");
    desk.git(&["worktree", "add", "-q", "../home/tree"]);
    sealed_in(&desk, "../home/tree/below").done();
    assert!(
        desk.exists(".git/sealkit/known-recipients"),
        "shared by all work trees"
    );

    let origin = desk.work().display().to_string();
    let add = [
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "add",
        "-q",
        &origin,
        "sub",
    ];
    desk.git(&add);
    let key = desk.read("key.pub");
    desk.write("sub/.sealkit/a.pub", &key);
    sealed_in(&desk, "sub/below").done();
    let hint = &desk.hints("sub/below/db.sealed.yaml")[0][0];
    assert_eq!(*hint, desk.fingerprint("key.pub"));

    // One that leads nowhere is no reason to take another config.
    desk.write("sub/.git", "gitdir: /nowhere\n");
    let answer = sealed_in(&desk, "sub/other");
    assert!(
        answer.code == 3
            && answer
                .stderr
                .contains("Git refuses this repository: not a git repository: /nowhere"),
        "{answer:?}"
    );
}

/// Whoever sends a pull request can add folders that Git takes for bare repositories.
#[test]
fn an_embedded_repository_without_git_folder_chooses_no_recipient() {
    let desk = Desk::repository(&["a"], CONFIG);
    for (name, text) in [
        ("HEAD", "ref: refs/heads/main\n"),
        ("objects/x", ""),
        ("refs/x", ""),
        (
            "config",
            "[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = .\n",
        ),
        (".sealkit.yaml", CONFIG),
    ] {
        desk.write(&format!("planted/{name}"), text);
    }
    desk.write("planted/.sealkit/a.pub", &desk.read("key.pub"));
    let answer = sealed_in(&desk, "planted");
    assert!(
        answer.code == 3
            && answer
                .stderr
                .contains("a repository has one config, at its root"),
        "{answer:?}"
    );
    desk.git(&["config", "core.worktree", "../../home"]);
    desk.refused(
        &["-w", "x.yaml"],
        SECRET,
        3,
        "the work tree of this repository is elsewhere",
    );
}

#[test]
fn the_environment_names_a_repository_and_no_other() {
    let mut desk = Desk::repository(&["a"], CONFIG);
    desk.commit("begin");
    let other = Desk::repository(&["a"], CONFIG);
    std::fs::rename(desk.path(".git"), desk.path("../home/store")).unwrap();
    desk.set("GIT_DIR", "../home/store");
    desk.set("GIT_WORK_TREE", ".");
    desk.pipe(&["-w", "db.sealed.yaml"], SECRET).done();
    desk.seal(&["verify", "--base", "HEAD"]).done();
    assert!(desk.exists("../home/store/sealkit/known-recipients"));
    // A file elsewhere belongs to its own repository.
    let file = other.path("db.sealed.yaml").display().to_string();
    desk.pipe(&["-w", &file], SECRET).done();
    assert_eq!(
        other.hints("db.sealed.yaml")[0][0],
        other.fingerprint(".sealkit/a.pub")
    );
}

/// A folder outside a repository with this config.
fn outside() -> Desk {
    let desk = Desk::new();
    desk.write(".sealkit/a.pub", &desk.read("key.pub"));
    desk.write(".sealkit.yaml", CONFIG);
    desk
}

fn set_mode(desk: &Desk, name: &str, mode: u32) {
    std::fs::set_permissions(desk.path(name), Permissions::from_mode(mode)).unwrap();
}

const TRUSTED: [&str; 4] = [".", ".sealkit.yaml", ".sealkit", ".sealkit/a.pub"];

/// Where everybody may write, such as `/tmp`.
#[test]
fn outside_a_repository_nobody_elses_config_folder_or_key_file_counts() {
    for name in TRUSTED {
        let desk = outside();
        desk.pipe(&["-w", "mine.yaml"], SECRET).done();
        // Only the administrator can give files away.
        if std::os::unix::fs::chown(desk.path(name), Some(12345), None).is_ok() {
            desk.refused(&["-w", "x.yaml"], SECRET, 3, "somebody else owns it");
        }
    }
}

#[test]
fn outside_a_repository_nothing_counts_that_others_can_change() {
    for name in TRUSTED {
        let desk = outside();
        let is_folder = desk.path(name).is_dir();
        let mode = if is_folder { 0o700 } else { 0o600 };
        set_mode(&desk, name, mode | 0o002);
        desk.refused(&["-w", "x.yaml"], SECRET, 3, "others can change it");
        set_mode(&desk, name, mode);
        // A group that is not the owner's own.
        if std::os::unix::fs::chown(desk.path(name), None, Some(12345)).is_ok() {
            desk.pipe(&["-w", "x.yaml"], SECRET).done();
            set_mode(&desk, name, mode | 0o020);
            desk.refused(&["-w", "y.yaml"], SECRET, 3, "others can change it");
            set_mode(&desk, name, mode);
        }
        desk.pipe(&["-w", "x.yaml"], SECRET).done();
        if is_folder {
            // As /tmp is.
            set_mode(&desk, name, 0o1777);
            desk.pipe(&["-w", "y.yaml"], SECRET).done();
        }
    }
}

/// In `/tmp`, anybody could lead to the files of a repository that somebody else wrote.
#[test]
fn outside_a_repository_no_link_leads_to_recipients() {
    for name in &TRUSTED[1..] {
        let desk = outside();
        let elsewhere = desk.path("elsewhere");
        std::fs::rename(desk.path(name), &elsewhere).unwrap();
        symlink(&elsewhere, desk.path(name)).unwrap();
        desk.refused(&["-w", "x.yaml"], SECRET, 3, "no symbolic link is followed");
    }
}

/// A program that leaves `../home/ran`.
fn spy(desk: &Desk, name: &str) -> String {
    let ran = desk.path("../home/ran");
    desk.write(name, &format!("#!/bin/sh\ntouch {}\n", ran.display()));
    set_mode(desk, name, 0o755);
    desk.path(name).display().to_string()
}

/// It may come with an archive that somebody else packed.
#[test]
fn the_configuration_of_a_repository_runs_no_program() {
    let desk = Desk::repository(&["a"], CONFIG);
    desk.pipe(&["-w", "db.sealed.yaml"], SECRET).done();
    desk.commit("begin");
    desk.write("new.txt", "new\n");
    desk.git(&["add", "new.txt"]);
    let monitor = spy(&desk, "../home/monitor");
    spy(&desk, ".git/hooks/post-index-change");
    desk.git(&["config", "core.fsmonitor", &monitor]);
    let verbs: [&[&str]; 6] = [
        &["verify", "--staged"],
        &["verify", "--base", "HEAD"],
        &["verify"],
        &["keys", "exposure", "-i", "../home/a"],
        &["-w", "x.sealed.yaml"],
        &["doctor"],
    ];
    for verb in verbs {
        desk.pipe(verb, SECRET);
        assert!(!desk.exists("../home/ran"), "{verb:?}");
    }
    desk.git(&["status"]);
    assert!(desk.exists("../home/ran"), "Git itself runs it");
}

#[test]
fn a_partial_clone_fetches_nothing_by_itself() {
    let desk = Desk::repository(&["a"], CONFIG);
    desk.pipe(&["-w", "db.sealed.yaml"], SECRET).done();
    desk.commit("begin");
    desk.git(&["config", "uploadpack.allowFilter", "true"]);
    desk.pipe(&["set", "db.sealed.yaml", "K"], "v").done();
    desk.commit("change");
    let origin = format!("file://{}", desk.work().display());
    desk.git(&[
        "clone",
        "-q",
        "--filter=blob:none",
        &origin,
        "../home/clone",
    ]);
    let upload = spy(&desk, "../home/upload");
    let clone = desk.path("../home/clone");
    let config = ["-C", "../home/clone", "config", "remote.origin.uploadpack"];
    desk.git(&[&config[..], &[&upload]].concat());
    let answer = desk.run_in(&clone, &["verify", "--base", "HEAD~1"], "");
    assert!(
        answer.code == 3 && answer.stderr.contains("git fetch --refetch"),
        "{answer:?}"
    );
    assert!(!desk.exists("../home/ran"));
}
