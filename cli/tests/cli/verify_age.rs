//! `seal verify --max-age`.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::support::{Desk, secret};

const CONFIG: &str = "version: 1\nclusters:\n  production: {recipients: [.sealkit/production.pub]}\n\
    recovery: [.sealkit/recovery.pub]\n";
const FILE: &str = "db.sealed.yaml";

/// Commits everything as so many days ago, and says which commit that is.
fn commit(desk: &Desk, days: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let time = format!("{} +0000", now.as_secs() - days * 24 * 3600 - 60);
    desk.git(&["add", "-A"]);
    let git = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
        .args(["commit", "-q", "-m", "next"])
        .current_dir(desk.work())
        .env("HOME", desk.root().join("home"))
        .env("GIT_COMMITTER_DATE", time)
        .status();
    assert!(git.unwrap().success());
    desk.git(&["rev-parse", "HEAD"]).trim()[..12].to_owned()
}

fn old(desk: &Desk, arguments: &[&str]) -> Vec<String> {
    let answer = desk.seal(&[&["verify"], arguments].concat());
    let lines: Vec<_> = answer.stdout.lines().map(str::to_owned).collect();
    assert_eq!(answer.code, i32::from(!lines.is_empty()), "{answer:?}");
    lines
}

#[test]
fn a_value_is_as_old_as_its_text_whatever_was_resealed_since() {
    let desk = Desk::repository(&["production", "recovery"], CONFIG);
    let values = [("A", "1"), ("B", "2")];
    desk.pipe(&["-w", FILE], secret("db", &values)).done();
    let max = ["--max-age", "90d"];
    assert_eq!(old(&desk, &max), [""; 0], "there is no commit yet");
    let first = commit(&desk, 200);
    desk.pipe(&["set", FILE, "B"], "new").done();
    commit(&desk, 100);
    // Another key, and another place.
    let generate = ["keys", "generate", "--classic", "-w", "../home/second"];
    let public = desk.seal(&generate).done().stdout;
    desk.write(".sealkit/production.pub", &public);
    let reseal = [
        "reseal",
        "-q",
        "-i",
        "../home/recovery",
        "--accept-recipients",
    ];
    let before = desk.read(FILE);
    desk.seal(&reseal).done();
    assert_ne!(before, desk.read(FILE));
    std::fs::create_dir(desk.path("moved")).unwrap();
    desk.git(&["mv", FILE, "moved/db.sealed.yaml"]);
    commit(&desk, 5);
    desk.pipe(&["set", "moved/db.sealed.yaml", "C"], "not committed")
        .done();

    assert_eq!(old(&desk, &[]), [""; 0], "without the flag");
    assert_eq!(
        old(&desk, &["--max-age", "20w"]),
        [format!(
            "moved/db.sealed.yaml: shop/db: TooOld: the value of A is 200 days old, since commit {first}, and may be 140 days old: set another one, `seal set moved/db.sealed.yaml A`"
        )]
    );
    assert_eq!(old(&desk, &max).len(), 2);
    assert_eq!(old(&desk, &["--max-age", "300d"]), [""; 0]);
    let answer = desk.seal(&["verify", "--max-age", "150d", "-o", "json"]);
    let report: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(answer.code, 1);
    assert_eq!(report["findings"].as_array().unwrap().len(), 1);
    assert_eq!(report["findings"][0]["code"], "TooOld");
    assert_eq!(report["findings"][0]["object"], "shop/db");
    desk.pipe(&["set", "moved/db.sealed.yaml", "A"], "changed")
        .done();
    commit(&desk, 1);
    assert_eq!(old(&desk, &["--max-age", "20w"]), [""; 0]);
    // An old value that comes back is not young.
    desk.git(&["checkout", "-q", "HEAD~1", "--", "moved"]);
    commit(&desk, 0);
    assert_eq!(old(&desk, &["--max-age", "20w", "--base", "HEAD"]).len(), 1);
}

#[test]
fn ages_need_the_whole_history() {
    let desk = Desk::repository(&["production", "recovery"], CONFIG);
    desk.pipe(&["-w", FILE], secret("db", &[("A", "1")])).done();
    commit(&desk, 200);
    desk.git(&["commit", "-q", "--allow-empty", "-m", "next"]);
    let source = format!("file://{}", desk.work().display());
    desk.git(&["clone", "-q", "--depth", "1", &source, "../home/shallow"]);
    let shallow = desk.path("../home/shallow");
    let verify = ["verify", "--max-age", "90d"];
    let answer = desk.run_in(&shallow, &verify, "");
    assert_eq!(answer.code, 3, "{answer:?}");
    assert!(
        answer.stderr.contains("this is a shallow clone"),
        "{answer:?}"
    );
    assert_eq!(desk.run_in(&shallow, &["verify"], "").code, 0);

    let desk = Desk::new();
    desk.write("db.yaml", &desk.sealed());
    desk.refused(&verify, "", 3, "not a Git repository");
    desk.refused(
        &["verify", "--max-age", "90"],
        "",
        2,
        "in days, weeks or hours",
    );
    desk.refused(
        &["verify", "--max-age", "9d", "--staged"],
        "",
        2,
        "cannot be used with",
    );
}
