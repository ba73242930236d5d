use crate::support::{Desk, secret};

const CONFIG: &str = "version: 1\nclusters:\n  production: {recipients: [.sealkit/production.pub]}\n\
    recovery: [.sealkit/recovery.pub]\n";
const FILE: &str = "db.sealed.yaml";

/// A repository whose `main` changed B once.
fn repository() -> (Desk, String, String) {
    let desk = Desk::repository(&["production", "recovery"], CONFIG);
    let values = [("A", "1"), ("B", "2")];
    desk.pipe(&["-w", FILE], secret("db", &values)).done();
    desk.git(&["checkout", "-q", "-b", "main"]);
    desk.git(&["add", "-A"]);
    desk.git(&["commit", "-q", "-m", "begin"]);
    let first = desk.read(FILE);
    let commit = desk.git(&["rev-parse", "HEAD"]).trim().to_owned();
    desk.pipe(&["set", FILE, "B"], "new").done();
    desk.git(&["commit", "-q", "-am", "B changed"]);
    (desk, first, commit)
}

fn found(desk: &Desk) -> Vec<String> {
    let answer = desk.seal(&["verify", "--base", "main"]);
    let lines: Vec<_> = answer.stdout.lines().map(str::to_owned).collect();
    let codes: &[i32] = if lines.is_empty() { &[0] } else { &[1, 6] };
    assert!(codes.contains(&answer.code), "{answer:?}");
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
        answer
            .stderr
            .contains("B was removed, SealedSecret shop/db"),
        "{answer:?}"
    );
}

#[test]
fn an_old_value_that_comes_back_is_found_with_its_commit() {
    let (desk, first, commit) = repository();
    desk.write(FILE, &first);
    let found = found(&desk);
    let rollback = format!(
        "shop/db: Rollback: the value of B is an old one, last seen in commit {}",
        &commit[..12]
    );
    assert!(
        found.len() == 1 && found[0].contains(&rollback),
        "{found:?}"
    );
}

/// The consent names the object and the key, in a commit since the revision.
#[test]
fn a_commit_can_consent_to_an_old_value() {
    let (desk, first, _) = repository();
    desk.git(&["checkout", "-q", "-b", "request"]);
    desk.write(FILE, &first);
    for other in ["shop/db A", "shop/web B", "shop/db", "shop/db *"] {
        desk.commit(&format!("back to it\n\nSeal-Rollback: {other}"));
        let found = found(&desk);
        assert_eq!(found.len(), 1, "{other}: {found:?}");
        assert!(found[0].contains("Seal-Rollback: shop/db B"), "{found:?}");
        desk.git(&["reset", "-q", "--soft", "HEAD^"]);
    }
    desk.commit("back to it\n\nSeal-Rollback: shop/db B");
    let answer = desk.seal(&["verify", "--base", "main"]).done();
    assert!(
        answer.stderr.contains("with the consent of a commit"),
        "{answer:?}"
    );
}

/// What the request says of that is not believed.
#[test]
fn a_strict_repository_takes_no_consent() {
    let (desk, first, _) = repository();
    desk.write(".sealkit.yaml", &format!("{CONFIG}rollback: refuse\n"));
    desk.commit("strict");
    desk.git(&["checkout", "-q", "-b", "request"]);
    desk.write(FILE, &first);
    desk.write(".sealkit.yaml", CONFIG);
    desk.commit("back to it\n\nSeal-Rollback: shop/db B");
    let found = found(&desk);
    let is_it = |line: &String| line.contains("shop/db: Rollback: the value of B");
    assert_eq!(
        found.iter().filter(|line| is_it(line)).count(),
        1,
        "{found:?}"
    );
    assert!(!found.concat().contains("Seal-Rollback"), "{found:?}");
    let weaker = ".sealkit.yaml: NewConsent: ";
    assert!(
        found.iter().any(|line| line.starts_with(weaker)),
        "{found:?}"
    );
}

