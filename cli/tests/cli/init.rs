use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Desk, SECRET};

#[test]
fn a_repository_is_ready_to_seal_after_init() {
    let desk = Desk::new();
    desk.git_init();
    std::fs::create_dir(desk.path("sub")).unwrap();
    let arguments = [
        "init",
        "--cluster-key",
        "staging=../key.pub",
        "--cluster-key",
        "production=../key.pub",
        "--recovery-key",
        "../../home/recovery.key",
    ];
    let answer = desk.run_in(&desk.path("sub"), &arguments, "").done();
    assert_eq!(
        answer.stderr.matches("wrote ").count(),
        5,
        "{}",
        answer.stderr
    );
    for file in [
        ".sealkit.yaml",
        ".sealkit/staging.pub",
        ".sealkit/production.pub",
        ".sealkit/recovery.pub",
    ] {
        assert!(desk.exists(file), "{file}");
    }
    let mode = desk
        .path("../home/recovery.key")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let known = desk.read(".git/sealkit/known-recipients");
    assert!(
        known.contains("accepted"),
        "whoever names them knows them: {known}"
    );
    desk.pipe(&["-w", "clusters/staging/"], SECRET).done();
    let file = "clusters/staging/db.sealed.yaml";
    assert_eq!(desk.hints(file)[0].len(), 2);
    assert_eq!(
        desk.values("../home/recovery.key", file)["password"],
        "hunter2"
    );
    desk.seal(&["verify"]).done();
    for next in [
        "next: `git add .sealkit.yaml .sealkit && git commit`",
        "seal create NAME --key KEY",
    ] {
        assert!(answer.stderr.contains(next), "{answer:?}");
    }
}

/// The third cluster comes later than the first, the second repository has the recovery key of the
/// first, and somebody begins anew.
#[test]
fn init_can_be_done_again() {
    let desk = Desk::new();
    desk.git_init();
    let generate = |name: &str| {
        let file = format!("../home/{name}");
        let public = desk
            .seal(&["keys", "generate", "--classic", "-w", &file])
            .done()
            .stdout;
        desk.write(&format!("../home/{name}.pub"), &public);
        format!("{name}=../home/{name}.pub")
    };
    let [a, b] = ["a", "b"].map(generate);
    generate("recovery");
    let recovery = ["--recovery-recipient", "../home/recovery.pub"];
    desk.seal(&[&["init", "--cluster-key", &a], &recovery[..]].concat())
        .done();
    desk.pipe(&["-w", "db.yaml"], SECRET).done();
    assert_eq!(
        desk.values("../home/recovery", "db.yaml")["password"],
        "hunter2"
    );
    let config = desk.read(".sealkit.yaml") + "# ours\n";
    desk.write(".sealkit.yaml", &config);

    let answer = desk.seal(&["init", "--cluster-key", &b]).done();
    assert!(
        answer.stderr.contains("changed .sealkit.yaml"),
        "{answer:?}"
    );
    let now = desk.read(".sealkit.yaml");
    assert!(
        now.contains("# ours\n") && now.contains(".sealkit/b.pub"),
        "{now}"
    );
    std::fs::create_dir_all(desk.path("clusters/b")).unwrap();
    desk.pipe(&["-w", "clusters/b/db.yaml"], SECRET).done();
    assert_eq!(
        desk.values("../home/b", "clusters/b/db.yaml")["password"],
        "hunter2"
    );
    assert_eq!(
        desk.values("../home/recovery", "clusters/b/db.yaml")["password"],
        "hunter2"
    );
    // What was sealed to the only cluster still is.
    desk.seal(&["verify"]).done();
    desk.pipe(&["-w", "db.yaml"], SECRET).done();

    // The same again changes nothing, another key under the same name is refused.
    let before = desk.read(".sealkit.yaml");
    desk.seal(&["init", "--cluster-key", &b]).done();
    assert_eq!(desk.read(".sealkit.yaml"), before);
    let other = "b=../home/recovery.pub";
    desk.refused(
        &["init", "--cluster-key", other],
        "",
        3,
        "has a cluster b already, with another key",
    );
    let two = [&["init", "--cluster-key", &b], &recovery[..]].concat();
    desk.refused(&two, "", 2, "names a recovery key already");
    desk.write(
        ".sealkit.yaml",
        "{version: 1, clusters: {a: {recipients: [.sealkit/a.pub]}}}\n",
    );
    std::fs::remove_file(desk.path(".sealkit/b.pub")).unwrap();
    let refused = desk.refused(&["init", "--cluster-key", &b], "", 3, "cannot be added to");
    assert!(
        refused
            .stderr
            .contains("under clusters: \"b\": {recipients: [.sealkit/b.pub]}"),
        "{refused:?}"
    );

    // Begun anew: what no file names any more is no longer known.
    std::fs::remove_file(desk.path(".sealkit.yaml")).unwrap();
    std::fs::remove_dir_all(desk.path(".sealkit")).unwrap();
    desk.seal(&["init", "--cluster-key", &b, "--no-recovery"])
        .done();
    let known = desk.read(".git/sealkit/known-recipients");
    assert!(!known.contains("cluster a"), "{known}");
    desk.write("b.pub", &desk.read("../home/b.pub"));
    assert!(known.contains(&desk.fingerprint("b.pub")), "{known}");
    desk.write("recovery.pub", &desk.read("../home/recovery.pub"));
    assert!(
        !known.contains(&desk.fingerprint("recovery.pub")),
        "{known}"
    );
}

