use crate::support::{Desk, secret};

const CONFIG: &str = "version: 1\nclusters:\n  production: {recipients: [.sealkit/production.pub]}\n\
    recovery: [.sealkit/recovery.pub]\n";
const FILE: &str = "db.sealed.yaml";

fn git(desk: &Desk, arguments: &[&str]) -> String {
    let output = std::process::Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
        .args(arguments)
        .current_dir(desk.work())
        .env("HOME", desk.root().join("home"))
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A repository whose `main` changed B once.
fn repository() -> (Desk, String, String) {
    let desk = Desk::repository(&["production", "recovery"], CONFIG);
    let values = [("A", "1"), ("B", "2")];
    desk.pipe(&["-w", FILE], secret("db", &values)).done();
    git(&desk, &["checkout", "-q", "-b", "main"]);
    git(&desk, &["add", "-A"]);
    git(&desk, &["commit", "-q", "-m", "begin"]);
    let first = desk.read(FILE);
    let commit = git(&desk, &["rev-parse", "HEAD"]);
    desk.pipe(&["set", FILE, "B"], "new").done();
    git(&desk, &["commit", "-q", "-am", "B changed"]);
    (desk, first, commit)
}

fn found(desk: &Desk) -> Vec<String> {
    let answer = desk.seal(&["verify", "--base", "main"]);
    let lines: Vec<_> = answer.stdout.lines().map(str::to_owned).collect();
    assert_eq!(answer.code, i32::from(!lines.is_empty()), "{answer:?}");
    lines
}

#[test]
fn what_a_person_does_with_seal_is_no_finding() {
    let (desk, ..) = repository();
    assert!(found(&desk).is_empty());
    desk.pipe(&["set", FILE, "A"], "later").done();
    desk.pipe(&["set", FILE, "C"], "more").done();
    desk.pipe(&["-w", "web.sealed.yaml"], secret("web", &[("K", "v")]))
        .done();
    assert!(found(&desk).is_empty());
    desk.seal(&["unset", FILE, "B"]).done();
    let answer = desk.seal(&["verify", "--base", "main"]).done();
    assert!(
        answer.stderr.contains("B is gone, SealedSecret shop/db"),
        "{answer:?}"
    );
}

#[test]
fn an_old_value_that_comes_back_is_found_with_its_commit() {
    let (desk, first, commit) = repository();
    desk.write(FILE, &first);
    let found = found(&desk);
    let rollback = format!(
        "shop/db: Rollback: the value of B is an old one, last seen in {}",
        &commit[..12]
    );
    assert!(
        found.len() == 1 && found[0].contains(&rollback),
        "{found:?}"
    );
}

#[test]
fn a_new_value_under_an_old_envelope_is_found() {
    let (desk, ..) = repository();
    let text = desk.read(FILE);
    let line = text.lines().find(|line| line.contains("A: sk1.")).unwrap();
    // A byte in the middle: the encoding stays canonical.
    let middle = line.len() - 10;
    let other = if line.as_bytes()[middle] == b'x' {
        "y"
    } else {
        "x"
    };
    let mut forged = line.to_owned();
    forged.replace_range(middle..=middle, other);
    desk.write(FILE, &text.replace(line, &forged));
    let found = found(&desk);
    assert!(
        found.len() == 1 && found[0].contains("Reused: the value of A is new"),
        "{found:?}"
    );
}

/// The request brings its own config and keys: they are not believed.
#[test]
fn a_new_recipient_is_found_wherever_it_comes_in() {
    let (desk, ..) = repository();
    desk.write(".sealkit/production.pub", &desk.read("key.pub"));
    desk.pipe(&["set", FILE, "A", "--accept-recipients"], "later")
        .done();
    let stranger = desk.fingerprint("key.pub")[..16].to_owned();
    let lines = found(&desk);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].starts_with(".sealkit.yaml: NewRecipient: cluster production has a new recipient"),
        "{lines:?}"
    );
    assert!(
        lines[1].contains("shop/db: NewRecipient: envelope ") && lines[1].contains(&stranger),
        "{lines:?}"
    );
    // No config in the revision: whoever the request names is new.
    let bare = Desk::repository(&["production", "recovery"], CONFIG);
    git(&bare, &["checkout", "-q", "-b", "main"]);
    git(&bare, &["commit", "-q", "--allow-empty", "-m", "empty"]);
    bare.pipe(&["-w", FILE], secret("db", &[("A", "1")])).done();
    let lines = found(&bare);
    assert_eq!(
        lines
            .iter()
            .filter(|it| it.contains("NewRecipient"))
            .count(),
        2,
        "{lines:?}"
    );
}

#[test]
fn revisions_that_cannot_be_compared_are_errors() {
    let (desk, ..) = repository();
    let no = ["verify", "--base", "none"];
    desk.refused(&no, "", 3, "no such revision");
    let option = ["verify", "--base", "--all"];
    desk.refused(&option, "", 2, "unexpected argument");
    let option = ["verify", "--base=--all"];
    desk.refused(&option, "", 3, "no such revision");
    Desk::new().refused(&["verify", "--base", "main"], "", 3, "not a Git repository");
}