/// Whatever made the text harmless where it stands.
#[test]
fn an_old_value_that_is_text_in_the_revision_is_old_in_an_object() {
    let (desk, first, _) = repository();
    let old = first
        .lines()
        .find(|line| line.contains("    B: sk1."))
        .unwrap();
    desk.write("notes.txt", &format!("seen:\n{old}\n"));
    desk.commit("notes");
    assert!(found(&desk).is_empty());
    desk.write(FILE, &first);
    let found = found(&desk);
    assert!(
        found.len() == 1 && found[0].contains("shop/db: Rollback: the value of B"),
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
    assert_eq!(lines.len(), 3, "{lines:?}");
    for (line, what) in lines.iter().zip([
        "cluster production has a new recipient",
        "new values at this path will also be sealed to ",
        "claims to be sealed to ",
    ]) {
        assert!(
            line.contains("NewRecipient: ") && line.contains(what),
            "{lines:?}"
        );
        assert!(line.contains(&stranger), "{lines:?}");
    }
    // No config in the revision: whoever the request names is new.
    let bare = Desk::repository(&["production", "recovery"], CONFIG);
    bare.git(&["checkout", "-q", "-b", "main"]);
    bare.git(&["commit", "-q", "--allow-empty", "-m", "empty"]);
    bare.pipe(&["-w", FILE], secret("db", &[("A", "1")])).done();
    let lines = found(&bare);
    assert_eq!(
        lines
            .iter()
            .filter(|it| it.contains("NewRecipient"))
            .count(),
        3,
        "{lines:?}"
    );
}

/// Whatever Git's configuration or the names of files say.
#[test]
fn history_is_read_however_git_is_set_up() {
    let (desk, first, commit) = repository();
    for (name, value) in [
        ("log.showSignature", "true"),
        ("log.diffMerges", "off"),
        ("core.quotePath", "true"),
    ] {
        desk.git(&["config", name, value]);
    }
    // A value that came with a merge commit alone, in a folder of an odd name, and is gone again.
    desk.git(&["checkout", "-q", "-b", "side"]);
    desk.git(&["commit", "-q", "--allow-empty", "-m", "side"]);
    desk.git(&["checkout", "-q", "main"]);
    desk.git(&["merge", "-q", "--no-ff", "--no-commit", "side"]);
    let odd = first.replace("name: db", "name: odd");
    desk.write(":d/odd.sealed.yaml", &odd);
    desk.git(&["add", "-A"]);
    desk.git(&["commit", "-q", "-m", "merged"]);
    let merged = desk.git(&["rev-parse", "HEAD"]).trim().to_owned();
    std::fs::remove_file(desk.path(":d/odd.sealed.yaml")).unwrap();
    desk.git(&["commit", "-q", "-am", "gone"]);
    desk.write(FILE, &first);
    let lines = found(&desk);
    assert!(
        lines
            .iter()
            .any(|it| it.contains("Rollback: the value of B") && it.contains(&merged[..12])),
        "{lines:?} {commit}"
    );
}

/// Other programs read what we do not: patches, other names, text that only they can read.
#[test]
fn an_old_value_is_found_wherever_it_is_spelled() {
    let (desk, first, commit) = repository();
    let old = first
        .lines()
        .find_map(|line| line.trim().strip_prefix("B: "))
        .unwrap();
    let rollback = format!("is an old one, last seen in commit {}", &commit[..12]);
    let text = desk.read(FILE);
    let new = text
        .lines()
        .find(|line| line.contains("    B: sk1."))
        .unwrap();
    let cases = [
        ("db.txt", text.replace(new, &format!("    B: {old}"))),
        (
            "kustomization.yaml",
            format!(
                "patches:\n- patch: |\n    - op: replace\n      path: /spec/encryptedData/B\n      value: {old}\n"
            ),
        ),
        (
            FILE,
            text.replace(new, &format!("{new}\n    B: {old} # {{{{")),
        ),
        (
            "list.yaml",
            format!(
                "apiVersion: sealkit.dev/v1beta1\nkind: SealedSecretList\nitems:\n- metadata: {{name: db, namespace: shop}}\n  spec: {{encryptedData: {{B: {old}}}}}\n"
            ),
        ),
    ];
    for (name, content) in cases {
        desk.write(name, &content);
        let lines = found(&desk);
        assert!(
            lines
                .iter()
                .any(|it| it.starts_with(name) && it.contains(&rollback)),
            "{name}: {lines:?}"
        );
        if name == FILE {
            assert!(
                lines
                    .iter()
                    .any(|it| it.contains("Unreadable: the file changed and cannot be parsed")),
                "{lines:?}"
            );
            desk.write(FILE, &text);
        } else {
            std::fs::remove_file(desk.path(name)).unwrap();
        }
    }
    assert!(found(&desk).is_empty());
    std::fs::rename(desk.path(FILE), desk.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", desk.path(FILE)).unwrap();
    let lines = found(&desk);
    assert!(
        lines
            .iter()
            .any(|it| it.contains("Link: a link replaces a file that held sealed values")),
        "{lines:?}"
    );
    // Charts are no YAML; those that have nothing to do with sealed values are left alone.
    std::fs::remove_file(desk.path(FILE)).unwrap();
    std::fs::rename(desk.path("elsewhere"), desk.path(FILE)).unwrap();
    desk.write(
        "chart/templates/x.yaml",
        "{{ if .Values.x }}\nkind: ConfigMap\n{{ end }}\n",
    );
    assert!(found(&desk).is_empty());
}

#[test]
fn a_value_of_another_file_of_the_same_object_is_found() {
    let desk = Desk::repository(&["production", "recovery"], CONFIG);
    for folder in ["staging", "production"] {
        std::fs::create_dir(desk.path(folder)).unwrap();
        let file = format!("{folder}/db.sealed.yaml");
        desk.pipe(&["-w", &file], secret("db", &[("A", folder)]))
            .done();
    }
    desk.git(&["checkout", "-q", "-b", "main"]);
    desk.git(&["add", "-A"]);
    desk.git(&["commit", "-q", "-m", "begin"]);
    let staging = desk.read("staging/db.sealed.yaml");
    desk.write("production/db.sealed.yaml", &staging);
    let lines = found(&desk);
    let moved = "Moved: the value of A was elsewhere before: staging/db.sealed.yaml, shop/db, A";
    assert!(lines.len() == 1 && lines[0].contains(moved), "{lines:?}");
    // A copy to a new place is what people do.
    desk.git(&["checkout", "-q", "production/db.sealed.yaml"]);
    desk.write("copy/db.sealed.yaml", &staging);
    assert!(found(&desk).is_empty());
    desk.write("copy/db.sealed.yaml", &staging.replace("A: sk1", "Z: sk1"));
    assert!(found(&desk)[0].contains("Moved"));
    // A link to the folder says the same as a copy in its place.
    std::fs::remove_dir_all(desk.path("copy")).unwrap();
    std::fs::remove_dir_all(desk.path("production")).unwrap();
    std::os::unix::fs::symlink("staging", desk.path("production")).unwrap();
    let lines = found(&desk);
    assert!(
        lines.len() == 1 && lines[0].contains("production: Link: a link replaces"),
        "{lines:?}"
    );
}

/// Keys that are known for another cluster are new for this one.
#[test]
fn a_recipient_of_another_cluster_is_new_here() {
    let config = "version: 1\nclusters:\n  staging: {recipients: [.sealkit/staging.pub]}\n  \
        production: {recipients: [.sealkit/production.pub]}\nrecovery: [.sealkit/recovery.pub]\n\
        rules:\n- path: production/**\n  clusters: [production]\n";
    let desk = Desk::repository(&["staging", "production", "recovery"], config);
    desk.pipe(&["-w", "production/"], secret("db", &[("A", "1")]))
        .done();
    desk.git(&["checkout", "-q", "-b", "main"]);
    desk.git(&["add", "-A"]);
    desk.git(&["commit", "-q", "-m", "begin"]);
    assert!(found(&desk).is_empty());
    let staging = desk.fingerprint(".sealkit/staging.pub")[..16].to_owned();
    for (from, to, what) in [
        (
            "[.sealkit/production.pub]",
            "[.sealkit/production.pub, .sealkit/staging.pub]",
            "cluster production has a new recipient",
        ),
        (
            "clusters: [production]",
            "clusters: [production, staging]",
            "new values at this path will also be sealed to ",
        ),
    ] {
        desk.write(".sealkit.yaml", &config.replace(from, to));
        let lines = found(&desk);
        assert!(
            lines.iter().any(|it| it.contains("NewRecipient")
                && it.contains(what)
                && it.contains(&staging)),
            "{lines:?}"
        );
    }
}

/// What a request does to the config counts before anybody seals to it.
#[test]
fn a_config_that_goes_or_gives_paths_away_is_found_without_an_object() {
    let config = "version: 1\nclusters:\n  staging: {recipients: [.sealkit/staging.pub]}\n  \
        production: {recipients: [.sealkit/production.pub]}\n\
        rules:\n- path: production/**\n  clusters: [production]\n";
    let desk = Desk::repository(&["staging", "production"], config);
    desk.git(&["checkout", "-q", "-b", "main"]);
    desk.commit("begin");
    let front = "rules:\n- path: production/new/**\n  clusters: [staging]\n  scope: cluster-wide\n";
    desk.write(".sealkit.yaml", &config.replace("rules:\n", front));
    let lines = found(&desk);
    let what = [
        "NewRecipient: new values at production/new/** may be sealed to staging, unlike before",
        "NewScope: new objects at production/new/** may have scope cluster-wide, not strict",
    ];
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines
            .iter()
            .zip(what)
            .all(|(line, what)| line.contains(what))
    );
    let new = "- path: staging/**\n  clusters: [staging]\n";
    desk.write(".sealkit.yaml", &format!("{config}{new}"));
    assert_eq!(found(&desk), [""; 0], "a new path takes none away");
    std::fs::remove_file(desk.path(".sealkit.yaml")).unwrap();
    let lines = found(&desk);
    assert!(
        lines.len() == 1 && lines[0].contains(".sealkit.yaml: NoConfig: the config is gone"),
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

/// Whoever may push a tag could otherwise have the request compared with itself.
#[test]
fn a_tag_takes_the_name_of_no_other_revision() {
    let (desk, first, _) = repository();
    desk.git(&["update-ref", "refs/remotes/origin/main", "main"]);
    let short = desk.git(&["rev-parse", "main"])[..10].to_owned();
    desk.git(&["checkout", "-q", "-b", "topic"]);
    desk.write(FILE, &first);
    desk.commit("back");
    let full = "refs/remotes/origin/main";
    let rollback = |revision: &str| {
        let answer = desk.seal(&["verify", "--base", revision]);
        answer.code == 1 && answer.stdout.contains("Rollback")
    };
    for revision in ["origin/main", full, "main", &short] {
        assert!(rollback(revision), "{revision}");
        desk.git(&["tag", revision]);
        let suffixed = format!("{revision}^{{}}");
        if revision == full {
            assert!(rollback(revision), "a full name has one meaning");
        } else {
            for revision in [revision, &suffixed] {
                let verify = ["verify", "--base", revision];
                let answer = desk.refused(&verify, "", 3, "ambiguous revision");
                assert!(answer.stderr.contains("refs/tags/"), "{answer:?}");
            }
        }
    }
    // What a full name does not name, no tag names in its place.
    desk.git(&["update-ref", "-d", full]);
    let verify = ["verify", "--base", full];
    desk.refused(&verify, "", 3, "ambiguous revision");
    desk.git(&["tag", "FETCH_HEAD"]);
    let verify = ["verify", "--base", "FETCH_HEAD"];
    desk.refused(&verify, "", 3, "ambiguous revision");
}

/// A comment in a key file, which clusters are told of.
#[test]
fn a_key_that_takes_the_place_of_another_is_a_finding() {
    let (desk, ..) = repository();
    let recovery = desk.fingerprint(".sealkit/recovery.pub");
    let file = desk.read(".sealkit/production.pub");
    desk.write(
        ".sealkit/production.pub",
        &format!("# supersedes: {recovery}\n{file}"),
    );
    let lines = found(&desk);
    let what = format!("as the successor of {}", &recovery[..16]);
    assert!(
        lines.len() == 1 && lines[0].contains("NewRecipient") && lines[0].contains(&what),
        "{lines:?}"
    );
}

#[test]
fn a_new_private_key_is_found_in_any_file() {
    let (desk, ..) = repository();
    let key = desk.read("../home/recovery");
    desk.write("old.txt", &key);
    desk.git(&["add", "-A"]);
    desk.git(&["commit", "-q", "-m", "a test key"]);
    assert!(
        found(&desk).is_empty(),
        "what main has is no matter of the request"
    );
    desk.write("moved.txt", &format!("the same\n{key}"));
    assert!(found(&desk).is_empty());
    let other = desk.read("../home/production");
    desk.write("notes.txt", &format!("\n{other}"));
    desk.write(
        "values.yaml",
        &format!("kind: A\nkey: |\n  {}\n", other.lines().last().unwrap()),
    );
    let found = found(&desk);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found
            .iter()
            .all(|it| it.contains("PrivateKey") && !it.contains("AGE-SECRET")),
        "{found:?}"
    );
}

/// One text, one envelope id, two data keys: a request swaps the envelope, as a rewrap would.
#[test]
fn an_envelope_with_another_data_key_opens_nothing() {
    let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/independent");
    let vector = |name: &str| std::fs::read_to_string(format!("{vectors}/{name}")).unwrap();
    let desk = Desk::new();
    desk.git_init();
    desk.write(FILE, &vector("090-equivocation-one.yaml"));
    desk.git(&["checkout", "-q", "-b", "main"]);
    desk.commit("begin");
    let key = format!("{vectors}/keys/prod-x.key");
    let verify = ["verify", "--base", "main", "-i", &key];
    desk.seal(&verify).done();

    desk.write(FILE, &vector("091-equivocation-two.yaml"));
    assert_eq!(found(&desk), [""; 0], "public text does not tell");
    let answer = desk.seal(&verify);
    let lines: Vec<&str> = answer.stdout.lines().collect();
    assert_eq!(answer.code, 1);
    assert!(
        lines.len() == 1
            && lines[0].contains("shop/db: DecryptFailed: ")
            && lines[0].contains("it holds another data key"),
        "{answer:?}"
    );
    let open = ["open", "-i", &key, FILE];
    desk.refused(&open, "", 4, "envelope");
}

/// A rotation is reviewed, and not in the way of every other request.
#[test]
fn what_a_reviewer_can_approve_has_an_exit_code_of_its_own() {
    let config = "version: 1\nclusters:\n  production: {recipients: [.sealkit/production.pub]}\n\
        recovery: [.sealkit/recovery.pub]\n";
    let desk = Desk::repository(&["production", "recovery"], config);
    for name in ["a", "b"] {
        let manifest = crate::support::secret(name, &[("A", "1")]);
        desk.pipe(&["-w", &format!("{name}.sealed.yaml")], manifest)
            .done();
    }
    desk.commit("begin");
    desk.git(&["branch", "-q", "start"]);
    let verify = ["verify", "--base", "start"];
    // A rotation.
    let public = desk
        .seal(&["keys", "generate", "--classic", "-w", "../home/next"])
        .done()
        .stdout;
    desk.write(".sealkit/production.pub", &public);
    let reseal = [
        "reseal",
        "-q",
        "-i",
        "../home/recovery",
        "--accept-recipients",
    ];
    desk.seal(&reseal).done();
    desk.commit("rotate");
    let answer = desk.seal(&verify);
    assert_eq!(answer.code, 6, "{answer:?}");
    for said in [
        "note: NewRecipient: ",
        "for a reviewer to approve",
        "exit code 6",
    ] {
        assert!(answer.stderr.contains(said), "{answer:?}");
    }
    let json = desk.seal(&[&verify[..], &["-o", "json"]].concat());
    let report: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    assert!(
        json.code == 6 && findings.iter().all(|it| it["review"] == true),
        "{report:#}"
    );
    // A recipient that goes.
    desk.git(&["checkout", "-q", "-f", "start"]);
    desk.write(".sealkit.yaml", config.split("recovery:").next().unwrap());
    desk.seal(&[
        "reseal",
        "-q",
        "-i",
        "../home/production",
        "--accept-recipients",
    ])
    .done();
    let answer = desk.seal(&verify);
    assert!(
        answer.code == 6 && answer.stdout.contains("LostRecipient"),
        "{answer:?}"
    );
    // A recipient that no config names, and a Secret in plain text, nobody approves.
    desk.git(&["checkout", "-q", "-f", "start"]);
    let keys = [
        "-R",
        "key.pub",
        "-R",
        ".sealkit/production.pub",
        "-w",
        "c.sealed.yaml",
    ];
    desk.pipe(&keys, crate::support::secret("c", &[("A", "1")]))
        .done();
    let answer = desk.seal(&verify);
    assert!(
        answer.code == 1 && answer.stdout.contains("NewRecipient"),
        "{answer:?}"
    );
}
