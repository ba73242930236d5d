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
    desk.refused(
        &["init", "--cluster-key", "a=key.pub", "--no-recovery"],
        "",
        3,
        "the file already exists and is never overwritten",
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
            "the file already exists and is never overwritten",
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