#[test]
fn git_is_set_up_on_request() {
    let init = [
        "init",
        "--cluster-key",
        "a=../key.pub",
        "--no-recovery",
        "--git",
    ];
    let desk = Desk::new();
    desk.refused(&init, "", 3, "not a Git repository");
    desk.git_init();
    std::fs::create_dir(desk.path("sub")).unwrap();
    desk.run_in(&desk.path("sub"), &init, "").done();
    let driver = desk.git(&["config", "merge.sealkit.driver"]);
    assert!(driver.starts_with("seal merge-driver"), "{driver}");
    assert!(
        desk.read(".git/hooks/pre-commit")
            .contains("seal verify --staged")
    );
    assert!(desk.exists(".gitattributes"));
}

#[test]
fn one_cluster_needs_no_rules() {
    let desk = Desk::new();
    let answer = desk
        .seal(&["init", "--cluster-key", "only=key.pub", "--no-recovery"])
        .done();
    assert!(answer.stderr.contains("note: this is not a Git repository"));
    assert!(!desk.exists(".sealkit/recovery.pub"));
    desk.pipe(&["-w", "db.yaml"], SECRET).done();
    assert_eq!(desk.hints("db.yaml"), [[desk.fingerprint("key.pub")]]);
}

#[test]
fn wrong_requests_write_nothing() {
    let desk = Desk::new();
    desk.git_init();
    let hybrid = desk
        .seal(&["keys", "generate", "-w", "../home/pq"])
        .done()
        .stdout;
    desk.write("pq.pub", &hybrid);
    let table: &[(&[&str], i32, &str)] = &[
        (&[], 2, "no cluster to seal to"),
        (
            &["--cluster-key", "a"],
            2,
            "--cluster-key takes NAME=FILE, a",
        ),
        (&["--cluster-key", "a="], 2, "--cluster-key takes NAME=FILE"),
        (
            &["--cluster-key", "../a=key.pub", "--no-recovery"],
            2,
            "invalid cluster name",
        ),
        (
            &["--cluster-key", "recovery=key.pub", "--no-recovery"],
            2,
            "invalid cluster name",
        ),
        (
            &[
                "--cluster-key",
                "a=key.pub",
                "--cluster-key",
                "a=key.pub",
                "--no-recovery",
            ],
            2,
            "two clusters have the same name, a",
        ),
        (
            &["--cluster-key", "a=none.pub", "--no-recovery"],
            3,
            "no such file or folder, none.pub",
        ),
        (
            &["--cluster-key", "a=key", "--no-recovery"],
            3,
            "this is a private key",
        ),
        (
            &[
                "--cluster-key",
                "a=key.pub",
                "--cluster-key",
                "b=pq.pub",
                "--no-recovery",
            ],
            3,
            "keys of two types",
        ),
        (
            &["--cluster-key", "a=key.pub"],
            2,
            "no terminal to show the recovery key on",
        ),
        (
            &["--cluster-key", "a=key.pub", "--recovery-key", "inside.key"],
            3,
            "a private key does not belong in a Git work tree",
        ),
        (
            &["--cluster-key", "a=key.pub", "--recovery-key", "../home/pq"],
            3,
            "../home/pq exists and is never overwritten",
        ),
        (
            &[
                "--cluster-key",
                "a=key.pub",
                "--recovery-key",
                "../home/r",
                "--passphrase",
            ],
            2,
            "no terminal is available to ask for it",
        ),
        (
            &["--cluster", "a", "--no-recovery"],
            5,
            "no kubeconfig found",
        ),
    ];
    for (arguments, code, message) in table {
        desk.refused(&[&["init"], *arguments].concat(), "", *code, message);
    }
    assert!(!desk.exists("../home/r"));
}
